//! The honest bound: the true gradient, with every call used as often as the default algorithm uses it.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          F(x_i, u) ≈ F(x_i, u_i) + J_i (u − u_i) of the newest calls, J_i the true ∂F/∂u there, stored
//! Requires      a task of this crate: no user's oracle has a Jacobian
//! Oracle rows   n per round; then as many updates of the policy as the default algorithm makes
//! Failed rows   are not kept
//! Source        the chain rule, and a linear model of each call; cf. Lin, Self-improving reactive agents, 1992
//!
//! It is to be as strong as such training can be made, since a bound that is easily met says nothing: the same
//! optimizer, number of steps and rows a step as the default algorithm, and the same closing phase, in which
//! the policy is trained to convergence on the calls already made. It goes without what a known Jacobian makes
//! needless, exploration and a trust region, and without several policies. Where calls are few for the number of
//! contexts and actions, SOAP fits them at the cost of what lies between and Adam goes much further, so that
//! both are raced and the better one counts.

use std::sync::Arc;

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox::algorithm::AnchoredConfig;
use graybox::model::Policy;
use graybox::{
    Algorithm, Batch, Facts, LearningRate, OptimizerKind, Probe, Problem, RoundReport, Snapshot,
    SnapshotError, StepError, Student,
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
    /// Updates of the policy for each call; as many as the default algorithm makes if not stated.
    pub steps_per_call: Option<f64>,
    /// Rows of an update.
    pub rows: usize,
    /// How many of the newest calls are replayed; in the closing phase, as many as there are contexts.
    pub window: usize,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// The policy's learning rate.
    pub learning_rate: LearningRate,
    /// Steps of the closing phase, as a share of the steps before it.
    pub closing: f64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            batch: 2,
            steps_per_call: None,
            rows: 32,
            window: 300,
            optimizer: OptimizerKind::Soap,
            learning_rate: LearningRate {
                floor: 0.1,
                ..LearningRate::default()
            },
            closing: 1.0,
        }
    }
}

impl ReplayConfig {
    /// With this optimizer.
    pub fn with(optimizer: OptimizerKind) -> Self {
        Self {
            optimizer,
            ..Self::default()
        }
    }

    /// The name it is chosen by.
    pub fn name(&self) -> &'static str {
        match self.optimizer {
            OptimizerKind::Soap => WhiteBoxReplay::NAMES[0],
            OptimizerKind::Adam => WhiteBoxReplay::NAMES[1],
        }
    }

    /// Updates per call under a budget: by default those of `anchored`.
    fn steps_per_call(&self, budget: u64) -> f64 {
        let default = || AnchoredConfig::default().steps_per_call(budget);
        self.steps_per_call.unwrap_or_else(default)
    }
}

/// Trains a policy on stored true Jacobians.
pub struct WhiteBoxReplay {
    config: ReplayConfig,
    task: Arc<dyn Task>,
    problem: Problem,
    optimizer: ModuleOptimizer,
    /// Updates that calls have paid for and that have not been made.
    steps_due: f64,
    /// Calls kept, row-major: x, u, y, target, J.
    kept: Vec<f32>,
    widths: [usize; 5],
}

