//! What a task is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::prelude::*;
use graybox::model::{Affine, HeadConfig};
use graybox::oracle::{Dims, Oracle, Outcome, Queries, Rows};
use graybox::{ConfigError, Dataset, Objective, Problem, SquaredError, TrainError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use serde::Serialize;

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

    /// Draws the training rows: a thousand, unless the task comes with its own.
    fn draw_training(&self, rng: &mut StdRng) -> Vec<(Vec<f64>, Vec<f64>)> {
        (0..TRAINING_ROWS).map(|_| self.draw(rng)).collect()
    }

    /// The outcome without noise: the truth that scores are taken from.
    ///
    /// # Errors
    /// If the task has no outcome there.
    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome;

    /// One paid call: the outcome with whatever chance adds to it or makes of it.
    ///
    /// # Errors
    /// If the task has no outcome there, or the call fails by chance.
    fn call(&self, x: &[f64], u: &[f64], rng: &mut StdRng) -> Outcome {
        let _ = rng;
        self.evaluate(x, u)
    }

    /// `∂y/∂u`, row-major `[d_y, d_u]`, where it exists. Under a quantiser, whose derivative is zero, that of
    /// the [smooth](Self::smooth) formula.
    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>>;

    /// The formula beneath a quantiser; the outcome itself where there is none.
    ///
    /// # Errors
    /// If the task has no outcome there.
    fn smooth(&self, x: &[f64], u: &[f64]) -> Outcome {
        self.evaluate(x, u)
    }

    /// The unit in which each outcome's error is measured.
    fn outcome_scale(&self) -> Vec<f64> {
        vec![1.0; self.dims().y]
    }

    /// The loss to be minimised: the mean over outcomes of the squared error, in units of their scale.
    ///
    /// # Errors
    /// If a scale is not positive and finite.
    fn objective(&self) -> Result<Arc<dyn Objective>, ConfigError> {
        Ok(Arc::new(SquaredError::scaled(&self.outcome_scale())?))
    }

    /// Where outcomes lie and how far they spread, if the targets do not tell.
    fn outcome_spread(&self) -> Option<Affine> {
        None
    }

    /// The loss that single-pass training with the true gradient and Adam reaches with practically unlimited
    /// calls, where it is known; the limit of a quantiser, where there is one. Other optimizers may go below the
    /// first of these.
    fn floor(&self) -> Option<f64> {
        None
    }

    /// What others have reported for this task, the figure to beat first.
    fn published(&self) -> &'static [Published] {
        &[]
    }
}

/// Training rows of a task that does not say otherwise.
const TRAINING_ROWS: usize = 1_000;

/// A loss that somebody else reported.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// The loss, in the task's own measure.
    pub loss: f64,
    /// Oracle calls it took, where they were stated.
    pub calls: Option<u64>,
    /// How it was reached.
    pub method: &'static str,
    /// Where it is written.
    pub source: &'static str,
}

impl dyn Task {
    /// Draws `n` rows of a data set.
    ///
    /// # Panics
    /// If the task draws rows of the wrong width.
    pub fn sample(&self, n: usize, seed: u64) -> Dataset {
        let mut rng = StdRng::seed_from_u64(seed);
        self.dataset((0..n).map(|_| self.draw(&mut rng)).collect())
    }

    /// Draws the training rows of a race.
    ///
    /// # Panics
    /// If the task draws rows of the wrong width.
    pub fn training(&self, seed: u64) -> Dataset {
        let mut rng = StdRng::seed_from_u64(seed);
        self.dataset(self.draw_training(&mut rng))
    }

    fn dataset(&self, rows: Vec<(Vec<f64>, Vec<f64>)>) -> Dataset {
        let dims = self.dims();
        let mut x = Rows::with_capacity(dims.x, rows.len());
        let mut target = Rows::with_capacity(dims.y, rows.len());
        for (context, wanted) in rows {
            x.push(&context).expect("contexts are d_x wide");
            target.push(&wanted).expect("targets are d_y wide");
        }
        Dataset::new(x, target).expect("a task draws finite rows")
    }

    /// The problem of hitting these targets, with the task's objective.
    ///
    /// # Errors
    /// If the task's scales make no sense.
    pub fn problem(&self, data: Dataset, device: &Device) -> Result<Problem, TrainError> {
        let problem = Problem::new(data, self.actions(), device)?;
        let problem = problem.with_objective(self.objective()?);
        Ok(match self.outcome_spread() {
            Some(outcome) => problem.with_outcome(outcome),
            None => problem,
        })
    }
}

/// A task as the oracle of one run: noise and failures included.
///
/// What chance adds to a call is decided by the seed and the call's number alone, so that a run can be
/// repeated bit for bit, and asking the same row again draws new noise.
pub struct TaskOracle {
    task: Arc<dyn Task>,
    seed: u64,
    calls: AtomicU64,
}

impl TaskOracle {
    /// The oracle of a run with this seed.
    pub fn new(task: Arc<dyn Task>, seed: u64) -> Self {
        Self {
            task,
            seed,
            calls: AtomicU64::new(0),
        }
    }
}

impl Oracle for TaskOracle {
    fn dims(&self) -> Dims {
        self.task.dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        let first = self
            .calls
            .fetch_add(queries.len() as u64, Ordering::Relaxed);
        let call = |(row_idx, (x, u)): (usize, (&[f64], &[f64]))| {
            let mut rng = noise_of(self.seed, first + row_idx as u64);
            self.task.call(x, u, &mut rng)
        };
        queries.iter().enumerate().map(call).collect()
    }
}

/// The generator of one call's noise.
fn noise_of(seed: u64, call: u64) -> StdRng {
    let mut key = *b"noise of an oracle, one per call";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&call.to_le_bytes());
    StdRng::from_seed(key)
}

/// A task's noise-free truth, for scores that no algorithm sees.
#[derive(Clone)]
pub struct Truth(pub Arc<dyn Task>);

impl Oracle for Truth {
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

/// `n` numbers from `N(0, sigma²)`.
pub(crate) fn normal(rng: &mut StdRng, n: usize, sigma: f64) -> Vec<f64> {
    let draw = |_| sigma * rng.sample::<f64, _>(StandardNormal);
    (0..n).map(draw).collect()
}
