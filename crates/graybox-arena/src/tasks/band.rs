//! Outcomes that move only within a band: x ∈ R², u ∈ R², y ∈ R².
//!
//! x ~ U[−1.5, 1.5]², y = clip((u − c(x)) / 0.25, ±1), c = (0.8 sin x₁ + 0.2 x₂, 0.5 x₂ − 0.4 cos x₁),
//! Y = 0.7 (sin(3x₁ + x₂), cos(2x₂ − x₁)). Outside a band half a unit wide the gradient is zero and the
//! outcome says only on which side the band lies. An untrained policy is outside for most contexts; the centre
//! moves slowly enough for the few where it is inside to lead the others in.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band;

const HALF_WIDTH: f64 = 0.25;

fn outcome<T: Real>(x: &[f64], u: &[T]) -> [T; 2] {
    let centre = [0.8 * x[0].sin() + 0.2 * x[1], 0.5 * x[1] - 0.4 * x[0].cos()];
    [0, 1].map(|dim| ((u[dim] - centre[dim]) / HALF_WIDTH).clamp(-1.0, 1.0))
}

impl Task for Band {
    fn name(&self) -> &'static str {
        "band"
    }

    fn about(&self) -> &'static str {
        "outcomes respond only within a narrow band of actions, flat outside"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 2, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(2)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, 2, -1.5, 1.5);
        let target = vec![
            0.7 * (3.0 * x[0] + x[1]).sin(),
            0.7 * (2.0 * x[1] - x[0]).cos(),
        ];
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome(x, u).to_vec())
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| outcome(x, u)))
    }
}
