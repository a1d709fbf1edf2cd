//! The loop: draw a batch, let the algorithm do a round, tell the observers.

use std::time::Instant;

use graybox_model::Policy;
use graybox_oracle::{Dims, Meter, Metered, Record, RowError};
use rand::seq::SliceRandom;

use crate::algorithm::TrainedSurrogate;
use crate::checkpoint::Checkpoint;
use crate::{
    Algorithm, Calls, Dataset, Diagnosis, Ending, Facts, History, Observer, Probe, Problem,
    Progress, RoundReport, RunReport, Score, Stop, Student, TrainConfig, TrainError, seed,
};

mod asynchronous;
mod build;
mod resume;
mod score;

use asynchronous::Flight;

/// A run: a policy, what trains it, and the oracle with a meter on it.
pub struct Trainer<P: Policy> {
    config: TrainConfig,
    problem: Problem,
    held_out: Option<Dataset>,
    metered: Metered,
    student: Student<P>,
    algorithm: Box<dyn Algorithm<P>>,
    stop: Stop,
    /// Rounds done.
    round: u64,
    /// Training rows drawn so far.
    drawn: u64,
    /// Scores taken so far during the run.
    scored: u64,
    loss_before: Option<f64>,
    last_score: Option<Score>,
    /// Whether the budget was spent when the state was saved.
    finished: bool,
    history: History,
    calls: Calls,
    /// What is on its way.
    flights: Vec<Flight>,
    /// What observers were told already.
    diagnosed: Vec<Diagnosis>,
    record: Option<Box<dyn Record>>,
    checkpoint: Option<Checkpoint>,
    /// Stands for the calls it was started with.
    warm: Option<String>,
    /// Widths of what scores are taken from, where it is not the oracle.
    truth: Option<Dims>,
}

