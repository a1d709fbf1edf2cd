//! The loop: draw a batch, let the algorithm do a round, tell the observers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graybox_model::{MlpPolicy, Policy};
use graybox_oracle::{Answered, Budget, Dims, Meter, Metered, Oracle, Record, RowError};
use rand::seq::SliceRandom;

use crate::algorithm::{PolicyFactory, TrainedSurrogate};
use crate::checkpoint::Checkpoint;
use crate::{
    Algorithm, Calls, ConfigError, Dataset, Diagnosis, Ending, Facts, History, Observer, Probe,
    Problem, Progress, RunReport, Score, Stop, Student, TrainConfig, TrainError, seed,
};

mod resume;
mod score;

use resume::fingerprint;

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
    /// What observers were told already.
    diagnosed: Vec<Diagnosis>,
    record: Option<Box<dyn Record>>,
    checkpoint: Option<Checkpoint>,
    /// Stands for the calls it was started with.
    warm: Option<String>,
    /// Widths of what scores are taken from, where it is not the oracle.
    truth: Option<Dims>,
}

impl Trainer<MlpPolicy> {
    /// A run that trains a fully connected policy as the config says.
    ///
    /// # Errors
    /// If a setting is outside its meaning, or the oracle's widths are not those of the problem.
    pub fn new(
        config: TrainConfig,
        problem: Problem,
        oracle: impl Oracle + 'static,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let policy = problem.policy(&config.policy);
        policy.check()?;
        let device = problem.device().clone();
        let new_policy: PolicyFactory<_> = Arc::new(move |rng| policy.init(rng, &device));
        Self::with_policy(config, problem, oracle, new_policy)
    }
}

impl<P: Policy> Trainer<P> {
    /// A run that trains a policy of the user's own; `config.policy` has no effect.
    ///
    /// # Errors
    /// If a setting is outside its meaning, or the oracle's widths are not those of the problem.
    pub fn with_policy(
        config: TrainConfig,
        problem: Problem,
        oracle: impl Oracle + 'static,
        new_policy: PolicyFactory<P>,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let problem = problem.with_seed(config.seed);
        let algorithm = config.algorithm.init(&problem, &new_policy)?;
        Self::with_algorithm(config, problem, oracle, &new_policy, algorithm)
    }

    /// A run with an algorithm of the user's own; `config.algorithm` has no effect.
    ///
    /// # Errors
    /// If a setting is outside its meaning, or the oracle's widths are not those of the problem.
    pub fn with_algorithm(
        config: TrainConfig,
        problem: Problem,
        oracle: impl Oracle + 'static,
        new_policy: &PolicyFactory<P>,
        algorithm: Box<dyn Algorithm<P>>,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let problem = problem.with_seed(config.seed);
        check_widths(&problem, oracle.dims(), "the oracle")?;
        let budget = Budget::new(config.calls)
            .map_err(|error| ConfigError::new("calls", config.calls, error.to_string()))?;
        let policy = new_policy(&mut seed::stream(config.seed, "policy", 0));
        Ok(Self {
            student: Student::new(policy, config.learning_rate),
            metered: Metered::new(oracle, budget),
            algorithm,
            problem,
            held_out: None,
            config,
            stop: Stop::new(),
            round: 0,
            drawn: 0,
            scored: 0,
            loss_before: None,
            last_score: None,
            finished: false,
            history: History::default(),
            calls: Calls::default(),
            diagnosed: Vec::new(),
            record: None,
            checkpoint: None,
            warm: None,
            truth: None,
        })
    }

    /// Scores the policy on rows it is not trained on: before, after, and `config.scores` times between.
    #[must_use]
    pub fn with_held_out(mut self, data: Dataset) -> Self {
        self.held_out = Some(data);
        self
    }

    /// Takes scores from another oracle: the same function without its noise, where someone has it. No
    /// algorithm sees it.
    #[must_use]
    pub fn with_truth(mut self, truth: impl Oracle + 'static) -> Self {
        self.truth = Some(truth.dims());
        self.metered = self.metered.with_truth(truth);
        self
    }

    /// Listens to a flag that ends the run.
    #[must_use]
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Keeps every answer in a record, such as the oracle crate's `Ledger`, and takes from it what is already
    /// known: a run that was broken off and is started again pays for nothing twice.
    #[must_use]
    pub fn with_record(mut self, record: impl Record + 'static) -> Self {
        self.record = Some(Box::new(record));
        self
    }

