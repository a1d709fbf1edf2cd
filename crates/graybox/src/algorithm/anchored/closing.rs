//! What is made of the calls once they are spent.
//!
//! The surrogate is fitted once more to all calls and the best policy to the surrogate. Calls kept back for it
//! decide whether that was an improvement: the same contexts are asked before and after.
//!
//! Fitted for so long, a network learns by heart what it cannot make out. The calls kept back, which it does not learn
//! from, tell by how much: what it is wrong about them more than about other calls is taken for noise, of which the
//! L2 penalty of its weights is in proportion (the maximum a posteriori under noise of that variance; MacKay, Neural
//! Computation 4 (1992)). A smooth oracle is fitted as closely as ever.

use std::ops::Range;

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use serde::{Deserialize, Serialize};

use super::steps::Landscape;
use super::{Anchored, random_rows};
use crate::feasibility::Feasibility;
use crate::{LearningRate, Objective, Probe, Replayed, RoundReport, StepError, Student};

/// Most calls kept back.
const GUARD: u64 = 128;
/// Rows of the surrogate's batch in the closing phase, as a multiple of that before.
const CLOSING_BATCH: usize = 2;
/// Steps of the surrogate between two looks at what it has learned by heart.
const REVIEW: usize = 100;
/// Known calls that those kept back are compared with, for each of them.
const COMPARED: usize = 4;

