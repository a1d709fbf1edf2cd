//! The plane turned by an angle: x ∈ R², u ∈ R, y ∈ R².
//!
//! x ~ U[−1.5, 1.5]², y = R(u) x, Y = F(x, u*), u* = 1.2 sin 2x₁ + 0.8 x₁x₂ + 0.5 x₂, which spans ±3 radians:
//! turning the other way round hits the target as well, and a policy that starts there has to go back
//! through all that lies between. Near the origin the action has no effect.
//!
//! Variants: normal noise on y; y rounded to 0.2, whose derivative is zero almost everywhere; and
//! y = (|r₁| + u/2, clip(r₂, ±0.6)) of the turned point r, with kinks and flat regions.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::noise::Noise;
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    name: &'static str,
    about: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Smooth(Noise),
    Quantised,
    Kinked,
}

/// The step outcomes are rounded to.
const STEP: f64 = 0.2;

impl Rotation {
    pub(crate) const PLAIN: Self = Self {
        name: "rotation",
        about: "turn a point by an angle; other turns of the circle are false minima",
        kind: Kind::Smooth(Noise::None),
    };
    pub(crate) const QUANTISED: Self = Self {
        name: "rotation_quantised",
        about: "rotation with outcomes rounded to 0.2: no gradient almost anywhere",
        kind: Kind::Quantised,
    };
    pub(crate) const KINKED: Self = Self {
        name: "rotation_kinked",
        about: "rotation with a kink in one outcome and the other clipped",
        kind: Kind::Kinked,
    };

    pub(crate) const fn noisy(name: &'static str, about: &'static str, sigma: f64) -> Self {
        let kind = Kind::Smooth(Noise::Normal(sigma));
        Self { name, about, kind }
    }

    fn outcome<T: Real>(self, x: &[f64], u: T) -> [T; 2] {
        let (sin, cos) = (u.sin(), u.cos());
        let turned = [cos * x[0] - sin * x[1], sin * x[0] + cos * x[1]];
        match self.kind {
            Kind::Smooth(_) | Kind::Quantised => turned,
            Kind::Kinked => [turned[0].abs() + u * 0.5, turned[1].clamp(-0.6, 0.6)],
        }
    }
}

fn best_action(x: &[f64]) -> f64 {
    1.2 * (2.0 * x[0]).sin() + 0.8 * x[0] * x[1] + 0.5 * x[1]
}

impl Task for Rotation {
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
        let x = uniform(rng, 2, -1.5, 1.5);
        let target = self.outcome(&x, best_action(&x)).to_vec();
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        let mut y = self.outcome(x, u[0]).to_vec();
        if let Kind::Quantised = self.kind {
            for value in &mut y {
                *value = (*value / STEP).round() * STEP;
            }
        }
        Ok(y)
    }

    fn call(&self, x: &[f64], u: &[f64], rng: &mut StdRng) -> Outcome {
        let y = self.evaluate(x, u)?;
        Ok(match self.kind {
            Kind::Smooth(noise) => noise.of(y, rng),
            Kind::Quantised | Kind::Kinked => y,
        })
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| self.outcome(x, u[0])))
    }

    fn smooth(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(self.outcome(x, u[0]).to_vec())
    }

    /// Rounding leaves each outcome an error spread evenly over a step, `step² / 12`.
    fn floor(&self) -> Option<f64> {
        match self.kind {
            Kind::Quantised => Some(STEP * STEP / 12.0),
            Kind::Smooth(_) | Kind::Kinked => None,
        }
    }
}
