//! How well a run does, and what keeps it from doing better. Nothing here reaches an algorithm.

use graybox_model::Policy;
use graybox_oracle::{Dims, Queries, Rows};

use super::Trainer;
use super::build::check_widths;
use crate::{Diagnosis, Evidence, Observer, Score, TrainError, bridge, diagnose};

impl<P: Policy> Trainer<P> {
    pub(super) fn check_scores(&self) -> Result<(), TrainError> {
        if let Some(data) = &self.held_out {
            let (x, y) = (data.x().width(), data.target().width());
            let dims = Dims::new(x, self.problem.dims().u, y);
            check_widths(&self.problem, dims, "the held-out data")?;
        }
        match self.truth {
            Some(dims) => check_widths(&self.problem, dims, "what scores are taken from"),
            None => Ok(()),
        }
    }

    /// Looks for what keeps the run from learning, and tells what was not told before.
    pub(super) fn diagnose(&mut self, observer: &mut dyn Observer) -> Vec<Diagnosis> {
        let surrogate = self.algorithm.surrogate();
        let diagnoses = diagnose(&Evidence {
            problem: &self.problem,
            history: &self.history.lines,
            calls: &self.calls,
            actions_now: &self.actions_now(),
            surrogate: surrogate.as_deref(),
        });
        for diagnosis in &diagnoses {
            let same = |told: &Diagnosis| told.title() == diagnosis.title();
            if !self.diagnosed.iter().any(same) {
                observer.diagnosis(diagnosis);
                self.diagnosed.push(diagnosis.clone());
            }
        }
        diagnoses
    }

    /// What the policy does now in the contexts of the latest calls, `[calls, d_u]`.
    pub(super) fn actions_now(&self) -> Rows {
        let dims = self.problem.dims();
        if self.calls.is_empty() {
            return Rows::new(dims.u);
        }
        let mut x = Rows::with_capacity(dims.x, self.calls.len());
        for call in self.calls.iter() {
            x.push(&call.x).expect("calls are as wide as the problem");
        }
        bridge::download(self.student.act(bridge::upload(&x, self.problem.device())))
    }

    /// Mean true loss on the held-out rows; none if there are none or every call failed.
    pub(super) fn score(&mut self) -> Result<Option<f64>, TrainError> {
        let Some(data) = self.held_out.as_ref() else {
            return Ok(None);
        };
        let x = bridge::upload(data.x(), self.problem.device());
        let u = bridge::download(self.student.act(x));
        let queries = Queries::new(data.x(), &u).expect("one action per context");
        let outcomes = self.metered.score(queries)?;
        let objective = self.problem.objective();
        let losses: Vec<f64> = (outcomes.iter().zip(data.target().iter()))
            .filter_map(|(y, target)| Some(objective.value(y.as_ref().ok()?, target)))
            .collect();
        self.last_score = Some(Score { u, outcomes });
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        Ok((!losses.is_empty()).then_some(mean))
    }
}
