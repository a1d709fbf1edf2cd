//! A policy that goes where the best one does not get by gradients.
//!
//! Two things keep contexts from their targets for good: a wall, each side of which is right where it is, and an
//! action from which every small step is worse, at a bound or behind a fold. The surrogate sees both, at no calls.
//! A context that is stuck is given the most promising of the actions that were ever tried; and from single contexts
//! that are right, by the leader's action or by that one, all others are gone through by
//! [continuation](super::continuation). Some of these ways lead round a wall and some do not, since walls may end in
//! the midst of the contexts. What tells them apart is what is foretold halfway between neighbours. The best
//! proposal is taught to a policy of its own, which then has to prove itself by true losses like any other.

use std::sync::Arc;

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;
use rand::seq::IndexedRandom;

use super::continuation::Graph;
use super::population::Member;
use super::start::ACTIONS;
use super::{Anchored, random_rows};
use crate::{LearningRate, Objective, Probe, bridge, gauss_newton};

/// Gauss–Newton steps that take an action to the target.
const REFINING: usize = 8;
/// Steps in which the surrogate remembers the survey.
const REMEMBERING: usize = 1_000;
/// Steps that teach a policy what was proposed. It starts afresh: from the leader's weights it would not come back
/// from a bound, where the gradient of the head vanishes.
const TEACHING: usize = 1_000;
/// A context is stuck if more than this share of the baseline is foretold there, and less than a tenth of that for
/// another action.
const MISSED: f64 = 0.01;
const BETTER: f64 = 0.1;
/// Most contexts that all others are gone through from, with the leader's actions and with better ones each.
const STARTS: usize = 8;

/// Contexts with their targets, and what is foretold of actions there.
pub(super) struct Outlook<'a, S> {
    pub(super) surrogate: S,
    pub(super) x: Tensor<2>,
    pub(super) target: Tensor<2>,
    pub(super) objective: &'a dyn Objective,
    /// Of the squared errors, in units of the baseline.
    pub(super) weights: Vec<f64>,
    /// `[1, d_u]`; actions below are in units of it.
    pub(super) scale: &'a Tensor<2>,
    pub(super) graph: Graph,
}

