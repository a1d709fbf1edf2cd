//! Steps of the surrogate and of the policies, which cost no calls.

use burn::optim::GradientsParams;
use burn::prelude::*;
use graybox_model::{MlpSurrogate, Policy, Surrogate, Term};
use graybox_oracle::Rows;
use rand::RngExt;

use super::start::FLOOR;
use super::{Anchored, random_rows};
use crate::feasibility::{self, Feasibility};
use crate::{LearningRate, Objective, Probe, Replayed, anchor, penalty, trust_region};

/// Share of the measured rows, the newest, that policies are anchored at.
const NEWEST: f64 = 0.3;
/// Reach of a measurement and of a round, in units of the noise the policy explores with.
const ANCHOR_REACH: f64 = 2.0;

/// What a policy step is taken on, apart from the policy.
pub(super) struct Landscape<'a, S> {
    pub(super) surrogate: &'a S,
    /// Of an answer; none before a call has failed.
    pub(super) log_odds: Option<&'a MlpSurrogate>,
    /// Standard deviation of the exploration.
    pub(super) sigma: f64,
    /// Weight of the trust region.
    pub(super) trust: f64,
    pub(super) progress: f64,
    /// Share of the budget that is spent.
    pub(super) spent: f64,
}

/// Rows that a policy learns from.
struct Lesson {
    x: Tensor<2>,
    target: Tensor<2>,
    /// The last rows, where they were measured.
    measured: Option<Replayed>,
}

