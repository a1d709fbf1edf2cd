//! A policy that goes where the best one does not get by gradients.
//!
//! Two things keep contexts from their targets for good: a wall, each side of which is right where it is, and an
//! action from which every small step is worse, at a bound or behind a fold. The surrogate sees both, at no calls.
//! Past a wall the larger side's actions are [continued](super::continuation); a context that is stuck is given the
//! most promising of the actions that were ever tried, and from there its neighbours can be gone through in the same
//! way. Of these proposals the one with the best foretold losses is taught to a policy of its own, which then has to
//! prove itself by true losses like any other.

use std::sync::Arc;

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;

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

/// Contexts with their targets, and what is foretold of actions there.
struct Outlook<'a, S> {
    surrogate: S,
    x: Tensor<2>,
    target: Tensor<2>,
    objective: &'a dyn Objective,
    /// Of the squared errors, in units of the baseline.
    weights: Vec<f64>,
    /// `[1, d_u]`; actions below are in units of it.
    scale: &'a Tensor<2>,
}

impl<S: Surrogate> Outlook<'_, S> {
    fn losses(&self, actions: &Rows) -> Vec<f64> {
        let u = bridge::upload(actions, &self.x.device()) * self.scale.clone();
        let y_hat = self.surrogate.forward(self.x.clone(), u);
        let losses = self.objective.rows(y_hat, self.target.clone());
        bridge::download(losses.unsqueeze_dim(1))
            .as_slice()
            .to_vec()
    }

    /// Actions of some of the contexts, a few Gauss–Newton steps later.
    fn refined(&self, which: &[usize], mut actions: Rows, probe: &Probe<'_>) -> Rows {
        let index = probe.upload_index(which);
        let x = self.x.clone().select(0, index.clone());
        let target = self.target.clone().select(0, index);
        let units = probe.actions().affine();
        let scale = units.scale();
        for _ in 0..REFINING {
            let u = probe.upload(&actions) * self.scale.clone();
            let linear = gauss_newton::linearise(&self.surrogate, &x, &u);
            let residual = bridge::download(linear.y - target.clone());
            let pull =
                gauss_newton::step_gradient(&linear.jacobian, &residual, &self.weights, scale);
            let u = bridge::download(u);
            for (row_idx, (u, pull)) in u.iter().zip(pull.iter()).enumerate() {
                let back: Vec<f64> = pull.iter().map(|step| -step).collect();
                let next = probe.perturb(u, &back, 1.0);
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
    /// A policy with the best foretold losses of those proposed; none if there are no proposals, or the loss is no
    /// squared error.
    pub(super) fn mended(&mut self, probe: &mut Probe<'_>) -> Option<Member<P>> {
        let objective = Arc::clone(self.problem.objective());
        let weights = objective.least_squares()?;
        let surrogate = self.in_hindsight(probe);
        let (x, target) = self.contexts(probe);
        let outlook = Outlook {
            surrogate,
            x,
            target,
            objective: &*objective,
            weights: weights
                .iter()
                .map(|weight| weight / self.baseline)
                .collect(),
            scale: &self.action_scale,
        };
        let leader = self.population.members[0].student.act(outlook.x.clone());
        let leader = bridge::download(leader / self.action_scale.clone());
        let contexts = self.problem.context().init(self.problem.device());
        let contexts = bridge::download(contexts.forward(outlook.x.clone()));
        let continued = |actions: &Rows, of: &[bool], probe: &Probe<'_>| {
            let graph = Graph::new(&contexts, actions);
            let known = graph.island_of(of);
            let refine = |wave: &[usize], starts: Rows| outlook.refined(wave, starts, probe);
            (!known.iter().all(|known| *known)).then(|| graph.continued(known, refine))
        };
        let mut proposals = Vec::new();
        proposals.extend(continued(&leader, &vec![true; leader.len()], probe));
        if let Some((actions, stuck)) = self.freed(&outlook, &leader, probe) {
            proposals.extend(continued(&actions, &stuck, probe));
            proposals.push(actions);
        }
        let mean = |actions: &Rows| {
            let losses = outlook.losses(actions);
            losses.iter().sum::<f64>() / losses.len() as f64
        };
        let best = proposals
            .into_iter()
            .map(|actions| (mean(&actions), actions));
        let (_, wanted) = best.min_by(|a, b| a.0.total_cmp(&b.0))?;
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

    /// The leader's actions, but for contexts where it is stuck, and which these are; none if there are none.
    fn freed(
        &self,
        outlook: &Outlook<'_, S>,
        leader: &Rows,
        probe: &mut Probe<'_>,
    ) -> Option<(Rows, Vec<bool>)> {
        let now = outlook.losses(leader);
        let missed = |i: &usize| now[*i] > MISSED * self.baseline;
        let missed: Vec<usize> = (0..now.len()).filter(missed).collect();
        let answered = self.replay.answered();
        if missed.is_empty() || answered.is_empty() {
            return None;
        }
        let tried = random_rows(probe, ACTIONS, answered.len());
        let tried: Vec<usize> = tried.into_iter().map(|nth| answered[nth]).collect();
        let (surrogate, x) = (&outlook.surrogate, &outlook.x);
        let best = self.best_tried(surrogate, x, &outlook.target, &tried, probe);
        let best = bridge::download(best / self.action_scale.clone());
        let refined = outlook.refined(&missed, best.select(&missed), probe);
        let mut actions = leader.clone();
        for (row_idx, action) in missed.into_iter().zip(refined.iter()) {
            actions.row_mut(row_idx).copy_from_slice(action);
        }
        let then = outlook.losses(&actions);
        let mut stuck = vec![false; now.len()];
        for i in 0..now.len() {
            stuck[i] = then[i] < BETTER * now[i];
            if !stuck[i] {
                actions.row_mut(i).copy_from_slice(leader.row(i));
            }
        }
        stuck.contains(&true).then_some((actions, stuck))
    }
}
