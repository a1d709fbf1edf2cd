//! The asker's task where most actions fail.
//!
//! As `asker`, defined only where |u − u*(x) − 0.2 sin 5x₁| ≤ 0.35, about a quarter of what an untrained policy
//! explores; beside that, two calls in a hundred crash and one times out. The score is taken from the formula,
//! which goes on outside, so that a policy gains nothing by failing where it is bad.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome, RowError};
use rand::RngExt;
use rand::rngs::StdRng;

use super::asker::{FLOOR, best_action, outcome};
use crate::dual::jacobian;
use crate::task::{Task, uniform};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskerNarrow;

const HALF_WIDTH: f64 = 0.35;
const CRASHES: f64 = 0.02;
const TIMEOUTS: f64 = 0.01;

fn is_valid(x: [f64; 2], u: f64) -> bool {
    (u - best_action(x) - 0.2 * (5.0 * x[0]).sin()).abs() <= HALF_WIDTH
}

impl Task for AskerNarrow {
    fn name(&self) -> &'static str {
        "asker_narrow"
    }

    fn about(&self) -> &'static str {
        "asker, defined in a narrow valley only; some calls crash or time out"
    }

    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(1)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, 2, -1.0, 1.0);
        let at = [x[0], x[1]];
        (x, outcome(at, best_action(at)).to_vec())
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(outcome([x[0], x[1]], u[0]).to_vec())
    }

    fn call(&self, x: &[f64], u: &[f64], rng: &mut StdRng) -> Outcome {
        let chance: f64 = rng.random();
        if chance < CRASHES {
            return Err(RowError::Crashed("as it does now and then".into()));
        }
        if chance < CRASHES + TIMEOUTS {
            return Err(RowError::TimedOut);
        }
        if !is_valid([x[0], x[1]], u[0]) {
            return Err(RowError::Invalid);
        }
        self.evaluate(x, u)
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| outcome([x[0], x[1]], u[0])))
    }

    fn floor(&self) -> Option<f64> {
        Some(FLOOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_target_is_valid_and_about_a_quarter_of_the_prior() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut valid = 0;
        for _ in 0..2_000 {
            let (x, _) = AskerNarrow.draw(&mut rng);
            let x = [x[0], x[1]];
            assert!(is_valid(x, best_action(x)));
            let u = crate::task::normal(&mut rng, 1, 1.0)[0];
            valid += usize::from(is_valid(x, u));
        }
        assert!((400..600).contains(&valid), "{valid} of 2000 valid");
    }
}
