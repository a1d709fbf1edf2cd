//! The shape of the question that started this project: x ∈ R², u ∈ R, y ∈ R².
//!
//! x ~ U[−1, 1]², y = (u + 0.3 sin 3u + 0.5 x₁, 0.5 u² + x₂ u), Y = F(x, u*), u* = 0.8 sin 2x₁ + 0.5 x₂².
//! Smooth and reachable.
//!
//! Variants: normal noise on y; rows replaced by outliers; and contexts in units of 10⁻⁶ with outcomes in units
//! of 10⁵, which is the same task to anyone who minds units.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::noise::Noise;
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    name: &'static str,
    about: &'static str,
    noise: Noise,
    /// One unit of x and one of y, in the task's own units.
    units: [f64; 2],
}

impl Asker {
    pub(crate) const PLAIN: Self = Self::noisy(
        "asker",
        "two contexts, one action, two outcomes; smooth and reachable",
        Noise::None,
    );
    pub(crate) const RESCALED: Self = Self {
        units: [1e-6, 1e5],
        ..Self::noisy(
            "rescaled",
            "asker with contexts in units of 1e-6 and outcomes in units of 1e5",
            Noise::None,
        )
    };

    pub(crate) const fn noisy(name: &'static str, about: &'static str, noise: Noise) -> Self {
        Self {
            name,
            about,
            noise,
            units: [1.0; 2],
        }
    }

    fn outcome<T: Real>(self, x: &[f64], u: T) -> [T; 2] {
        let [unit_x, unit_y] = self.units;
        let x = [x[0] / unit_x, x[1] / unit_x];
        outcome(x, u).map(|y| y * unit_y)
    }
}

pub(super) fn outcome<T: Real>(x: [f64; 2], u: T) -> [T; 2] {
    [
        u + (u * 3.0).sin() * 0.3 + 0.5 * x[0],
        u * u * 0.5 + u * x[1],
    ]
}

pub(super) fn best_action(x: [f64; 2]) -> f64 {
    0.8 * (2.0 * x[0]).sin() + 0.5 * x[1] * x[1]
}

/// What single-pass training with the true gradient and Adam reaches with practically unlimited calls.
pub(super) const FLOOR: f64 = 4.2e-6;

impl Task for Asker {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(1)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let z = uniform(rng, 2, -1.0, 1.0);
        let x = vec![z[0] * self.units[0], z[1] * self.units[0]];
        let target = self.outcome(&x, best_action([z[0], z[1]])).to_vec();
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(self.outcome(x, u[0]).to_vec())
    }

    fn call(&self, x: &[f64], u: &[f64], rng: &mut StdRng) -> Outcome {
        Ok(self.noise.of(self.evaluate(x, u)?, rng))
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| self.outcome(x, u[0])))
    }

    fn outcome_scale(&self) -> Vec<f64> {
        vec![self.units[1]; 2]
    }

    fn floor(&self) -> Option<f64> {
        Some(FLOOR)
    }
}