    /// Starts with calls that other runs have paid for, such as the [`answers`] of a ledger: they teach the
    /// surrogate before the first call, and are not charged. Those of several runs are added one after the other.
    ///
    /// # Errors
    /// If they are of other widths than the problem, or the algorithm learns from its own calls alone.
    ///
    /// [`answers`]: Answered
    pub fn with_warm_start(mut self, answered: &Answered) -> Result<Self, TrainError> {
        check_widths(&self.problem, answered.dims(), "the warm start")?;
        if !self.algorithm.recall(answered) {
            return Err(TrainError::NoWarmStart(self.algorithm.facts().name));
        }
        let print = fingerprint(&[answered.x(), answered.u(), answered.y()]);
        let earlier = self
            .warm
            .take()
            .map_or_else(String::new, |earlier| earlier + ", ");
        self.warm = Some(earlier + &print);
        Ok(self)
    }

    /// Saves the state of the run to this file every so often and at its end, and goes on from there if the
    /// file is the state of the same run. Together with a record a run can thus be killed at any moment and
    /// started again: it ends with the same bits as if it had never been touched.
    #[must_use]
    pub fn with_checkpoint(mut self, path: impl AsRef<Path>, every: Duration) -> Self {
        self.checkpoint = Some(Checkpoint::new(path.as_ref().to_path_buf(), every));
        self
    }

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
        let loss_after = match ending {
            Ending::OracleGone => None,
            _ => self.score()?,
        };
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
            if let Some(error) = self.metered.unanswered() {
                // What the round made of the rows it did get is no state to go on from.
                return Ok(match error {
                    RowError::Cancelled => (Ending::Stopped, None),
                    error => (Ending::OracleGone, Some(error.to_string())),
                });
            }
            if self.stop.is_set() {
                self.save(true)?;
                return Ok((Ending::Stopped, None));
            }
            if let Some(reason) = self.config.failures.exceeded(&self.history.lines) {
                self.save(true)?;
                return Ok((Ending::OracleFails, Some(reason)));
            }
            self.save(false)?;
            if let Some(index) = self.draw() {
                let before = self.metered.calls();
                self.round(index, observer)?;
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

    fn round(&mut self, index: Vec<usize>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let batch = self.problem.data().batch(index);
        let mut rng = seed::stream(self.config.seed, "round", self.round);
        self.metered.begin_round(self.round);
        let mut probe = Probe::new(
            &mut self.metered,
            &mut self.calls,
            &self.problem,
            &mut rng,
            &self.stop,
        );
        let report = self
            .algorithm
            .round(&mut self.student, &batch, &mut probe)?;
        self.round += 1;
        self.drawn += batch.len() as u64;

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

    /// False if it was stopped before it was done.
    fn finish(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let mut rng = seed::stream(self.config.seed, "finish", 0);
        let mut probe = Probe::new(
            &mut self.metered,
            &mut self.calls,
            &self.problem,
            &mut rng,
            &self.stop,
        );
        let report = self.algorithm.finish(&mut self.student, &mut probe)?;
        let done = report.is_some() || !self.stop.is_set();
        if let Some(report) = report {
            let mut line = self.line(report.loss, None);
            line.terms = report.terms;
            self.tell(line, observer);
        }
        Ok(done)
    }

    /// The training rows of the next round: every row once per pass over the data, in an order drawn anew
    /// for each pass. Fewer than a batch where the budget ends; none where it cannot pay for one row.
    fn draw(&self) -> Option<Vec<usize>> {
        let left = self.metered.left();
        let left = left.saturating_sub(self.algorithm.reserve(self.config.calls));
        let n = (1..=self.config.rows_per_round())
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

fn check_widths(problem: &Problem, found: Dims, other: &'static str) -> Result<(), TrainError> {
    let asked = problem.dims();
    let checks = [
        ("context x", asked.x, found.x),
        ("action u", asked.u, found.u),
        ("target y", asked.y, found.y),
    ];
    for (what, here, there) in checks {
        if here != there {
            return Err(TrainError::Width {
                what,
                here,
                other,
                there,
            });
        }
    }
    Ok(())
}
