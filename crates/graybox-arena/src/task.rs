//! What a task is.

use std::sync::Arc;

use burn::prelude::*;
use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Oracle, Outcome, Queries, Rows};
use graybox::{Dataset, Problem, SquaredError, TrainError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A black box with known truth: contexts and targets to train on, and a score without noise.
pub trait Task: Send + Sync {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;

    /// One line: what it is and what makes it hard.
    fn about(&self) -> &'static str;

    /// The widths `d_x`, `d_u`, `d_y`.
    fn dims(&self) -> Dims;

    /// Names of the columns of x, u and y, with units where there are any.
    fn columns(&self) -> [Vec<String>; 3] {
        let dims = self.dims();
        let names = |letter: &str, n: usize| (1..=n).map(|k| format!("{letter}{k}")).collect();
        [names("x", dims.x), names("u", dims.u), names("y", dims.y)]
    }

    /// What actions may be, and the scale on which they matter.
    fn actions(&self) -> HeadConfig;

    /// Draws a context and the outcome wanted there.
    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>);

    /// The outcome without noise.
    ///
    /// # Errors
    /// If the task has no outcome there.
    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome;

    /// `∂y/∂u`, row-major `[d_y, d_u]`, where it exists.
    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>>;

    /// The unit in which each outcome's error is measured.
    fn outcome_scale(&self) -> Vec<f64> {
        vec![1.0; self.dims().y]
    }

    /// The loss that unlimited training with the true gradient reaches, where it is known.
    fn floor(&self) -> Option<f64> {
        None
    }
}

impl dyn Task {
    /// Draws a data set.
    ///
    /// # Panics
    /// If the task draws rows of the wrong width.
    pub fn sample(&self, n: usize, seed: u64) -> Dataset {
        let dims = self.dims();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut x = Rows::with_capacity(dims.x, n);
        let mut target = Rows::with_capacity(dims.y, n);
        for _ in 0..n {
            let (context, wanted) = self.draw(&mut rng);
            x.push(&context).expect("contexts are d_x wide");
            target.push(&wanted).expect("targets are d_y wide");
        }
        Dataset::new(x, target).expect("a task draws finite rows")
    }

    /// The problem of hitting these targets, with errors in the task's units.
    ///
    /// # Errors
    /// If the task's scales make no sense.
    pub fn problem(&self, data: Dataset, device: &Device) -> Result<Problem, TrainError> {
        let objective = SquaredError::scaled(&self.outcome_scale())?;
        Ok(Problem::new(data, self.actions(), device)?.with_objective(objective))
    }
}

/// A task as an oracle.
#[derive(Clone)]
pub struct TaskOracle(pub Arc<dyn Task>);

impl Oracle for TaskOracle {
    fn dims(&self) -> Dims {
        self.0.dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        queries.iter().map(|(x, u)| self.0.evaluate(x, u)).collect()
    }
}

/// `n` numbers from `U(low, high)`.
pub(crate) fn uniform(rng: &mut StdRng, n: usize, low: f64, high: f64) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(low..high)).collect()
}
