//! Waves with many inverses: x ∈ R², u ∈ R², y ∈ R.
//!
//! y = sin(3πu₁ + x₂) + cos 3πu₂, x₂ ~ U[−1.5, 1.5], x₁ = Y = F(x, u*) of u* ~ U[−1, 1]². The wave repeats every 2/3
//! of a unit of the unbounded actions, so that there are many inverses, and they meet in folds at Y = ±2.

use std::f64::consts::PI;

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold;

fn outcome<T: Real>(phase: f64, u: &[T]) -> [T; 1] {
    [(u[0] * (3.0 * PI) + phase).sin() + (u[1] * (3.0 * PI)).cos()]
}

impl Task for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn about(&self) -> &'static str {
        "a sine wave with a phase to compensate: many inverses, folds at ±2"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 2, 1)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(2)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let phase = uniform(rng, 1, -1.5, 1.5)[0];
        let wanted = outcome(phase, &uniform(rng, 2, -1.0, 1.0))[0];
        (vec![wanted, phase], vec![wanted])
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome(x[1], u).to_vec())
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| outcome(x[1], u)))
    }
}
