//! The loop: draw a batch, let the algorithm do a round, tell the observers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use graybox_model::{MlpPolicy, Policy};
use graybox_oracle::{Answered, Budget, Dims, Metered, Oracle, Queries, Record, RowError, Rows};
use rand::seq::SliceRandom;

use crate::algorithm::{PolicyFactory, TrainedSurrogate};
use crate::checkpoint::Checkpoint;
use crate::snapshot::Snapshot;
use crate::{
    Algorithm, Calls, ConfigError, Dataset, Diagnosis, Ending, Evidence, Facts, History, Observer,
    Probe, Problem, Progress, RunReport, Score, SnapshotError, Stop, Student, TrainConfig,
    TrainError, bridge, diagnose, seed,
};

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
    /// What stands for the calls it was started with.
    warm: Option<String>,
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
    /// surrogate before the first call, and are not charged.
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
        self.warm = Some(print(&[answered.x(), answered.u(), answered.y()]));
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

    /// Trains until the budget is spent, somebody stops it, or the oracle is lost.
    ///
    /// # Errors
    /// If a round fails; what was learned until then is still in [`policy`](Self::policy). If the record or
    /// the checkpoint cannot be read or written, or is of another run.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<RunReport, TrainError> {
        let start = Instant::now();
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

    /// Begins the run in its record, and goes on from its checkpoint.
    fn take_up(&mut self) -> Result<(), TrainError> {
        let key = self.key();
        if let Some(record) = self.record.take() {
            self.metered.keep_in(record, &key)?;
        }
        if self.round == 0
            && let Some(checkpoint) = &self.checkpoint
            && let Some(snapshot) = checkpoint.read(&key)?
        {
            self.resume(&snapshot)?;
        }
        Ok(())
    }

    /// Everything that decides which rows are asked: two runs of the same key are the same run.
    fn key(&self) -> String {
        let print = |data: &Dataset| print(&[data.x(), data.target()]);
        let mut key = serde_json::json!({
            "algorithm": self.algorithm.facts().name,
            "config": self.config,
            "parameters": Module::num_params(self.student.policy()),
            "data": print(self.problem.data().host()),
            "held_out": self.held_out.as_ref().map(print),
        });
        if let Some(warm) = &self.warm {
            key["warm_start"] = warm.as_str().into();
        }
        key.to_string()
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

    /// Writes the checkpoint, if there is one and it is time to.
    fn save(&mut self, now: bool) -> Result<(), TrainError> {
        let due = |checkpoint: &Checkpoint| now || checkpoint.is_due();
        if self.round > 0 && self.checkpoint.as_ref().is_some_and(due) {
            let (snapshot, key) = (self.snapshot()?, self.key());
            if let Some(checkpoint) = &mut self.checkpoint {
                checkpoint.write(snapshot, &key)?;
            }
        }
        Ok(())
    }

    fn round(&mut self, index: Vec<usize>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let batch = self.problem.data().batch(index);
        let mut rng = seed::stream(self.config.seed, "round", self.round);
        self.metered.begin_round(self.round);
        let mut probe = Probe {
            metered: &mut self.metered,
            calls: &mut self.calls,
            objective: &**self.problem.objective(),
            actions: self.problem.actions(),
            rng: &mut rng,
            device: self.problem.device(),
            stop: &self.stop,
        };
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
        let mut probe = Probe {
            metered: &mut self.metered,
            calls: &mut self.calls,
            objective: &**self.problem.objective(),
            actions: self.problem.actions(),
            rng: &mut rng,
            device: self.problem.device(),
            stop: &self.stop,
        };
        let report = self.algorithm.finish(&mut self.student, &mut probe)?;
        let done = report.is_some() || !self.stop.is_set();
        if let Some(report) = report {
            let mut line = self.line(report.loss, None);
            line.terms = report.terms;
            self.tell(line, observer);
        }
        Ok(done)
    }

    /// Looks for what keeps the run from learning, and tells what was not told before.
    fn diagnose(&mut self, observer: &mut dyn Observer) -> Vec<Diagnosis> {
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
    fn actions_now(&self) -> Rows {
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

    /// Mean true loss on the held-out rows; none if there are none or every call failed.
    fn score(&mut self) -> Result<Option<f64>, TrainError> {
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

    /// The latest charged calls.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What has happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The state between two rounds, from which [`resume`](Self::resume) goes on bit for bit.
    ///
    /// # Errors
    /// If something cannot be encoded.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let mut snapshot = Snapshot::new();
        snapshot.put(
            "trainer",
            &(
                self.round,
                self.drawn,
                self.scored,
                self.loss_before,
                self.finished,
            ),
        )?;
        snapshot.put("meter", &self.metered.meter())?;
        snapshot.put("history", &self.history.lines)?;
        snapshot.put("calls", &self.calls)?;
        self.student.save("student", &mut snapshot)?;
        self.algorithm.save(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Goes on from a snapshot of a run with the same settings.
    ///
    /// # Errors
    /// If the snapshot is of another configuration.
    pub fn resume(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        (
            self.round,
            self.drawn,
            self.scored,
            self.loss_before,
            self.finished,
        ) = snapshot.get("trainer")?;
        self.metered.resume(snapshot.get("meter")?);
        self.history.lines = snapshot.get("history")?;
        self.calls = snapshot.get("calls")?;
        self.student.load("student", snapshot)?;
        self.algorithm.load(snapshot)
    }
}

/// How many rows there are, and a hash of their numbers.
fn print(columns: &[&Rows]) -> String {
    let values = columns.iter().flat_map(|rows| rows.as_slice());
    let bytes: Vec<u8> = values
        .flat_map(|value| value.to_bits().to_le_bytes())
        .collect();
    let n = columns.first().map_or(0, |rows| rows.len());
    format!("{n} rows {:016x}", seed::fnv1a(&bytes))
}

fn check_widths(problem: &Problem, found: Dims, other: &'static str) -> Result<(), TrainError> {
    let asked = problem.dims();
    let checks = [
        ("the data's context x", asked.x, found.x),
        ("the actions u", asked.u, found.u),
        ("the data's target y", asked.y, found.y),
    ];
    for (what, asked, found) in checks {
        if asked != found {
            return Err(TrainError::Width {
                what,
                found: asked,
                other,
                expected: found,
            });
        }
    }
    Ok(())
}