impl WhiteBoxReplay {
    /// The names it is chosen by, with SOAP and with Adam.
    pub const NAMES: [&'static str; 2] = ["white_box_replay", "white_box_replay_adam"];

    /// Uses the true Jacobian of a task of this crate.
    pub fn new(config: ReplayConfig, task: Arc<dyn Task>, problem: &Problem) -> Self {
        let dims = task.dims();
        Self {
            optimizer: config.optimizer.init(),
            config,
            widths: [dims.x, dims.u, dims.y, dims.y, dims.y * dims.u],
            task,
            problem: problem.clone(),
            steps_due: 0.0,
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
    fn draw(&self, window: usize, probe: &mut Probe<'_>) -> [Tensor<2>; 5] {
        let (width, len) = (self.width(), self.len());
        let oldest = len.saturating_sub(window);
        let mut values = Vec::with_capacity(self.config.rows * width);
        for _ in 0..self.config.rows {
            let row_idx = probe.rng().random_range(oldest..len);
            values.extend_from_slice(&self.kept[row_idx * width..(row_idx + 1) * width]);
        }
        let data = TensorData::new(values, [self.config.rows, width]);
        let rows = Tensor::<2>::from_data(data, self.problem.device());
        let mut start = 0;
        self.widths.map(|width| {
            let part = rows.clone().narrow(1, start, width);
            start += width;
            part
        })
    }

    fn step<P: Policy>(&mut self, student: &mut Student<P>, loss: Tensor<1>, rate: f64) {
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, student.policy());
        let policy = student.policy().clone();
        student.set_policy(self.optimizer.step(rate, policy, gradients));
    }

    /// One update on the linear models of calls among the newest.
    fn improve<P: Policy>(
        &mut self,
        student: &mut Student<P>,
        (window, rate): (usize, f64),
        probe: &mut Probe<'_>,
    ) {
        let [_, d_u, d_y, ..] = self.widths;
        let [x, u, y, target, jacobian] = self.draw(window, probe);
        let jacobian = jacobian.reshape([self.config.rows, d_y, d_u]);
        let moved = student.policy().forward(x) - u;
        let change = jacobian.matmul(moved.unsqueeze_dim::<3>(2));
        let losses = probe.objective().rows(y + change.squeeze_dim(2), target);
        self.step(student, losses.mean(), rate);
    }
}

impl<P: Policy> Algorithm<P> for WhiteBoxReplay {
    fn facts(&self) -> Facts {
        Facts {
            name: self.config.name(),
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
        let progress = probe.progress();
        let rate = self.config.learning_rate.at(progress);
        self.steps_due += self.config.steps_per_call(probe.budget()) * batch.len() as f64;
        while self.steps_due >= 1.0 && !probe.stopped() {
            self.steps_due -= 1.0;
            self.improve(student, (self.config.window, rate), probe);
        }
        Ok(RoundReport::new(measured.loss))
    }

    /// Trains on the newest call of about every context, with a rate that falls to zero.
    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        let before = self.config.steps_per_call(probe.budget()) * probe.budget() as f64;
        let steps = (before * self.config.closing).round() as usize;
        if steps == 0 || self.len() == 0 {
            return Ok(None);
        }
        self.optimizer = self.config.optimizer.init();
        let window = self.problem.data().host().len();
        let falling = LearningRate {
            floor: 0.0,
            ..self.config.learning_rate
        };
        for step in 0..steps {
            if probe.stopped() {
                return Ok(None);
            }
            let rate = falling.at(step as f64 / steps as f64);
            self.improve(student, (window, rate), probe);
        }
        Ok(Some(RoundReport::new(None)))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_optimizer("white_box_replay.optimizer", &self.optimizer)?;
        snapshot.put("white_box_replay", &(self.steps_due, &self.kept))
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let fresh = self.config.optimizer.init();
        self.optimizer = snapshot.get_optimizer("white_box_replay.optimizer", fresh)?;
        (self.steps_due, self.kept) = snapshot.get("white_box_replay")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use graybox::{Silent, Stop};

    use crate::race::Plan;

    /// Loss on fresh contexts after 200 calls.
    fn loss(algorithm: &str, settings: &[&str]) -> f64 {
        let plan = Plan {
            tasks: vec!["asker".into()],
            algorithms: vec![algorithm.into()],
            calls: vec![200],
            seeds: vec![1],
            rows: None,
            overrides: settings.iter().map(|s| s.parse().unwrap()).collect(),
            references: false,
        };
        let entry = plan.entries().unwrap().remove(0);
        let device = ("flex", &Device::flex());
        let finish = entry.run(device, &Stop::new(), &mut Silent).unwrap();
        assert_eq!(finish.oracle_calls, 200);
        finish.true_loss_after.unwrap()
    }

    #[test]
    fn stored_jacobians_reach_further_than_those_used_once() {
        let replayed = loss("white_box_replay", &["white_box_replay.steps_per_call=5"]);
        let adam = [
            "white_box.optimizer=adam",
            "white_box.learning_rate.initial=0.003",
        ];
        let once = loss("white_box", &adam);
        assert!(100.0 * replayed < once, "{replayed}, and {once}");
    }
}
