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

use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;
use rand::seq::IndexedRandom;

use super::continuation::Graph;
use super::outlook::{Outlook, mean};
use super::population::Member;
use super::start::ACTIONS;
use super::{Anchored, random_rows};
use crate::{LearningRate, Objective, Probe, bridge};

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
        let wanted = self.proposed(&outlook, &leader, probe)?;
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
        let fresh = self.problem.optimizer().with_decay(self.decay);
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

    /// The best proposal; none if nothing is missed, no call was ever answered, or the leader is as good.
    fn proposed(
        &self,
        outlook: &Outlook<'_, S>,
        leader: &Rows,
        probe: &mut Probe<'_>,
    ) -> Option<Rows> {
        let all_over = outlook.losses_all_over(leader, probe);
        let answered = self.replay.answered();
        if answered.is_empty() || !all_over.iter().any(|loss| self.is_missed(*loss)) {
            return None;
        }
        let now = &all_over[..leader.len()];
        let mut right: Vec<usize> = (0..now.len()).collect();
        right.sort_by(|i, j| now[*i].total_cmp(&now[*j]));
        right.truncate(now.len().div_ceil(2));
        let (freed, better) = self.freed(outlook, leader, now, &answered, probe);
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
        let (cost, best) = proposals.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (cost < mean(&all_over)).then_some(best)
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