impl<S: Surrogate> Outlook<'_, S> {
    pub(super) fn losses(&self, actions: &Rows) -> Vec<f64> {
        self.losses_at(&self.x, &self.target, actions)
    }

    fn losses_at(&self, x: &Tensor<2>, target: &Tensor<2>, actions: &Rows) -> Vec<f64> {
        let u = bridge::upload(actions, &x.device()) * self.scale.clone();
        let y_hat = self.surrogate.forward(x.clone(), u);
        let losses = self.objective.rows(y_hat, target.clone());
        bridge::download(losses.unsqueeze_dim(1))
            .as_slice()
            .to_vec()
    }

    /// Losses halfway between neighbours, where a policy with these actions would be halfway between them.
    fn losses_between(&self, actions: &Rows, probe: &Probe<'_>) -> Vec<f64> {
        let (first, second) = self.graph.pairs();
        if first.is_empty() {
            return Vec::new();
        }
        let halfway = |all: &Tensor<2>| {
            let [a, b] =
                [&first, &second].map(|rows| all.clone().select(0, probe.upload_index(rows)));
            (a + b) * 0.5
        };
        let mut between = actions.select(&first);
        for (row_idx, other) in second.iter().enumerate() {
            for (u, other) in between.row_mut(row_idx).iter_mut().zip(actions.row(*other)) {
                *u = 0.5 * (*u + other);
            }
        }
        self.losses_at(&halfway(&self.x), &halfway(&self.target), &between)
    }

    /// Mean loss in the contexts and between them.
    pub(super) fn cost(&self, actions: &Rows, probe: &Probe<'_>) -> f64 {
        let mut losses = self.losses(actions);
        losses.extend(self.losses_between(actions, probe));
        losses.iter().sum::<f64>() / losses.len() as f64
    }

    /// Actions of some of the contexts, a few Gauss–Newton steps later.
    pub(super) fn refined(&self, which: &[usize], mut actions: Rows, probe: &Probe<'_>) -> Rows {
        let index = probe.upload_index(which);
        let x = self.x.clone().select(0, index.clone());
        let target = self.target.clone().select(0, index);
        let affine = probe.actions().affine();
        let scale = affine.scale();
        let clamp = |u: &mut [f64]| probe.actions().clamp(u);
        for _ in 0..REFINING {
            let u = probe.upload(&actions) * self.scale.clone();
            let linear = gauss_newton::linearise(&self.surrogate, &x, &u);
            let residual = bridge::download(linear.y - target.clone());
            for (row_idx, u) in bridge::download(u).iter().enumerate() {
                let (slopes, residual) = (linear.jacobian.row(row_idx), residual.row(row_idx));
                let next = gauss_newton::step(u, slopes, residual, &self.weights, scale, clamp);
                for ((action, u), scale) in actions.row_mut(row_idx).iter_mut().zip(next).zip(scale)
                {
                    *action = u / scale;
                }
            }
        }
        actions
    }
}

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// A policy with the best foretold losses of those proposed; none if the leader's are as good, or the loss is no
    /// squared error.
    pub(super) fn mended(&mut self, probe: &mut Probe<'_>) -> Option<Member<P>> {
        let objective = Arc::clone(self.problem.objective());
        let weights = objective.least_squares()?;
        let surrogate = self.in_hindsight(probe);
        let (x, target) = self.contexts(probe);
        let contexts = self.problem.context().init(self.problem.device());
        let outlook = Outlook {
            surrogate,
            objective: &*objective,
            weights: weights.iter().map(|w| w / self.baseline).collect(),
            scale: &self.action_scale,
            graph: Graph::new(&bridge::download(contexts.forward(x.clone()))),
            x,
            target,
        };
        let leader = self.population.members[0].student.act(outlook.x.clone());
        let leader = bridge::download(leader / self.action_scale.clone());
        let (cost, wanted) = self.proposed(&outlook, &leader, probe)?;
        if cost >= outlook.cost(&leader, probe) {
            return None;
        }
        let wanted = probe.upload(&wanted) * self.action_scale.clone();
        let id = self.population.next_id();
        let mut student = self.new_student(id);
        self.teach(&mut student, &outlook.x, &wanted, TEACHING, probe);
        Some(Member::informed(id, probe.progress(), student))
    }

    /// The surrogate with the survey remembered, which is what is known of actions that no policy has come near.
    fn in_hindsight(&mut self, probe: &mut Probe<'_>) -> S {
        if self.forgotten == 0 {
            return self.surrogate.valid();
        }
        let fresh = self.config.optimizer.with_decay(self.decay);
        let as_it_was = (
            self.surrogate.clone(),
            std::mem::replace(&mut self.optimizer, fresh),
            std::mem::take(&mut self.forgotten),
        );
        let rate = LearningRate {
            initial: self.config.learning_rate,
            floor: 0.0,
        };
        for step in 0..REMEMBERING {
            let rate = rate.at(step as f64 / REMEMBERING as f64);
            self.fit_surrogate(self.config.surrogate_batch, rate, probe);
        }
        let in_hindsight = self.surrogate.valid();
        (self.surrogate, self.optimizer, self.forgotten) = as_it_was;
        in_hindsight
    }

    /// The best proposal and its cost; none if nothing is missed, or no call was ever answered.
    fn proposed(
        &self,
        outlook: &Outlook<'_, S>,
        leader: &Rows,
        probe: &mut Probe<'_>,
    ) -> Option<(f64, Rows)> {
        let now = outlook.losses(leader);
        let between = outlook.losses_between(leader, probe);
        let mut all = now.iter().chain(&between);
        let answered = self.replay.answered();
        if answered.is_empty() || !all.any(|loss| self.is_missed(*loss)) {
            return None;
        }
        let mut right: Vec<usize> = (0..now.len()).collect();
        right.sort_by(|i, j| now[*i].total_cmp(&now[*j]));
        right.truncate(now.len().div_ceil(2));
        let (freed, better) = self.freed(outlook, leader, &now, &answered, probe);
        let mut proposals = Vec::new();
        for (actions, from) in [(leader, right), (&freed, better)] {
            let starts: Vec<usize> = from.sample(probe.rng(), STARTS).copied().collect();
            for start in starts {
                let refine = |wave: &[usize], starts: Rows| outlook.refined(wave, starts, probe);
                proposals.push(outlook.graph.continued(actions, start, refine));
            }
        }
        proposals.push(freed);
        let with_cost = |actions| (outlook.cost(&actions, probe), actions);
        let proposals = proposals.into_iter().map(with_cost);
        proposals.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn is_missed(&self, loss: f64) -> bool {
        loss > MISSED * self.baseline
    }

    /// The leader's actions, but for contexts where it is stuck, and which these are. `now` are the losses foretold of
    /// the leader, `answered` the calls whose actions may be better.
    fn freed(
        &self,
        outlook: &Outlook<'_, S>,
        leader: &Rows,
        now: &[f64],
        answered: &[usize],
        probe: &mut Probe<'_>,
    ) -> (Rows, Vec<usize>) {
        let mut actions = leader.clone();
        let missed: Vec<usize> = (0..now.len()).filter(|i| self.is_missed(now[*i])).collect();
        if missed.is_empty() {
            return (actions, missed);
        }
        let tried = random_rows(probe, ACTIONS, answered.len());
        let tried: Vec<usize> = tried.into_iter().map(|nth| answered[nth]).collect();
        let (surrogate, x) = (&outlook.surrogate, &outlook.x);
        let best = self.best_tried(surrogate, x, &outlook.target, &tried, probe);
        let best = bridge::download(best / self.action_scale.clone());
        let refined = outlook.refined(&missed, best.select(&missed), probe);
        for (&row_idx, action) in missed.iter().zip(refined.iter()) {
            actions.row_mut(row_idx).copy_from_slice(action);
        }
        let then = outlook.losses(&actions);
        let better = |i: &usize| then[*i] < BETTER * now[*i];
        let (better, others): (Vec<usize>, _) = missed.into_iter().partition(better);
        for i in others {
            actions.row_mut(i).copy_from_slice(leader.row(i));
        }
        (actions, better)
    }
}
