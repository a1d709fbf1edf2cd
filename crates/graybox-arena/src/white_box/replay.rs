//! The honest bound: the true gradient, with every call used as often as a surrogate uses it.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          F(x_i, u) ≈ F(x_i, u_i) + J_i (u − u_i) of the newest calls, J_i the true ∂F/∂u there, stored
//! Requires      a task of this crate: no user's oracle has a Jacobian
//! Oracle rows   n per round, followed by n · steps updates of the policy
//! Failed rows   are not kept
//! Source        the chain rule, and a linear model of each call; cf. Lin, Self-improving reactive agents, 1992

use std::sync::Arc;

use burn::prelude::*;
use graybox::model::Policy;
use graybox::{
    Algorithm, Batch, Facts, LearningRate, Probe, RoundReport, Snapshot, SnapshotError, StepError,
    Student,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::Task;

/// How replayed training with the true gradient is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Calls a round.
    pub batch: usize,
    /// Updates of the policy for each call.
    pub steps: usize,
    /// Rows of an update.
    pub rows: usize,
    /// How many of the newest calls are replayed.
    pub window: usize,
    /// The policy's learning rate.
    pub learning_rate: LearningRate,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            batch: 2,
            steps: 8,
            rows: 16,
            window: 300,
            learning_rate: LearningRate::default(),
        }
    }
}

/// Trains a policy on stored true Jacobians.
pub struct WhiteBoxReplay {
    config: ReplayConfig,
    task: Arc<dyn Task>,
    /// Calls kept, row-major: x, u, y, target, J.
    kept: Vec<f32>,
    widths: [usize; 5],
}

impl WhiteBoxReplay {
    /// The name it is chosen by.
    pub const NAME: &'static str = "white_box_replay";

    /// Uses the true Jacobian of a task of this crate.
    pub fn new(config: ReplayConfig, task: Arc<dyn Task>) -> Self {
        let dims = task.dims();
        Self {
            config,
            widths: [dims.x, dims.u, dims.y, dims.y, dims.y * dims.u],
            task,
            kept: Vec::new(),
        }
    }

    fn keep(&mut self, parts: [&[f64]; 5]) {
        for part in parts {
            self.kept.extend(part.iter().map(|value| *value as f32));
        }
    }

    fn width(&self) -> usize {
        self.widths.iter().sum()
    }

    fn len(&self) -> usize {
        self.kept.len() / self.width()
    }

    /// Rows drawn from the newest calls, as the parts of [`kept`](Self::kept).
    fn draw(&self, probe: &mut Probe<'_>, device: &Device) -> [Tensor<2>; 5] {
        let (width, len) = (self.width(), self.len());
        let oldest = len.saturating_sub(self.config.window);
        let mut values = Vec::with_capacity(self.config.rows * width);
        for _ in 0..self.config.rows {
            let row_idx = probe.rng().random_range(oldest..len);
            values.extend_from_slice(&self.kept[row_idx * width..(row_idx + 1) * width]);
        }
        let data = TensorData::new(values, [self.config.rows, width]);
        let rows = Tensor::<2>::from_data(data, device);
        let mut start = 0;
        self.widths.map(|width| {
            let part = rows.clone().narrow(1, start, width);
            start += width;
            part
        })
    }
}

impl<P: Policy> Algorithm<P> for WhiteBoxReplay {
    fn facts(&self) -> Facts {
        Facts {
            name: Self::NAME,
            calls_per_row: 1,
            estimates: "the gradient of the true loss, with true Jacobians of earlier calls",
            bias: "that of a linear model around each call",
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
        let measured = probe.ask(batch, student.act(batch.x.clone()))?;
        for (row_idx, outcome) in measured.outcomes.iter().enumerate() {
            let (x, u) = (batch.x_rows.row(row_idx), measured.u_rows.row(row_idx));
            if let (Ok(y), Some(jacobian)) = (outcome, self.task.jacobian(x, u)) {
                self.keep([x, u, y, batch.target_rows.row(row_idx), &jacobian]);
            }
        }
        if self.len() == 0 {
            return Ok(RoundReport::new(measured.loss));
        }
        let device = batch.x.device();
        let progress = probe.progress();
        let [_, d_u, d_y, ..] = self.widths;
        for _ in 0..self.config.steps * batch.len() {
            if probe.stopped() {
                break;
            }
            let [x, u, y, target, jacobian] = self.draw(probe, &device);
            let moved = student.policy().forward(x) - u;
            let jacobian = jacobian.reshape([self.config.rows, d_y, d_u]);
            let change = jacobian.matmul(moved.unsqueeze_dim::<3>(2)).squeeze_dim(2);
            let loss = probe.objective().rows(y + change, target).mean();
            student.step(loss, progress);
        }
        Ok(RoundReport::new(measured.loss))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("white_box_replay.kept", &self.kept)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.kept = snapshot.get("white_box_replay.kept")?;
        Ok(())
    }
}
