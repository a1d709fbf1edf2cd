//! The asker's task with a kink and a jump.
//!
//! As `asker`, with the first outcome's u + 0.3 sin 3u replaced by u + 0.6 |u − 0.3 x₁|, and 0.4 added to it
//! where u > 0.5 + 0.2 x₂. The Jacobian knows the kink; no derivative knows the jump.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use super::asker::best_action;
use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskerKinked;

fn outcome<T: Real>(x: &[f64], u: T) -> [T; 2] {
    let jump = if u.value() > 0.5 + 0.2 * x[1] {
        0.4
    } else {
        0.0
    };
    [
        u + (u - 0.3 * x[0]).abs() * 0.6 + 0.5 * x[0] + jump,
        u * u * 0.5 + u * x[1],
    ]
}

impl Task for AskerKinked {
    fn name(&self) -> &'static str {
        "asker_kinked"
    }

    fn about(&self) -> &'static str {
        "asker with a kink and a jump"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(1)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, 2, -1.0, 1.0);
        let target = outcome(&x, best_action([x[0], x[1]])).to_vec();
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome(x, u[0]).to_vec())
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| outcome(x, u[0])))
    }
}
