//! Two sine waves added: x = Y ∈ R, u ∈ R².
//!
//! y = sin 3πu₁ + cos 3πu₂, u ∈ [−1, 1]²; the context is the target, y of a uniform u. Nine hills and as many
//! valleys; inverses meet in folds at ±2.
//!
//! Source: Ren, Padilla & Malof, Benchmarking deep inverse models over time, and the neural-adjoint method,
//! NeurIPS 2020; its figures read by eye, ±10 %.

use std::f64::consts::PI;

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use super::REN;
use crate::dual::{Real, jacobian};
use crate::task::{Published, Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SineWave;

fn outcome<T: Real>(u: &[T]) -> [T; 1] {
    [(u[0] * (3.0 * PI)).sin() + (u[1] * (3.0 * PI)).cos()]
}

impl Task for SineWave {
    fn name(&self) -> &'static str {
        "sine_wave"
    }

    fn about(&self) -> &'static str {
        "two waves are to add up to a number: many inverses, folds at ±2"
    }

    fn dims(&self) -> Dims {
        Dims::new(1, 2, 1)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::Bounded {
            low: vec![-1.0; 2],
            high: vec![1.0; 2],
        }
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let wanted = outcome(&uniform(rng, 2, -1.0, 1.0)).to_vec();
        (wanted.clone(), wanted)
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome(u).to_vec())
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, outcome))
    }

    fn floor(&self) -> Option<f64> {
        Some(5.3e-5)
    }

    fn published(&self) -> &'static [Published] {
        const {
            &[
                REN.reached(1.7e-6, "neural adjoint, 50 tries"),
                REN.reached(1.2e-3, "neural adjoint, one try"),
                REN.reached(2.35e-2, "tandem"),
            ]
        }
    }
}
