//! First a surrogate, then the policy through it.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          the gradient of ℓ(F̃(x, u), Y) through a surrogate fitted to earlier calls and then frozen
//! Requires      calls that cover the actions the policy will choose
//! Oracle rows   n per step that collects; none while the networks are trained
//! Failed rows   are not learned from
//! Source        Jordan & Rumelhart, Cognitive Science 16 (1992), the distal teacher; iterated: Ren, Padilla & Malof, NeurIPS 2020
//!
//! A share of the calls is set aside. The fit ends when the error there stops falling, and that error, in
//! units of the loss, is reported as `validation`: a policy cannot be trained to a smaller loss than the
//! surrogate knows of. With more than one cycle the second and later ones collect around the policy as it
//! has become.

use burn::optim::GradientsParams;
use burn::prelude::*;
use graybox_model::{MlpSurrogate, Policy, Surrogate, Term};
use graybox_oracle::{Answered, Rows};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Algorithm, Facts, TrainedSurrogate, population, rows};
use crate::snapshot::Snapshot;
use crate::{
    Batch, DeviceData, OptimizerKind, Probe, Problem, Replay, RoundReport, SnapshotError,
    StepError, Student, seed,
};

mod config;
mod sampling;
#[cfg(test)]
mod tests;

pub use config::TwoStageConfig;
use sampling::Design;
pub use sampling::Sampling;

pub(super) const NAME: &str = "two_stage";

/// Trains a policy through a surrogate that was fitted before.
pub struct TwoStage {
    config: TwoStageConfig,
    design: Design,
    surrogate: MlpSurrogate,
    replay: Replay,
    data: DeviceData,
    trained_by: OptimizerKind,
    /// Cycles that are over.
    done: usize,
}

/// How a fit went.
struct Fit {
    /// Mean loss of prediction against outcome on the rows set aside.
    validation: f64,
    updates: usize,
}