/// Contexts that were asked before the phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Before {
    index: Vec<usize>,
    /// Mean true loss; none where there were no calls to ask.
    loss: Option<f64>,
}

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// Calls of a budget for comparing, the same number before and after.
    pub(super) fn guard(&self, budget: u64) -> u64 {
        if self.config.closing == 0.0 {
            return 0;
        }
        let each = (0.5 * self.config.guard * budget as f64) as u64;
        2 * each.min(GUARD / 2)
    }

    /// The phase as a whole. A phase that is asked to stop leaves everything as it was but for the calls made
    /// before it, so that it can be begun again without making them a second time.
    pub(super) fn close(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        let policy_before = student.snapshot();
        let each = (self.guard(probe.budget()) / 2).min(probe.left()) as usize;
        let index = random_rows(probe, each, self.problem.data().host().len());
        let before = match self.before.clone() {
            Some(before) => before,
            None => Before {
                loss: self.measure(&policy_before, &index, probe)?,
                index,
            },
        };
        self.before = Some(before.clone());
        let Some(policy_after) = self.converge(probe) else {
            return Ok(None);
        };
        let left = before.index.len().min(probe.left() as usize);
        let loss_after = self.measure(&policy_after, &before.index[..left], probe)?;
        let worse = |before: f64| loss_after.is_some_and(|after| after > before);
        // Without calls to compare by, the converged policy is the better bet.
        let (policy, loss) = if before.loss.is_some_and(worse) {
            (policy_before, before.loss)
        } else {
            (policy_after, loss_after)
        };
        let [fit, mismatch] = self.predicted(&policy, probe);
        student.replace(policy);
        let report = RoundReport::new(loss)
            .with("fit", fit)
            .with("mismatch", mismatch);
        Ok(Some(match (before.loss, loss_after) {
            (Some(before), Some(after)) => report
                .with("before_closing", before)
                .with("after_closing", after),
            _ => report,
        }))
    }

    /// Fits the surrogate to everything that was measured and the best policy to the surrogate, both with a
    /// learning rate that falls to zero; the trust region has done its work. None if it was asked to stop.
    fn converge(&mut self, probe: &mut Probe<'_>) -> Option<P> {
        let steps = self.config.closing_steps(probe.budget());
        let share = |step: usize| step as f64 / steps as f64;
        let rate = LearningRate {
            initial: self.config.learning_rate,
            floor: 0.0,
        };
        let as_it_was = (
            self.surrogate.clone(),
            self.optimizer.clone(),
            self.population.members[0].student.clone(),
        );
        self.optimizer = self.problem.optimizer().init();
        let batch = CLOSING_BATCH * self.config.surrogate_batch;
        let kept_back = self.before.as_ref().map_or(0, |before| before.index.len());
        let mut penalty = 0.0;
        for step in 0..steps {
            if probe.stopped() {
                break;
            }
            if step % REVIEW == 0 {
                penalty = self.penalty(kept_back, probe);
            }
            let rate = rate.at(share(step));
            self.fit_surrogate_but(kept_back, penalty, batch, rate, probe);
        }
        let surrogate = self.surrogate.valid();
        let log_odds = self.feasibility.as_ref().map(Feasibility::log_odds);
        let best = &mut self.population.members[0];
        let rate = LearningRate {
            floor: 0.0,
            ..self.learning_rate
        };
        let policy = best.student.policy().clone();
        best.student = Student::with_optimizer(policy, self.problem.optimizer().init(), rate);
        for step in 0..steps {
            if probe.stopped() {
                break;
            }
            let landscape = Landscape {
                surrogate: &surrogate,
                log_odds: log_odds.as_ref(),
                sigma: self.config.exploration.at(1.0),
                trust: 0.0,
                progress: share(step),
                spent: f64::INFINITY,
            };
            self.improve(0, &landscape, probe);
        }
        if probe.stopped() {
            let student;
            (self.surrogate, self.optimizer, student) = as_it_was;
            self.population.members[0].student = student;
            return None;
        }
        Some(self.population.members[0].student.snapshot())
    }

    /// Mean true loss of a policy on these rows, each of which is a call. None without rows.
    fn measure(
        &mut self,
        policy: &P,
        index: &[usize],
        probe: &mut Probe<'_>,
    ) -> Result<Option<f64>, StepError> {
        if index.is_empty() {
            return Ok(None);
        }
        let batch = self.problem.data().batch(index.to_vec());
        let measured = probe.ask(&batch, policy.forward(batch.x.clone()))?;
        self.replay.push(&batch, &measured);
        let losses = measured.outcomes.iter().zip(batch.target_rows.iter());
        let losses = losses.map(|(outcome, target)| match outcome {
            Ok(y) => probe.objective().value(y, target),
            Err(_) => self.baseline,
        });
        Ok(Some(losses.sum::<f64>() / index.len() as f64))
    }

    /// What the weights have to pay for knowing the newest calls, which the surrogate does not learn from, less well
    /// than those before. Nothing without any.
    fn penalty(&self, newest: usize, probe: &Probe<'_>) -> f64 {
        let len = self.replay.len();
        let oldest = self.replay.recalled() + self.forgotten;
        let first = len.saturating_sub((1 + COMPARED) * newest).max(oldest);
        if newest == 0 || first >= len - newest || self.config.penalty == 0.0 {
            return 0.0;
        }
        let surrogate = self.surrogate.valid();
        let error = |calls: Range<usize>| {
            let index: Vec<usize> = calls.collect();
            self.mismatch(&surrogate, self.replay.select(probe.upload_index(&index)))
        };
        let [unknown, known] = probe.read([error(len - newest..len), error(first..len - newest)]);
        self.config.penalty * (unknown - known).max(0.0) / len as f64
    }

    /// Mean square of a surrogate's error on the calls of these that were answered.
    fn mismatch(&self, surrogate: &S, rows: Replayed) -> Tensor<1> {
        let y_hat = surrogate.forward(rows.x, rows.u);
        let mismatch = self.error.rows(y_hat, rows.y) * rows.answered.clone();
        mismatch.sum() / rows.answered.sum().clamp_min(1.0)
    }

    /// Mean losses that the surrogate predicts for a policy on all training rows, and its own error on all
    /// calls.
    fn predicted(&self, policy: &P, probe: &Probe<'_>) -> [f64; 2] {
        let surrogate = self.surrogate.valid();
        let data = self.problem.data();
        let y_hat = surrogate.forward(data.x().clone(), policy.forward(data.x().clone()));
        let fit = self.problem.objective().rows(y_hat, data.target().clone());
        let remembered = 0..self.replay.len() - self.forgotten;
        let index: Vec<usize> = remembered.map(|nth| self.remembered(nth)).collect();
        let rows = self.replay.select(probe.upload_index(&index));
        probe.read([fit.mean(), self.mismatch(&surrogate, rows)])
    }
}
