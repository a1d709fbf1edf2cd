//! A planar arm of four equal joints, and where its tip is: x ∈ R², u ∈ R⁴, y ∈ R².
//!
//! y = ℓ Σ_k (cos a_k, sin a_k), a_k = u₁ + … + u_k, ℓ = 0.3; the context is the wanted position, drawn evenly from
//! the ring 0.4 ≤ r ≤ 1 up to 2 radians from straight ahead. Two of the four actions are free at every target:
//! one-to-many. The arm reaches 1.2, but there, stretched out, it cannot move further out to first order: near the
//! limit the best action has no bounded derivative in the target, and what a small network reaches is limited by
//! that alone.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanarArm;

const LINK: f64 = 0.3;
/// Of the wanted positions: the radii they lie between, and the largest angle.
const NEAREST: f64 = 0.4;
const FARTHEST: f64 = 1.0;
const WIDEST: f64 = 2.0;

fn tip<T: Real>(u: &[T]) -> [T; 2] {
    let mut angle = T::from(0.0);
    let mut tip = [T::from(0.0); 2];
    for joint in u {
        angle = angle + *joint;
        tip = [tip[0] + angle.cos() * LINK, tip[1] + angle.sin() * LINK];
    }
    tip
}

impl Task for PlanarArm {
    fn name(&self) -> &'static str {
        "planar_arm"
    }

    fn about(&self) -> &'static str {
        "four joints reach for a point: more actions than outcomes"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 4, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(4)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        // Even over the area: it is the square of the radius that is uniform.
        let radius = uniform(rng, 1, NEAREST * NEAREST, FARTHEST * FARTHEST)[0].sqrt();
        let angle = uniform(rng, 1, -WIDEST, WIDEST)[0];
        let wanted = vec![radius * angle.cos(), radius * angle.sin()];
        (wanted.clone(), wanted)
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        Ok(tip(u).to_vec())
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, tip))
    }
}
