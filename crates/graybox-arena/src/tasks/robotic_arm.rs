//! A robot arm on a rail that reaches for a point: x = Y ∈ R², u ∈ R⁴.
//!
//! u = (origin on the rail, three angles), prior: origin ~ N(0, 1/16), angles ~ N(0, 1/4) (variances). Arms of 0.5, 0.5
//! and 1 point along a₁ = u₂, a₂ = u₃ − u₂, a₃ = u₄ − u₃ − u₂: y = (Σ ℓ cos a, u₁ + Σ ℓ sin a). Two actions are free at
//! every target, and targets near the edge of what can be reached are rare and hard: means are dominated by
//! them.
//!
//! Source: Ren, Padilla & Malof, Benchmarking deep inverse models over time, and the neural-adjoint method,
//! NeurIPS 2020; its figures read by eye, ±10 %.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use super::REN;
use crate::dual::{Real, jacobian};
use crate::task::{Published, Task, normal};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoboticArm;

const ARMS: [f64; 3] = [0.5, 0.5, 1.0];
/// Standard deviations of the prior of u.
const PRIOR: [f64; 4] = [0.25, 0.5, 0.5, 0.5];

fn tip<T: Real>(u: &[T]) -> [T; 2] {
    let angles = [u[1], u[2] - u[1], u[3] - u[2] - u[1]];
    let mut tip = [T::from(0.0), u[0]];
    for (angle, arm) in angles.iter().zip(ARMS) {
        tip = [tip[0] + angle.cos() * arm, tip[1] + angle.sin() * arm];
    }
    tip
}

impl Task for RoboticArm {
    fn name(&self) -> &'static str {
        "robotic_arm"
    }

    fn about(&self) -> &'static str {
        "an arm on a rail reaches for a point: one-to-many, rare targets at the edge"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 4, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::Identity {
            center: vec![0.0; 4],
            scale: PRIOR.to_vec(),
        }
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let z = normal(rng, 4, 1.0);
        let u: Vec<f64> = z.iter().zip(PRIOR).map(|(z, sigma)| sigma * z).collect();
        let wanted = tip(&u).to_vec();
        (wanted.clone(), wanted)
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        Ok(tip(u).to_vec())
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, tip))
    }

    fn floor(&self) -> Option<f64> {
        Some(1.3e-4)
    }

    fn published(&self) -> &'static [Published] {
        const {
            &[
                REN.reached(2.6e-6, "neural adjoint, 50 tries"),
                REN.reached(2.3e-4, "neural adjoint, one try"),
                REN.reached(5.5e-4, "tandem"),
                REN.reached(1.9e-3, "conditional INN"),
            ]
        }
    }
}
