//! A ball thrown through wind, by Euler steps: x ∈ R³, u ∈ R², y ∈ R².
//!
//! v' = −g e_z − k |v − w| (v − w), 60 Euler steps of 0.05 s at most, the impact interpolated in the last one.
//! x = (wind, drag, height of the start), each ~ U[−1.5, 1.5]: w = 2 x₁ m/s, k = 0.03 + 0.01 x₂ per m, 2 + x₃ m.
//! u = (angle, speed): 0.8 + 0.3 u₁ rad, 10 + 2 u₂ m/s. y = (range / 3 m, time of flight / 0.3 s), Y = F(x, u*),
//! u* = (sin(x₁ + x₂), 0.8 cos(x₃ − x₁)). Smooth but for the steps; every target can be hit.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome, RowError};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throw;

const GRAVITY: f64 = 9.81;
const STEP: f64 = 0.05;
const MAX_STEPS: usize = 60;
/// The units of range (m) and time of flight (s).
const UNITS: [f64; 2] = [3.0, 0.3];

/// Range and time of flight; none if the ball is still in the air at the end.
fn throw<T: Real>(x: &[f64], u: &[T]) -> Option<[T; 2]> {
    let (wind, drag, start) = (2.0 * x[0], 0.03 + 0.01 * x[1], 2.0 + x[2]);
    let (angle, speed) = (u[0] * 0.3 + 0.8, u[1] * 2.0 + 10.0);
    let mut position = [T::from(0.0), T::from(start)];
    let mut velocity = [speed * angle.cos(), speed * angle.sin()];
    for step in 0..MAX_STEPS {
        let next = [0, 1].map(|axis| position[axis] + velocity[axis] * STEP);
        if next[1].value() < 0.0 {
            let share = position[1] / (position[1] - next[1]);
            let range = position[0] + (next[0] - position[0]) * share;
            let time = (share + step as f64) * STEP;
            return Some([range / UNITS[0], time / UNITS[1]]);
        }
        let along = velocity[0] - wind;
        let air_speed = (along * along + velocity[1] * velocity[1]).sqrt();
        velocity = [
            velocity[0] - air_speed * along * (drag * STEP),
            velocity[1] - air_speed * velocity[1] * (drag * STEP) - GRAVITY * STEP,
        ];
        position = next;
    }
    None
}

impl Task for Throw {
    fn name(&self) -> &'static str {
        "throw"
    }

    fn about(&self) -> &'static str {
        "angle and speed of a throw through wind, from a drag integrator; smooth"
    }

    fn dims(&self) -> Dims {
        Dims::new(3, 2, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(2)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, 3, -1.5, 1.5);
        let best = [(x[0] + x[1]).sin(), 0.8 * (x[2] - x[0]).cos()];
        let landed = throw(&x, &best).expect("a throw of at most 12 m/s lands within 3 s");
        (x, landed.to_vec())
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        let landed = throw(x, u).ok_or_else(|| RowError::Failed("still in the air".into()))?;
        Ok(landed.to_vec())
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        throw(x, u)?;
        Some(jacobian(u, |u| {
            throw(x, u).expect("the ball landed just now")
        }))
    }
}