/// Whether networks are to be left half trained.
type Stopped = fn(&Probe<'_>) -> bool;

fn when_asked(probe: &Probe<'_>) -> bool {
    probe.stopped()
}

/// A fit looks at the rows set aside this often.
const CHECKS: usize = 50;
/// Checks without a better one after which a fit ends.
const PATIENCE: usize = 10;

impl TwoStage {
    /// Takes checked settings; the surrogate's weights follow from the problem's seed.
    pub fn new(config: TwoStageConfig, problem: &Problem) -> Self {
        let mut rng = seed::stream(problem.seed(), "two-stage surrogate", 0);
        let surrogate = problem.surrogate(&config.surrogate);
        let dims = problem.dims();
        let surrogate = surrogate.init(&mut rng, problem.device()).train();
        let design = Design {
            actions: problem.actions().clone(),
            reach: config.reach,
            scramble: rng.random(),
        };
        Self {
            config,
            design,
            surrogate,
            replay: Replay::new(dims.x, dims.u, dims.y),
            data: problem.data().clone(),
            trained_by: problem.optimizer(),
            done: 0,
        }
    }

    /// The actions of one round that collects.
    fn sample<P: Policy>(
        &self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Rows, StepError> {
        let d_u = self.design.actions.width();
        let around = self.done > 0 || self.config.sampling == Sampling::AroundPolicy;
        if around {
            let mut u = probe.download_actions(batch, student.act(batch.x.clone()))?;
            for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
                let z = population::normal(d_u, &mut rng);
                let moved = probe.perturb(u.row(row_idx), &z, self.config.spread);
                u.row_mut(row_idx).copy_from_slice(&moved);
            }
            return Ok(u);
        }
        let mut u = Rows::with_capacity(d_u, batch.len());
        for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
            let shares: Vec<f64> = match self.config.sampling {
                Sampling::Sobol => self.design.sobol(self.replay.len() + row_idx),
                _ => (0..d_u).map(|_| rng.random()).collect(),
            };
            u.push(&self.design.spread_out(&shares))?;
        }
        Ok(u)
    }

    /// Fits the surrogate to the answered calls until those set aside say that it gets no better, and keeps
    /// the best. None with fewer than two answers.
    fn fit(&mut self, stopped: Stopped, probe: &mut Probe<'_>) -> Option<Fit> {
        let mut index = self.replay.answered();
        if index.len() < 2 {
            return None;
        }
        index.shuffle(probe.rng());
        let aside = (self.config.validation * index.len() as f64).round() as usize;
        let aside = aside.clamp(1, index.len() - 1);
        let (aside, learned) = index.split_at(aside);
        let aside = self.replay.select(probe.upload_index(aside));
        let error = |surrogate: &MlpSurrogate, probe: &Probe<'_>| {
            let y_hat = surrogate.valid().forward(aside.x.clone(), aside.u.clone());
            let losses = probe.objective().rows(y_hat, aside.y.clone());
            probe.read([losses.mean()])[0]
        };

        let mut optimizer = self.trained_by.init();
        let mut best = (error(&self.surrogate, probe), self.surrogate.clone());
        let (mut updates, mut worse) = (0, 0);
        let every = self.config.fit_updates.div_ceil(CHECKS);
        while updates < self.config.fit_updates && worse < PATIENCE && !stopped(probe) {
            let drawn = rows::random_rows(probe, self.config.rows, learned.len());
            let drawn: Vec<usize> = drawn.into_iter().map(|nth| learned[nth]).collect();
            let rows = self.replay.select(probe.upload_index(&drawn));
            let y_hat = self.surrogate.forward(rows.x, rows.u);
            let loss = probe.objective().total(y_hat, &[Term::mean(rows.y)]);
            let mut gradients = loss.backward();
            let gradients = GradientsParams::from_module(&mut gradients, &self.surrogate);
            let progress = updates as f64 / self.config.fit_updates as f64;
            let rate = self.config.learning_rate.at(progress);
            self.surrogate = optimizer.step(rate, self.surrogate.clone(), gradients);
            updates += 1;
            if updates % every == 0 {
                let error = error(&self.surrogate, probe);
                worse += 1;
                if error < best.0 {
                    best = (error, self.surrogate.clone());
                    worse = 0;
                }
            }
        }
        self.surrogate = best.1;
        Some(Fit {
            validation: best.0,
            updates,
        })
    }

    /// What follows on the calls of a cycle: the fit, then the policy.
    fn end_cycle<P: Policy>(
        &mut self,
        student: &mut Student<P>,
        report: RoundReport,
        stopped: Stopped,
        probe: &mut Probe<'_>,
    ) -> RoundReport {
        self.done += 1;
        let Some(fit) = self.fit(stopped, probe) else {
            return report;
        };
        self.train_policy(student, stopped, probe);
        report
            .with("validation", fit.validation)
            .with("fit_updates", fit.updates as f64)
    }

    /// Trains the policy through the frozen surrogate on all contexts, whose outcomes nobody has to pay for.
    fn train_policy<P: Policy>(
        &self,
        student: &mut Student<P>,
        stopped: Stopped,
        probe: &mut Probe<'_>,
    ) {
        let frozen = self.surrogate.valid();
        let updates = self.config.policy_updates;
        for update in 0..updates {
            if stopped(probe) {
                break;
            }
            let among = self.data.host().len();
            let batch = self
                .data
                .batch(rows::random_rows(probe, self.config.rows, among));
            let u = student.policy().forward(batch.x.clone());
            let y_hat = frozen.forward(batch.x, u);
            let loss = probe.objective().total(y_hat, &[Term::mean(batch.target)]);
            student.step(loss, update as f64 / updates as f64);
        }
    }
}

impl<P: Policy> Algorithm<P> for TwoStage {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates: "the gradient of the loss under a surrogate fitted beforehand",
            bias: "the surrogate's error, largest where no actions were sampled",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn recall(&mut self, answered: &Answered) -> bool {
        self.replay.recall(answered, &self.data.x().device());
        true
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = self.sample(student, batch, probe)?;
        let measured = probe.measure(batch, u)?;
        self.replay.push(batch, &measured);
        let report = RoundReport::new(measured.loss);
        let cycle = self.done + 1;
        let due = probe.progress() >= cycle as f64 / self.config.cycles as f64;
        Ok(if cycle < self.config.cycles && due {
            // A round is done as a whole or not at all.
            self.end_cycle(student, report, |_| false, probe)
        } else {
            report
        })
    }

    /// The last cycle ends when the calls are spent. One that is asked to stop leaves everything as it was.
    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        let as_it_was = (self.surrogate.clone(), self.done, student.clone());
        let report = RoundReport::new(None);
        let report = self.end_cycle(student, report, when_asked, probe);
        if probe.stopped() {
            (self.surrogate, self.done, *student) = as_it_was;
            return Ok(None);
        }
        Ok(Some(report))
    }

    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        Some(Box::new(self.surrogate.valid()))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("two_stage.done", &self.done)?;
        snapshot.put_module("two_stage.surrogate", &self.surrogate)?;
        self.replay.save("two_stage.replay", snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.done = snapshot.get("two_stage.done")?;
        self.surrogate = snapshot.get_module("two_stage.surrogate", self.surrogate.clone())?;
        let device = self.data.x().device();
        self.replay = Replay::load("two_stage.replay", snapshot, &device)?;
        Ok(())
    }
}
