//! What a run is made of.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use graybox_model::{MlpPolicy, Policy};
use graybox_oracle::{Answered, Budget, Dims, Lanes, Metered, Oracle, Record};

use super::Trainer;
use super::resume::fingerprint;
use crate::algorithm::PolicyFactory;
use crate::checkpoint::Checkpoint;
use crate::{
    Algorithm, Calls, ConfigError, Dataset, History, Problem, Stop, Student, TrainConfig,
    TrainError, seed,
};

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
        let problem = problem.in_run(&config);
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
        mut algorithm: Box<dyn Algorithm<P>>,
    ) -> Result<Self, TrainError> {
        config.check()?;
        if config.asynchronous && algorithm.asynchronous().is_none() {
            return Err(TrainError::Waits(algorithm.facts().name));
        }
        let problem = problem.in_run(&config);
        check_widths(&problem, oracle.dims(), "the oracle")?;
        let budget = Budget::new(config.calls)
            .map_err(|error| ConfigError::new("calls", config.calls, error.to_string()))?;
        let policy = new_policy(&mut seed::stream(config.seed, "policy", 0));
        Ok(Self {
            student: Student::new(policy, config.optimizer, config.policy_rate()),
            metered: metered(oracle, budget, config.asynchronous),
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
            flights: Vec::new(),
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
}

/// The oracle with a meter on it, and on a thread of its own if nobody is to wait for it and it has none.
fn metered(oracle: impl Oracle + 'static, budget: Budget, asynchronous: bool) -> Metered {
    if asynchronous && oracle.lanes().is_none() {
        return Metered::new(Lanes::sharing(oracle, 1), budget);
    }
    Metered::new(oracle, budget)
}

pub(super) fn check_widths(
    problem: &Problem,
    found: Dims,
    other: &'static str,
) -> Result<(), TrainError> {
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
