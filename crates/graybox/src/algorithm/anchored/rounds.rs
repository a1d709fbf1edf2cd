//! The two halves of a round: what is asked about, and what is made of the answers.

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;
use rand::RngExt;

use super::{Anchored, random_rows};
use crate::algorithm::{Asynchronous, Proposal};
use crate::feasibility::Feasibility;
use crate::{Batch, Measured, Probe, RoundReport, StepError, Student, bridge};

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// Deals the rows of the batch to the policies in turn, beginning with one of them; each asks at its own actions
    /// plus noise.
    fn explore(
        &mut self,
        batch: Batch,
        first: usize,
        probe: &mut Probe<'_>,
    ) -> Result<Proposal, StepError> {
        let sigma = self.config.exploration.at(probe.progress());
        let noise = self.noise.draw(&batch.index);
        let n = self.population.members.len();
        let d_u = self.problem.dims().u;
        // Side by side, so that all policies' actions come down at once.
        let mut chosen = Vec::with_capacity(n);
        for member in &mut self.population.members {
            member.reference = member.student.snapshot();
            chosen.push(member.reference.forward(batch.x.clone()));
        }
        let chosen = probe.download_actions(&batch, Tensor::cat(chosen, 1))?;
        let mut own = Rows::with_capacity(d_u, batch.len());
        let mut asked = Rows::with_capacity(d_u, batch.len());
        let mut chosen_by = Vec::with_capacity(batch.len());
        for row_idx in 0..batch.len() {
            let which = (first + row_idx) % n;
            let u = &chosen.row(row_idx)[which * d_u..][..d_u];
            let sigma = sigma * self.population.spread(which);
            own.push(u)?;
            asked.push(&probe.perturb(u, noise.row(row_idx), sigma))?;
            chosen_by.push(Some(self.population.members[which].id));
        }
        Ok(Proposal {
            batch,
            asked,
            own,
            chosen_by,
        })
    }

    /// The rows to ask about: some of the batch are moved towards others, where what is wanted is known between them.
    fn spread_out(&self, batch: &Batch, probe: &mut Probe<'_>) -> Batch {
        let data = self.problem.data();
        let between = self.config.between && self.problem.is_known_between();
        if !between || self.config.asked_between == 0.0 || !data.has_contexts_between() {
            return batch.clone();
        }
        let to = random_rows(probe, batch.len(), data.host().len());
        let share = |probe: &mut Probe<'_>| {
            let moves = probe.rng().random_bool(self.config.asked_between);
            let share = probe.rng().random();
            if moves { share } else { 0.0 }
        };
        let share: Vec<f64> = (0..batch.len()).map(|_| share(probe)).collect();
        data.batch_between(batch.index.clone(), &to, &share)
    }

    /// Keeps what a round brought back. The first failure starts the search for where calls fail.
    pub(super) fn keep(&mut self, batch: &Batch, measured: &Measured) {
        self.replay.push(batch, measured);
        let failed = measured.answered < batch.len();
        if failed && self.config.feasibility > 0.0 && self.feasibility.is_none() {
            self.feasibility = Some(Feasibility::new(&self.problem));
        }
    }

    /// Credits each policy with the losses of its rows, carried over from where they were measured to the
    /// policy's own action: without that, those who explore further would look worse.
    fn observe(&mut self, proposal: &Proposal, measured: &Measured, probe: &Probe<'_>) {
        let batch = &proposal.batch;
        let surrogate = self.surrogate.valid();
        let at = |u: Tensor<2>| surrogate.forward(batch.x.clone(), u);
        let change = bridge::download(at(probe.upload(&proposal.own)) - at(measured.u.clone()));
        for (row_idx, outcome) in measured.outcomes.iter().enumerate() {
            let loss = match outcome {
                Ok(y) => {
                    let change = change.row(row_idx);
                    let y: Vec<f64> = y.iter().zip(change).map(|(y, change)| y + change).collect();
                    probe.objective().value(&y, batch.target_rows.row(row_idx))
                }
                Err(_) => self.baseline,
            };
            // One that was cut meanwhile has no use for it.
            if let Some(member) = self.population.of(proposal.chosen_by[row_idx]) {
                member.observe(loss);
            }
        }
    }

    /// What a round asks about, beginning with one of the policies. None if the survey must have come back first.
    pub(super) fn choose(
        &mut self,
        student: &Student<P>,
        batch: &Batch,
        first: usize,
        probe: &mut Probe<'_>,
    ) -> Result<Option<Proposal>, StepError> {
        let nothing_yet = self.replay.len() == self.replay.recalled();
        if nothing_yet && probe.on_their_way() == 0 {
            self.begin(student, batch.len(), probe)?;
        }
        if self.population.members.is_empty() {
            // Calls from before the run are a survey as well.
            let asked = probe.asked() as f64 / probe.budget() as f64;
            let surveyed = self.replay.recalled() > 0 || asked >= self.config.survey;
            if !surveyed {
                let batch = self.spread_out(batch, probe);
                return self.survey(batch, probe).map(Some);
            }
            if probe.on_their_way() > 0 {
                return Ok(None);
            }
            self.enlist(student, probe);
        }
        let batch = self.spread_out(batch, probe);
        self.explore(batch, first, probe).map(Some)
    }
}

impl<P: Policy, S: Surrogate> Asynchronous<P> for Anchored<P, S> {
    fn propose(
        &mut self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Option<Proposal>, StepError> {
        let first = probe.asked() as usize;
        self.choose(student, batch, first, probe)
    }

    fn learn_from(
        &mut self,
        student: &mut Student<P>,
        proposal: &Proposal,
        measured: &Measured,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let n = proposal.batch.len();
        self.keep(&proposal.batch, measured);
        self.steps_due += self.config.steps_per_call(probe.budget()) * n as f64;
        let report = RoundReport::new(measured.loss);
        if self.population.members.is_empty() {
            self.learn(probe);
            return Ok(report);
        }
        self.observe(proposal, measured, probe);
        self.learn(probe);
        let cut = self.population.rank(probe.progress());
        if cut
            && self.config.mend
            && let Some(member) = self.mended(probe)
        {
            self.population.add(member);
        }
        let leader = &self.population.members[0];
        student.replace(leader.student.snapshot());
        Ok(report
            .with("own", leader.loss())
            .with("policies", self.population.members.len() as f64))
    }
}
