//! A shell with quadratic drag in wind, by Runge–Kutta steps with the impact found between two of them.
//!
//! The gunner knows the wind and the distance of the target and chooses the elevation; the shell is to fall
//! on the target after the time of flight of the low trajectory. Context: wind (m/s, along the line of
//! fire), distance (m). Action: elevation (degrees). Outcome: range (m), time of flight (s).
//!
//! Motion: `v' = −g e_z − k |v − w| (v − w)`, muzzle speed 120 m/s, k = 0.002 1/m. Targets are drawn by firing
//! at an elevation between 8 and 36 degrees that the policy never sees, so every one can be hit.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome, RowError};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::Task;
use crate::dual::{Real, jacobian};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cannon;

const GRAVITY: f64 = 9.81;
const DRAG: f64 = 0.002;
const MUZZLE_SPEED: f64 = 120.0;
/// Seconds per Runge–Kutta step.
const STEP: f64 = 0.1;
/// Give up after this many steps.
const MAX_STEPS: usize = 1_000;

/// Position (m) and velocity (m/s): x, z, v_x, v_z.
type State<T> = [T; 4];

fn derivative<T: Real>(wind: f64, [_, _, v_x, v_z]: State<T>) -> State<T> {
    let along = v_x - wind;
    let speed = (along * along + v_z * v_z).sqrt();
    [
        v_x,
        v_z,
        -(speed * along * DRAG),
        -(speed * v_z * DRAG) - GRAVITY,
    ]
}

/// The classical fourth-order step.
fn step<T: Real>(wind: f64, state: State<T>, h: T) -> State<T> {
    let moved = |slope: State<T>, share: f64| -> State<T> {
        std::array::from_fn(|i| state[i] + slope[i] * h * share)
    };
    let k1 = derivative(wind, state);
    let k2 = derivative(wind, moved(k1, 0.5));
    let k3 = derivative(wind, moved(k2, 0.5));
    let k4 = derivative(wind, moved(k3, 1.0));
    std::array::from_fn(|i| state[i] + (k1[i] + (k2[i] + k3[i]) * 2.0 + k4[i]) * h / 6.0)
}

/// Range and time of flight; none if the shell does not come down.
fn fire<T: Real>(wind: f64, elevation: T) -> Option<[T; 2]> {
    let angle = elevation * (std::f64::consts::PI / 180.0);
    let zero = T::from(0.0);
    let mut state = [
        zero,
        zero,
        angle.cos() * MUZZLE_SPEED,
        angle.sin() * MUZZLE_SPEED,
    ];
    for steps in 0..MAX_STEPS {
        let next = step(wind, state, T::from(STEP));
        if next[1].value() < 0.0 {
            return Some(impact(wind, state, steps as f64 * STEP));
        }
        state = next;
    }
    None
}

/// Newton's iteration on the length of the last step, at whose end the height is zero. The last iterate
/// carries the derivative of the implicit function.
fn impact<T: Real>(wind: f64, state: State<T>, time: f64) -> [T; 2] {
    let mut h = T::from(0.5 * STEP);
    let mut landed = state;
    for _ in 0..20 {
        landed = step(wind, state, h);
        h = h - landed[1] / landed[3];
    }
    [landed[0], h + time]
}

impl Task for Cannon {
    fn name(&self) -> &'static str {
        "cannon"
    }

    fn about(&self) -> &'static str {
        "elevation of a gun in wind, from a drag integrator; physical units"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn columns(&self) -> [Vec<String>; 3] {
        [
            vec!["wind_m_s".into(), "distance_m".into()],
            vec!["elevation_deg".into()],
            vec!["range_m".into(), "flight_s".into()],
        ]
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::Bounded {
            low: vec![2.0],
            high: vec![60.0],
        }
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let wind = rng.random_range(-15.0..15.0);
        let elevation: f64 = rng.random_range(8.0..36.0);
        let landed = fire(wind, elevation).expect("a shell fired at 8 to 36 degrees comes down");
        (vec![wind, landed[0]], landed.to_vec())
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        match fire(x[0], u[0]) {
            Some(landed) => Ok(landed.to_vec()),
            None => Err(RowError::Failed("the shell did not come down".into())),
        }
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        fire(x[0], u[0])?;
        Some(jacobian(u, |u| {
            fire(x[0], u[0]).expect("the shell came down just now")
        }))
    }

    /// About one standard deviation of the targets.
    fn outcome_scale(&self) -> Vec<f64> {
        vec![100.0, 3.0]
    }
}