impl Lesson {
    /// What measurements add to predictions at actions `u`, `[n, d_y]`.
    fn known<S: Surrogate>(
        &self,
        surrogate: &S,
        u: Tensor<2>,
        scale: &Tensor<2>,
        reach: f64,
    ) -> Option<Tensor<2>> {
        let rows = self.measured.as_ref()?;
        let (n, measured) = (u.dims()[0], rows.x.dims()[0]);
        let at = u.narrow(0, n - measured, measured);
        let known = anchor::correction(surrogate, rows, at, scale, reach);
        let unknown = Tensor::zeros([n - measured, known.dims()[1]], &known.device());
        Some(Tensor::cat(vec![unknown, known], 0))
    }
}

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// One step of the surrogate on the mismatch, on rows of any age.
    pub(super) fn fit_surrogate(&mut self, n: usize, rate: f64, probe: &mut Probe<'_>) {
        self.fit_surrogate_but(0, 0.0, n, rate, probe);
    }

    /// The same without the newest calls, and with an L2 penalty.
    pub(super) fn fit_surrogate_but(
        &mut self,
        newest: usize,
        weight: f64,
        n: usize,
        rate: f64,
        probe: &mut Probe<'_>,
    ) {
        let index = random_rows(probe, n, self.replay.len() - self.forgotten - newest);
        let index: Vec<usize> = index.into_iter().map(|nth| self.remembered(nth)).collect();
        let rows = self.replay.select(probe.upload_index(&index));
        let mismatch = Term {
            weight: rows.answered.clone() / rows.answered.sum().clamp_min(1.0),
            target: rows.y,
        };
        let (y_hat, to_weights) = self.surrogate.linked(rows.x, rows.u);
        let mut gradients = GradientsParams::new();
        to_weights(
            self.error.total_gradient(y_hat, &[mismatch]),
            &mut gradients,
        );
        if weight > 0.0 {
            penalty::add_gradient(&self.surrogate.valid(), weight, &mut gradients);
        }
        // Moved out, so that nobody else holds the weights and they change in place.
        let surrogate = std::mem::replace(&mut self.surrogate, self.untaught.clone());
        self.surrogate = self.optimizer.step(rate, surrogate, gradients);
    }

    /// One step of the odds of an answer, on calls of any age, once one has failed.
    fn fit_feasibility(&mut self, rate: f64, probe: &mut Probe<'_>) {
        let Some(feasibility) = &mut self.feasibility else {
            return;
        };
        let index = random_rows(probe, self.config.surrogate_batch, self.replay.len());
        let rows = self.replay.select(probe.upload_index(&index));
        feasibility.fit(&rows, rate);
    }

    /// Fits the surrogate to calls from before the run, as long as if it had made them itself.
    pub(super) fn recollect(&mut self, probe: &mut Probe<'_>) {
        let recalled = self.replay.recalled() as u64;
        if recalled == 0 {
            return;
        }
        let steps = self.config.steps_per_call(recalled) * recalled as f64;
        for _ in 0..steps.round() as usize {
            self.fit_surrogate(
                self.config.surrogate_batch,
                self.config.learning_rate,
                probe,
            );
        }
    }

    /// The number of the nth row that is learned from: recalled ones, then those after the survey.
    pub(super) fn remembered(&self, nth: usize) -> usize {
        if nth < self.replay.recalled() {
            nth
        } else {
            nth + self.forgotten
        }
    }

    /// Rows for a policy: contexts that cost nothing, then measured rows.
    fn lesson(&self, probe: &mut Probe<'_>) -> Lesson {
        let data = self.problem.data();
        let n = self.config.policy_batch;
        let anchored = (self.config.anchored * n as f64).round() as usize;
        let fresh = random_rows(probe, n - anchored, data.host().len());
        let fresh = probe.upload_index(&fresh);
        let [x, target] = if self.config.between && self.problem.is_known_between() {
            let other = random_rows(probe, n - anchored, data.host().len());
            let other = probe.upload_index(&other);
            let share = (0..n - anchored).map(|_| probe.rng().random()).collect();
            let share = Rows::from_vec(1, share).expect("one share per row");
            data.between(fresh, other, probe.upload(&share))
        } else {
            [data.x(), data.target()].map(|all| all.clone().select(0, fresh.clone()))
        };
        if anchored == 0 {
            return Lesson {
                x,
                target,
                measured: None,
            };
        }
        let len = self.replay.len();
        // What was recalled has no target to be aimed at.
        let own = len - self.replay.recalled() - self.forgotten;
        let newest = (NEWEST * own as f64).ceil() as usize;
        let back = random_rows(probe, anchored, newest);
        let index: Vec<usize> = back.into_iter().map(|age| len - 1 - age).collect();
        let rows = self.replay.select(probe.upload_index(&index));
        Lesson {
            x: Tensor::cat(vec![x, rows.x.clone()], 0),
            target: Tensor::cat(vec![target, rows.target.clone()], 0),
            measured: Some(rows),
        }
    }

    /// One step of a policy on the fit, within the trust region: on contexts that cost nothing, and on measured rows
    /// with the anchor. `∂ℓ/∂y` at the anchored prediction goes back through the surrogate to the actions, and from
    /// there to the policy's weights.
    pub(super) fn improve(
        &mut self,
        which: usize,
        landscape: &Landscape<'_, S>,
        probe: &mut Probe<'_>,
    ) {
        let lesson = self.lesson(probe);
        let radius = landscape.sigma * self.population.spread(which);
        let member = &mut self.population.members[which];
        let mut target = lesson.target.clone();
        let ramp = self.config.ramp_at(landscape.spent - member.born);
        if let Some(first) = &member.first
            && ramp < 1.0
        {
            let first = first.forward(lesson.x.clone());
            let first = landscape.surrogate.forward(lesson.x.clone(), first);
            target = first.clone() + (target - first) * ramp;
        }
        let x = lesson.x.clone();
        let (u, to_policy) = member.student.policy().linked(x.clone());
        let (mut y_hat, to_action) = (landscape.surrogate).linked_to_action(x.clone(), u.clone());
        let reach = ANCHOR_REACH * radius;
        if let Some(known) = lesson.known(landscape.surrogate, u.clone(), &self.action_scale, reach)
        {
            y_hat = y_hat + known;
        }
        let n = x.dims()[0] as f64;
        let fit = Term {
            weight: Tensor::full([x.dims()[0]], 1.0 / (n * self.baseline), &target.device()),
            target,
        };
        let mut dloss_du = to_action(self.problem.objective().total_gradient(y_hat, &[fit]));
        if landscape.trust > 0.0 {
            let u_0 = member.reference.forward(x.clone());
            let pull = trust_region::penalty_gradient(u.clone(), u_0, &self.action_scale, radius);
            dloss_du = dloss_du + pull * (landscape.trust / n);
        }
        if let Some(log_odds) = landscape.log_odds {
            let pull = feasibility::penalty_gradient(log_odds, x, u);
            dloss_du = dloss_du + pull * (self.config.feasibility / n);
        }
        let student = &mut member.student;
        student.back_propagate(to_policy, dloss_du, landscape.progress);
    }

    /// The inner steps that the calls so far have paid for.
    pub(super) fn learn(&mut self, probe: &mut Probe<'_>) {
        let progress = probe.progress();
        let rate = LearningRate {
            initial: self.config.learning_rate,
            floor: FLOOR,
        };
        while self.steps_due >= 1.0 {
            self.steps_due -= 1.0;
            self.fit_surrogate(self.config.surrogate_batch, rate.at(progress), probe);
            self.fit_feasibility(rate.at(progress), probe);
            let surrogate = self.surrogate.valid();
            let log_odds = self.feasibility.as_ref().map(Feasibility::log_odds);
            let landscape = Landscape {
                surrogate: &surrogate,
                log_odds: log_odds.as_ref(),
                sigma: self.config.exploration.at(progress),
                trust: self.config.trust,
                progress,
                spent: progress,
            };
            for which in 0..self.population.members.len() {
                self.improve(which, &landscape, probe);
            }
        }
    }
}