impl<P: Policy> Trainer<P> {
    /// Trains until the budget is spent, somebody stops it, too many calls fail, or the oracle is lost.
    ///
    /// # Errors
    /// If the held-out rows, or what scores are taken from, do not fit the problem. If a round fails; what was learned until then is still in [`policy`](Self::policy). If the record or
    /// the checkpoint cannot be read or written, or is of another run.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<RunReport, TrainError> {
        let start = Instant::now();
        self.check_scores()?;
        self.take_up()?;
        if self.round == 0 {
            self.loss_before = self.score()?;
            self.tell(self.line(None, self.loss_before), observer);
        }
        let (ending, reason) = self.train(observer)?;
        let position = self.metered.meter().position;
        let loss_after = match ending {
            Ending::OracleGone => None,
            _ => self.score()?,
        };
        if ending != Ending::BudgetSpent && self.metered.unanswered().is_none() {
            // Whoever goes on from here counts the calls of this score too, and asks other rows in their place.
            let meter = self.metered.meter();
            self.metered.resume(Meter { position, ..meter });
            self.save(true)?;
        }
        self.tell(self.line(None, loss_after), observer);
        let diagnoses = self.diagnose(observer);
        let meter = self.metered.meter();
        Ok(RunReport {
            ending,
            reason,
            rounds: self.round,
            oracle_calls: meter.calls,
            failed_calls: meter.failed,
            scoring_calls: meter.scored,
            paid_calls: meter.paid,
            duplicate_calls: meter.duplicates,
            replayed_calls: self.metered.replayed(),
            true_loss_before: self.loss_before,
            true_loss_after: loss_after,
            wall_s: start.elapsed().as_secs_f64(),
            oracle_s: meter.seconds,
            diagnoses,
        })
    }

    fn train(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<(Ending, Option<String>), TrainError> {
        while !self.finished {
            if let Some(ending) = self.has_to_end() {
                self.land(observer)?;
                // What was made of the rows that were answered, of those waited for, is no state to go on from.
                if self.metered.unanswered().is_none() {
                    self.save(true)?;
                }
                return Ok(ending);
            }
            self.save(false)?;
            let before = self.metered.calls();
            if self.next_round(observer)? {
                let half = self.config.calls.div_ceil(2);
                if before < half && self.metered.calls() >= half {
                    self.diagnose(observer);
                }
            } else {
                self.metered.begin_round(self.round);
                let done = self.finish(observer)?;
                self.finished = done && self.metered.unanswered().is_none();
            }
        }
        self.save(true)?;
        Ok((Ending::BudgetSpent, None))
    }

    /// Why the run cannot go on, if it cannot.
    fn has_to_end(&self) -> Option<(Ending, Option<String>)> {
        let unanswered = self.metered.unanswered();
        if let Some(error) = unanswered.or(self.metered.turned_back()) {
            return Some(match error {
                RowError::Cancelled => (Ending::Stopped, None),
                error => (Ending::OracleGone, Some(error.to_string())),
            });
        }
        if self.stop.is_set() {
            return Some((Ending::Stopped, None));
        }
        let reason = self.config.failures.exceeded(&self.history.lines)?;
        Some((Ending::OracleFails, Some(reason)))
    }

    /// One round. False if the budget cannot pay for one.
    fn next_round(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        if self.config.asynchronous {
            return self.round_ahead(observer);
        }
        let Some(index) = self.draw(self.config.rows_per_round()) else {
            return Ok(false);
        };
        self.round(index, observer)?;
        Ok(true)
    }

    fn round(&mut self, index: Vec<usize>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let batch = self.problem.data().batch(index);
        self.metered.begin_round(self.round);
        let report = self.probing(("round", self.round), |algorithm, student, probe| {
            Ok(algorithm.round(student, &batch, probe)?)
        })?;
        self.drawn += batch.len() as u64;
        self.end_round(report, observer)
    }

    fn end_round(
        &mut self,
        report: RoundReport,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        self.round += 1;

        let due = self.metered.calls() * (self.config.scores + 1) / self.config.calls;
        let held_out = if due > self.scored && due <= self.config.scores {
            self.scored = due;
            self.score()?
        } else {
            None
        };
        let mut line = self.line(report.loss, held_out);
        line.terms = report.terms;
        self.tell(line, observer);
        Ok(())
    }

    /// Lets the algorithm ask, with randomness from the stream of this purpose and number.
    fn probing<R>(
        &mut self,
        (purpose, number): (&str, u64),
        ask: impl FnOnce(
            &mut dyn Algorithm<P>,
            &mut Student<P>,
            &mut Probe<'_>,
        ) -> Result<R, TrainError>,
    ) -> Result<R, TrainError> {
        let mut rng = seed::stream(self.config.seed, purpose, number);
        let mut probe = Probe::new(
            &mut self.metered,
            &mut self.calls,
            &self.problem,
            &mut rng,
            &self.stop,
        );
        ask(&mut *self.algorithm, &mut self.student, &mut probe)
    }

    /// False if it was stopped before it was done.
    fn finish(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let report = self.probing(("finish", 0), |algorithm, student, probe| {
            Ok(algorithm.finish(student, probe)?)
        })?;
        let done = report.is_some() || !self.stop.is_set();
        if let Some(report) = report {
            let mut line = self.line(report.loss, None);
            line.terms = report.terms;
            self.tell(line, observer);
        }
        Ok(done)
    }

    /// The training rows of the next round: every row once per pass over the data, in an order drawn anew
    /// for each pass. As many as a batch has and there is room for, fewer where the budget ends; none where it cannot
    /// pay for one row.
    fn draw(&self, room: usize) -> Option<Vec<usize>> {
        let left = self.metered.left();
        let left = left.saturating_sub(self.algorithm.reserve(self.config.calls));
        let n = (1..=self.config.rows_per_round().min(room))
            .rev()
            .find(|n| self.algorithm.calls(*n) <= left)?;
        let rows = self.problem.data().host().len() as u64;
        let mut order: Option<(u64, Vec<usize>)> = None;
        let index = (self.drawn..self.drawn + n as u64).map(|position| {
            let pass = position / rows;
            if order.as_ref().is_none_or(|(of, _)| *of != pass) {
                let mut fresh: Vec<usize> = (0..rows as usize).collect();
                fresh.shuffle(&mut seed::stream(self.config.seed, "pass", pass));
                order = Some((pass, fresh));
            }
            let (_, order) = order.as_ref().expect("the pass was just shuffled");
            order[(position % rows) as usize]
        });
        Some(index.collect())
    }

    fn line(&self, loss: Option<f64>, held_out: Option<f64>) -> Progress {
        Progress {
            round: self.round,
            calls: self.metered.calls(),
            budget: self.config.calls,
            failed: self.metered.failed(),
            loss,
            held_out,
            terms: std::collections::BTreeMap::new(),
        }
    }

    fn tell(&mut self, line: Progress, observer: &mut dyn Observer) {
        observer.progress(&line);
        self.history.lines.push(line);
    }

    /// A plain snapshot of the policy as it is now.
    pub fn policy(&self) -> P {
        self.student.snapshot()
    }

    /// The surrogate as it is now, if the algorithm trains one.
    pub fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        self.algorithm.surrogate()
    }

    /// What trains it.
    pub fn facts(&self) -> Facts {
        self.algorithm.facts()
    }

    /// What is being solved.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The run's settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The rows it is scored on, if there are any.
    pub fn held_out(&self) -> Option<&Dataset> {
        self.held_out.as_ref()
    }

    /// What came of the held-out rows when they were last scored.
    pub fn last_score(&self) -> Option<&Score> {
        self.last_score.as_ref()
    }

    /// What was asked of the oracle so far.
    pub fn meter(&self) -> Meter {
        self.metered.meter()
    }

    /// The latest charged calls.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What has happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }
}
