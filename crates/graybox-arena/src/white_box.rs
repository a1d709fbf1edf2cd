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
    Algorithm, Batch, Facts, LearningRate, Probe, Problem, RoundReport, Snapshot, SnapshotError,
    StepError, Student, TrainConfig, TrainError, Trainer,
};

use crate::{Task, TaskOracle};

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
/// serve a true gradient best: two rows a step, since it is the number of steps that limits it.
///
/// # Errors
/// If a setting is outside its meaning.
pub fn reference(
    task: &Arc<dyn Task>,
    problem: Problem,
    config: &TrainConfig,
) -> Result<Trainer<MlpPolicy>, TrainError> {
    let config = TrainConfig {
        batch: Some(2),
        learning_rate: LearningRate::default(),
        ..config.clone()
    };
    let policy = problem.policy(&config.policy);
    let device = problem.device().clone();
    let new_policy: PolicyFactory<_> = Arc::new(move |rng| policy.init(rng, &device));
    let algorithm = Box::new(WhiteBox::new(Arc::clone(task)));
    let oracle = TaskOracle::new(Arc::clone(task), config.seed);
    Trainer::with_algorithm(config, problem, oracle, &new_policy, algorithm)
}

impl<P: Policy> Algorithm<P> for WhiteBox {
    fn facts(&self) -> Facts {
        Facts {
            name: "white_box",
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
