//! Where policies start, and the calls that are made before any of them does.
//!
//! A policy that starts where the oracle is flat, or in the wrong branch of an inverse, may never leave. No start
//! suits all oracles, so that several are tried: one action for all contexts, from which every context takes the
//! same way; the network as it was initialised; and for each context the best action of a survey, as far as the
//! surrogate can tell.

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;
use rand_distr::{Distribution, StandardNormal};

use super::population::Member;
use super::{Anchored, random_rows};
use crate::algorithm::Proposal;
use crate::{Batch, LearningRate, Objective, Probe, StepError, Student, bridge, seed};

/// Steps that teach a policy its first actions.
const TEACHING: usize = 300;
/// Most contexts and most actions that are compared.
const CONTEXTS: usize = 1_000;
pub(super) const ACTIONS: usize = 256;
/// What an action costs one scale from the centre, as a share of the baseline: among equals the nearest wins.
const NEAR: f64 = 0.01;
/// What is left of the learning rates when the rounds end.
pub(super) const FLOOR: f64 = 0.1;

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// What can be done only when the budget is known, before the first call.
    pub(super) fn begin(
        &mut self,
        student: &Student<P>,
        next: usize,
        probe: &mut Probe<'_>,
    ) -> Result<(), StepError> {
        self.learning_rate = LearningRate {
            floor: FLOOR,
            ..student.learning_rate()
        };
        self.decay = self.config.decay(self.problem.dims(), probe.budget());
        self.optimizer = self.problem.optimizer().with_decay(self.decay);
        if self.config.blind {
            self.look_past_wishes(next, probe)?;
        }
        self.recollect(probe);
        Ok(())
    }

    /// Actions all over what they may be, `[n, d_u]`.
    pub(super) fn anywhere(&self, n: usize, probe: &mut Probe<'_>) -> Result<Tensor<2>, StepError> {
        let d_u = self.problem.dims().u;
        let draw = StandardNormal.sample_iter(probe.rng());
        let z: Vec<f64> = draw.take(n * d_u).collect();
        let z = probe.upload(&Rows::from_vec(d_u, z)?);
        let head = self.problem.actions().init(self.problem.device());
        Ok(head.forward(z))
    }

    /// Calls all over the actions, from which the surrogate alone learns.
    pub(super) fn survey(
        &self,
        batch: Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Proposal, StepError> {
        let u = self.anywhere(batch.len(), probe)?;
        let asked = probe.download_actions(&batch, u)?;
        Ok(Proposal {
            own: asked.clone(),
            chosen_by: vec![None; batch.len()],
            asked,
            batch,
        })
    }

    /// The student's policy is the first member. The survey has then done its work: what it says of actions far
    /// from any policy's would cost the surrogate more than it is worth.
    pub(super) fn enlist(&mut self, first: &Student<P>, probe: &mut Probe<'_>) {
        let population = self.config.population as u64;
        for id in 0..population {
            let mut student = self.new_student(id);
            if id == 0 {
                student.replace(first.snapshot());
            }
            let born = probe.progress();
            let member = if id < self.config.constant as u64 {
                self.settle(id, &mut student, probe);
                Member::new(id, born, student)
            } else if id + 1 == population && !self.replay.answered().is_empty() {
                self.inform(&mut student, probe);
                Member::informed(id, born, student)
            } else {
                Member::new(id, born, student)
            };
            self.population.add(member);
        }
        self.forgotten = self.replay.len() - self.replay.recalled();
        if self.forgotten > 0 {
            self.surrogate = self.untaught.clone();
            self.optimizer = self.problem.optimizer().with_decay(self.decay);
        }
    }

    pub(super) fn new_student(&self, id: u64) -> Student<P> {
        let policy = (self.new_policy)(&mut seed::stream(self.problem.seed(), "policy", id));
        Student::with_optimizer(policy, self.problem.optimizer().init(), self.learning_rate)
    }

    /// Contexts and targets of the training rows, or of as many as will do.
    pub(super) fn contexts(&self, probe: &mut Probe<'_>) -> (Tensor<2>, Tensor<2>) {
        let data = self.problem.data();
        let rows = data.host().len();
        if rows <= CONTEXTS {
            return (data.x().clone(), data.target().clone());
        }
        let index = random_rows(probe, CONTEXTS, rows);
        let index = probe.upload_index(&index);
        let x = data.x().clone().select(0, index.clone());
        (x, data.target().clone().select(0, index))
    }

    /// Makes a policy answer one action everywhere, another one for each member.
    fn settle(&self, id: u64, student: &mut Student<P>, probe: &mut Probe<'_>) {
        let mut rng = seed::stream(self.problem.seed(), "start", id);
        let center = self.problem.actions().affine().shift().to_vec();
        let noise = StandardNormal.sample_iter(&mut rng);
        let noise: Vec<f64> = noise.take(center.len()).collect();
        let start = probe.perturb(&center, &noise, self.config.start);
        let d_u = start.len();
        let start = probe.upload(&Rows::from_vec(d_u, start).expect("one row"));
        let (x, _) = self.contexts(probe);
        let wanted = start.expand([x.dims()[0], d_u]);
        self.teach(student, &x, &wanted, TEACHING, probe);
    }

    /// Makes a policy answer, in each context, the action of all those tried that the surrogate foretells the
    /// best outcome of.
    fn inform(&self, student: &mut Student<P>, probe: &mut Probe<'_>) {
        let (x, target) = self.contexts(probe);
        let mut tried = self.replay.answered();
        tried.truncate(ACTIONS);
        let wanted = self.best_tried(&self.surrogate.valid(), &x, &target, &tried, probe);
        self.teach(student, &x, &wanted, TEACHING, probe);
    }

    /// For each context the action, of those tried in the calls with these numbers, that a surrogate foretells the
    /// best outcome of.
    ///
    /// # Shapes
    /// `x`: `[n, d_x]`, `target`: `[n, d_y]` → `[n, d_u]`
    pub(super) fn best_tried(
        &self,
        surrogate: &S,
        x: &Tensor<2>,
        target: &Tensor<2>,
        tried: &[usize],
        probe: &Probe<'_>,
    ) -> Tensor<2> {
        let n = x.dims()[0];
        let tried = self.replay.select(probe.upload_index(tried)).u;
        let [actions, d_u] = tried.dims();
        let center = self.problem.actions().affine();
        let center = Rows::from_vec(d_u, center.shift().to_vec()).expect("one row");
        let away = (tried.clone() - probe.upload(&center)) / self.action_scale.clone();
        let away = bridge::download(away.square().mean_dim(1));
        let losses = (0..actions).map(|action| {
            let u = tried.clone().narrow(0, action, 1).expand([n, d_u]);
            let y_hat = surrogate.forward(x.clone(), u);
            let losses = self.problem.objective().rows(y_hat, target.clone());
            losses.unsqueeze_dim(1)
        });
        let losses = bridge::download(Tensor::cat(losses.collect(), 1));
        let cost = |losses: &[f64], action: usize| {
            losses[action] + NEAR * self.baseline * away.row(action)[0]
        };
        let best = losses.iter().map(|losses| {
            let cheaper = |a: &usize, b: &usize| cost(losses, *a).total_cmp(&cost(losses, *b));
            (0..actions).min_by(cheaper).unwrap_or(0)
        });
        let best: Vec<usize> = best.collect();
        tried.select(0, probe.upload_index(&best))
    }

    /// Teaches a policy these actions in these contexts, in some steps; its optimizer starts afresh afterwards.
    ///
    /// # Shapes
    /// `x`: `[n, d_x]`, `wanted`: `[n, d_u]`
    pub(super) fn teach(
        &self,
        student: &mut Student<P>,
        x: &Tensor<2>,
        wanted: &Tensor<2>,
        steps: usize,
        probe: &mut Probe<'_>,
    ) {
        for step in 0..steps {
            let index = random_rows(probe, self.config.policy_batch, x.dims()[0]);
            let index = probe.upload_index(&index);
            let u = student.policy().forward(x.clone().select(0, index.clone()));
            let away = (u - wanted.clone().select(0, index)) / self.action_scale.clone();
            student.step(away.square().mean(), step as f64 / steps as f64);
        }
        student.replace(student.snapshot());
    }
}
