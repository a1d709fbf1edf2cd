//! The shape of the question that started this project: x ∈ R², u ∈ R, y ∈ R².
//!
//! x ~ U[−1, 1]², y = (u + 0.3 sin 3u + 0.5 x₁, 0.5 u² + x₂ u), Y = F(x, u*), u* = 0.8 sin 2x₁ + 0.5 x₂².
//! Smooth and reachable.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker;

fn outcome<T: Real>(x: &[f64], u: T) -> [T; 2] {
    [
        u + (u * 3.0).sin() * 0.3 + 0.5 * x[0],
        u * u * 0.5 + u * x[1],
    ]
}

fn best_action(x: &[f64]) -> f64 {
    0.8 * (2.0 * x[0]).sin() + 0.5 * x[1] * x[1]
}

impl Task for Asker {
    fn name(&self) -> &'static str {
        "asker"
    }

    fn about(&self) -> &'static str {
        "two contexts, one action, two outcomes; smooth and reachable"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(1)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, 2, -1.0, 1.0);
        let target = outcome(&x, best_action(&x)).to_vec();
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome(x, u[0]).to_vec())
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| outcome(x, u[0])))
    }
}
