//! An actuator with a dead zone, saturation and a quantiser: x ∈ R, u ∈ R, y ∈ R.
//!
//! v = clip(u, ±3), then 0 where |v| < 0.5 and v − 0.5 sign v elsewhere; y = round(4v)/4. Training contexts: 200 points
//! of a grid on [0, 1]; Y = 2(x − 0.5). The gradient is zero everywhere but at the jumps; the Jacobian is that
//! without the quantiser.
//!
//! Source: the simulator-in-the-loop notebook of AdaSwarm 0.3, which needs up to 3.8e8 evaluations by its
//! settings. The floor is the quantiser's error, 0.25² / 12.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Published, Task};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actuator;

const DEAD_ZONE: f64 = 0.5;
const SATURATION: f64 = 3.0;
const STEP: f64 = 0.25;
const GRID: usize = 200;

fn unrounded<T: Real>(u: T) -> [T; 1] {
    let v = u.clamp(-SATURATION, SATURATION);
    let dead = T::from(0.0);
    [if v.value().abs() < DEAD_ZONE {
        dead
    } else {
        v - DEAD_ZONE * v.value().signum()
    }]
}

fn row(x: f64) -> (Vec<f64>, Vec<f64>) {
    (vec![x], vec![2.0 * (x - 0.5)])
}

impl Task for Actuator {
    fn name(&self) -> &'static str {
        "actuator"
    }

    fn about(&self) -> &'static str {
        "dead zone, saturation and a quantiser: no gradient almost anywhere"
    }

    fn dims(&self) -> Dims {
        Dims::new(1, 1, 1)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(1)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        row(rng.random_range(0.0..1.0))
    }

    fn draw_training(&self, _: &mut StdRng) -> Vec<(Vec<f64>, Vec<f64>)> {
        let point = |k| k as f64 / (GRID - 1) as f64;
        (0..GRID).map(|k| row(point(k))).collect()
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        let [v] = unrounded(u[0]);
        Ok(vec![(v / STEP).round() * STEP])
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| unrounded(u[0])))
    }

    fn smooth(&self, _: &[f64], u: &[f64]) -> Outcome {
        Ok(unrounded(u[0]).to_vec())
    }

    fn floor(&self) -> Option<f64> {
        Some(5.18e-3)
    }

    fn published(&self) -> &'static [Published] {
        const SOURCE: &str = "AdaSwarm 0.3, simulator-in-the-loop notebook";
        &[
            Published {
                loss: 8.1e-3,
                calls: Some(380_000_000),
                method: "AdaSwarm",
                source: SOURCE,
            },
            Published {
                loss: 0.1593,
                calls: None,
                method: "gradient of a smooth surrogate",
                source: SOURCE,
            },
        ]
    }
}
