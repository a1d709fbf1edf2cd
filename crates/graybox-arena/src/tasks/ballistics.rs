//! A ball thrown through air, seen on a grid of time: x = Y ∈ R, u ∈ R⁴.
//!
//! u = (x₀, y₀, angle, v₀/15), prior: x₀ ~ N(0, 0.5²), y₀ ~ max(N(1.5, 0.5²), 0), angle ~ U(0.05π, 0.45π), v₀ ~ Poisson(15).
//! With m = 0.2, k = 0.25, g = 9.81 and 1,500 points of time t on [0, 6]:
//!
//! x_t = x₀ − (v cos a) m/k (e^{−kt/m} − 1),  y_t = y₀ − m/k² ((g m + v sin a · k)(e^{−kt/m} − 1) + g t k)
//!
//! The outcome is x_t at the last point before y changes sign after the apex, so that it is rounded by the grid;
//! a ball that is still in the air at the end has no outcome. The Jacobian is that of the exact impact.
//!
//! Source: Ren, Padilla & Malof, Benchmarking deep inverse models over time, and the neural-adjoint method,
//! NeurIPS 2020; its figures read by eye, ±10 %.

use std::f64::consts::PI;

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome, RowError};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Poisson};

use super::REN;
use crate::dual::{Real, jacobian};
use crate::task::{Published, Task, normal};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ballistics;

const GRAVITY: f64 = 9.81;
const DRAG: f64 = 0.25;
const MASS: f64 = 0.2;
/// The unit of the fourth action.
const SPEED: f64 = 15.0;
const LAST_POINT: usize = 1_499;
const DURATION: f64 = 6.0;

/// Bounds of the actions: three standard deviations of the prior and more.
const LOW: [f64; 4] = [-1.5, 0.0, 0.05 * PI, 0.1];
const HIGH: [f64; 4] = [1.5, 3.0, 0.45 * PI, 2.0];

fn time(point: usize) -> f64 {
    DURATION * point as f64 / LAST_POINT as f64
}

fn position<T: Real>(u: &[T], t: T) -> [T; 2] {
    let speed = u[3] * SPEED;
    let decay = (t * (-DRAG / MASS)).exp() - 1.0;
    let along = u[0] - speed * u[2].cos() * decay * (MASS / DRAG);
    let momentum = speed * u[2].sin() * DRAG + GRAVITY * MASS;
    let up = u[1] - (momentum * decay + t * (GRAVITY * DRAG)) * (MASS / (DRAG * DRAG));
    [along, up]
}

/// The last point of time before the ball is below the ground, after the apex.
fn last_in_air(u: &[f64]) -> Option<usize> {
    let height = |point| position(u, time(point))[1];
    let apex = (0..LAST_POINT).find(|point| height(point + 1) <= height(*point))?;
    (apex..LAST_POINT).find(|point| height(point + 1) < 0.0)
}

/// Where the ball meets the ground between two points: Newton's iteration on the time of impact, whose last
/// iterate carries the derivative of the implicit function.
fn impact<T: Real>(u: &[T], start: f64) -> [T; 1] {
    let mut t = T::from(start);
    for _ in 0..20 {
        let h = 1e-6;
        let rate = (position(u, t + h)[1].value() - position(u, t - h)[1].value()) / (2.0 * h);
        t = t - position(u, t)[1] / rate;
    }
    [position(u, t)[0]]
}

impl Task for Ballistics {
    fn name(&self) -> &'static str {
        "ballistics"
    }

    fn about(&self) -> &'static str {
        "throw a ball to a distance: one-to-many, rounded by a grid of time"
    }

    fn dims(&self) -> Dims {
        Dims::new(1, 4, 1)
    }

    fn columns(&self) -> [Vec<String>; 3] {
        [
            vec!["wanted_m".into()],
            vec![
                "start_m".into(),
                "height_m".into(),
                "angle_rad".into(),
                "speed_15m_s".into(),
            ],
            vec!["landed_m".into()],
        ]
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::Bounded {
            low: LOW.to_vec(),
            high: HIGH.to_vec(),
        }
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let poisson = Poisson::new(SPEED).expect("a positive mean");
        loop {
            let z = normal(rng, 2, 0.5);
            let angle = rng.random_range(0.05 * PI..0.45 * PI);
            let speed: f64 = poisson.sample(rng);
            let u = [z[0], (1.5 + z[1]).max(0.0), angle, speed / SPEED];
            if let Ok(landed) = self.evaluate(&[], &u) {
                return (landed.clone(), landed);
            }
        }
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        let point = last_in_air(u).ok_or(RowError::Invalid)?;
        Ok(vec![position(u, time(point))[0]])
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        let start = time(last_in_air(u)?);
        Some(jacobian(u, |u| impact(u, start)))
    }

    fn smooth(&self, _: &[f64], u: &[f64]) -> Outcome {
        let point = last_in_air(u).ok_or(RowError::Invalid)?;
        Ok(impact(u, time(point)).to_vec())
    }

    fn published(&self) -> &'static [Published] {
        const {
            &[
                REN.reached(4.4e-6, "neural adjoint, 50 tries"),
                REN.reached(5.9e-3, "neural adjoint, one try"),
                REN.reached(7.9e-3, "tandem"),
            ]
        }
    }
}
