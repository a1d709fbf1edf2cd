//! The reference that black-box methods are measured against: training with the true Jacobian.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          the true ∂F/∂u of a task, one call per sample
//! Requires      a task of this crate: no user's oracle has such a thing
//! Oracle rows   n per step
//! Failed rows   weigh nothing
//! Source        the chain rule

use std::sync::Arc;

use graybox::algorithm::PolicyFactory;
use graybox::model::{MlpPolicy, Policy};
use graybox::oracle::Rows;
use graybox::{
    Algorithm, Batch, Facts, LearningRate, OptimizerKind, Probe, Problem, RoundReport, Snapshot,
    SnapshotError, StepError, Student, TrainConfig, TrainError, Trainer,
};
use serde::{Deserialize, Serialize};

use crate::{Task, TaskOracle};

mod replay;

pub use replay::{ReplayConfig, WhiteBoxReplay};

/// The name it is chosen by.
pub const NAME: &str = "white_box";

/// The names of all references.
pub fn names() -> [&'static str; 3] {
    let [soap, adam] = WhiteBoxReplay::NAMES;
    [NAME, soap, adam]
}

/// How single-pass training with the true gradient is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhiteBoxConfig {
    /// Rows a step. Few, since it is the number of steps that limits it.
    pub batch: usize,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// The policy's learning rate.
    pub learning_rate: LearningRate,
}

/// From this many calls on, smaller steps serve better.
const MANY_CALLS: u64 = 50_000;

impl WhiteBoxConfig {
    /// What serves a true gradient best with this many calls: two rows a step, 6e-3, or 3e-3 where there are
    /// steps enough.
    pub fn for_calls(calls: u64) -> Self {
        let rate = if calls < MANY_CALLS { 6e-3 } else { 3e-3 };
        Self {
            batch: 2,
            optimizer: OptimizerKind::default(),
            learning_rate: LearningRate {
                initial: rate,
                ..LearningRate::default()
            },
        }
    }
}

impl Default for WhiteBoxConfig {
    fn default() -> Self {
        Self::for_calls(0)
    }
}

/// Trains a policy on a task's true gradient, every call used once.
pub struct WhiteBox {
    task: Arc<dyn Task>,
}

impl WhiteBox {
    /// Uses the true Jacobian of a task of this crate.
    pub fn new(task: Arc<dyn Task>) -> Self {
        Self { task }
    }
}

/// The reference run: the same policy, data, seed and number of calls as `config` has, with the settings that
/// serve a true gradient best.
///
/// # Errors
/// If a setting is outside its meaning.
pub fn reference(
    task: &Arc<dyn Task>,
    problem: Problem,
    config: &TrainConfig,
) -> Result<Trainer<MlpPolicy>, TrainError> {
    let settings = WhiteBoxConfig::for_calls(config.calls);
    let config = TrainConfig {
        batch: Some(settings.batch),
        optimizer: settings.optimizer,
        learning_rate: Some(settings.learning_rate),
        ..config.clone()
    };
    let algorithm = Box::new(WhiteBox::new(Arc::clone(task)));
    let oracle = TaskOracle::new(Arc::clone(task), config.seed);
    trainer(problem, config, oracle, algorithm)
}

/// A run of an algorithm that is no part of the registry.
pub(crate) fn trainer(
    problem: Problem,
    config: TrainConfig,
    oracle: impl graybox::oracle::Oracle + 'static,
    algorithm: Box<dyn Algorithm<MlpPolicy>>,
) -> Result<Trainer<MlpPolicy>, TrainError> {
    let policy = problem.policy(&config.policy);
    let device = problem.device().clone();
    let new_policy: PolicyFactory<_> = Arc::new(move |rng| policy.init(rng, &device));
    Trainer::with_algorithm(config, problem, oracle, &new_policy, algorithm)
}

impl<P: Policy> Algorithm<P> for WhiteBox {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates: "the gradient of the true loss, with the true Jacobian",
            bias: "none",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let progress = probe.progress();
        let measured = probe.ask(batch, student.act(batch.x.clone()))?;
        let n = measured.answered.max(1) as f64;
        let d_u = measured.u_rows.width();
        let mut dloss_du = Rows::with_capacity(d_u, batch.len());
        for (row_idx, outcome) in measured.outcomes.iter().enumerate() {
            let mut gradient = vec![0.0; d_u];
            let (x, u) = (batch.x_rows.row(row_idx), measured.u_rows.row(row_idx));
            if let (Ok(y), Some(jacobian)) = (outcome, self.task.jacobian(x, u)) {
                let target = batch.target_rows.row(row_idx);
                let dloss_dy = probe.objective().gradient(y, target);
                for (row, slope) in jacobian.chunks_exact(d_u).zip(dloss_dy) {
                    for (sum, entry) in gradient.iter_mut().zip(row) {
                        *sum += slope * entry / n;
                    }
                }
            }
            dloss_du.push(&gradient)?;
        }
        if measured.answered > 0 {
            student.follow(batch.x.clone(), probe.upload(&dloss_du), progress);
        }
        Ok(RoundReport::new(measured.loss))
    }

    fn save(&self, _: &mut Snapshot) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn load(&mut self, _: &Snapshot) -> Result<(), SnapshotError> {
        Ok(())
    }
}
