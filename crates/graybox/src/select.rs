//! Choosing settings by what they lead to, measured on rows that were held out.
//!
//! The criterion is the true loss ‖Y − F(x, π(x))‖² of the trained policy, which costs oracle calls and is
//! charged. It is never what an algorithm reports of itself: a surrogate that leans towards the targets
//! makes L* small whatever the policy does, so that cross-validating L* rewards the λ that lies most.
//!
//! ```
//! use std::sync::Arc;
//!
//! use burn::prelude::*;
//! use graybox::algorithm::{JointConfig, Routing};
//! use graybox::model::HeadConfig;
//! use graybox::oracle::{Dims, FnOracle, Rows};
//! use graybox::select::{Selection, Validation, vary};
//! use graybox::{AlgorithmConfig, Dataset, Problem, TrainConfig};
//!
//! let x = Rows::from_vec(1, (0..32).map(|i| f64::from(i) / 16.0 - 1.0).collect())?;
//! let problem = Problem::new(Dataset::new(x.clone(), x)?, HeadConfig::identity(1), &Device::flex())?;
//! let oracle = Arc::new(FnOracle::new(Dims::new(1, 1, 1), |x, u| [u[0].sin() + 0.5 * x[0]]));
//!
//! let joint = JointConfig { updates: 4, ..JointConfig::new(Routing::Biased) };
//! let base = TrainConfig { algorithm: AlgorithmConfig::Joint(joint), ..TrainConfig::default() };
//! let candidates = vary(&base, "algorithm.lambda", &[0.1, 1.0, 10.0])?;
//! let selection = Selection {
//!     validation: Validation::Folds(2),
//!     calls: 64,
//!     rows: 8,
//!     threads: 1,
//! };
//! let selected = selection.run(&candidates, &problem, oracle)?;
//! assert_eq!(selected.calls, 3 * 2 * (64 + 8));
//! let best = selected.best(&candidates).expect("every run was measured");
//! assert!(best.config.algorithm != AlgorithmConfig::default());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use graybox_model::{MlpPolicy, Policy};
use graybox_oracle::{Budget, Metered, Oracle, Queries};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::at_least_one;
use crate::{
    ConfigError, Ending, History, Problem, Silent, StepError, TrainConfig, TrainError, Trainer,
    bridge,
};

mod setting;
#[cfg(test)]
mod tests;
mod validation;

pub use setting::with_setting;
pub use validation::Validation;

/// One setting to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What tells it from the others.
    pub label: String,
    /// How it is trained. Its `calls` are replaced by the selection's.
    pub config: TrainConfig,
}

/// One candidate for each value of the setting at this path of the config, as it stands in a config file:
/// `algorithm.lambda`, `learning_rate.initial`, `batch`.
///
/// # Errors
/// If there is no such setting, or a value is outside its meaning.
pub fn vary<V: Serialize>(
    config: &TrainConfig,
    path: &str,
    values: &[V],
) -> Result<Vec<Candidate>, ConfigError> {
    let refused = |value: &Value, reason: String| ConfigError::new(path, value, reason);
    let candidate = |value: &V| {
        let value = serde_json::to_value(value)
            .map_err(|error| refused(&Value::Null, error.to_string()))?;
        let config: TrainConfig = with_setting(config, path, value.clone())
            .map_err(|error| refused(&value, format!("a setting of the run: {error}")))?;
        config.check()?;
        let label = format!("{path} = {value}");
        Ok(Candidate { label, config })
    };
    values.iter().map(candidate).collect()
}

/// How candidates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// How rows are parted.
    pub validation: Validation,
    /// Calls that one training run may make.
    pub calls: u64,
    /// Most held-out rows that one trained policy is measured on, a call for each.
    pub rows: usize,
    /// Runs at a time, each a thread of this process, so that one oracle serves them all. The oracle must not
    /// mind being asked by several threads.
    pub threads: usize,
}

/// What came of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// Which candidate.
    pub label: String,
    /// Mean true loss on the held-out rows of every part; none where all calls failed, too many did
    /// while training, or training diverged.
    pub losses: Vec<Option<f64>>,
    /// Their mean; none unless all parts have one.
    pub loss: Option<f64>,
    /// What the algorithm reported as L* in its last quarter, mean over parts, where it has one. Shown
    /// beside the loss, and never chosen by.
    pub claimed: Option<f64>,
}

/// What came of a selection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selected {
    /// In the candidates' order.
    pub tried: Vec<Tried>,
    /// Which candidate has the least loss; none if none has a loss.
    pub best: Option<usize>,
    /// Calls charged, for training and for measuring.
    pub calls: u64,
    /// Charged calls that failed.
    pub failed: u64,
}

impl Selected {
    /// The candidate of least loss.
    pub fn best<'a>(&self, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
        candidates.get(self.best?)
    }
}

/// What came of one run.
#[derive(Debug, Clone, Copy)]
struct Measured {
    loss: Option<f64>,
    claimed: Option<f64>,
    calls: u64,
    failed: u64,
}

impl Selection {
    /// Calls that comparing this many candidates on this many rows takes at most.
    pub fn cost(&self, candidates: usize, rows: usize) -> u64 {
        let parts = self.validation.parts(rows, 0);
        let measured = parts
            .iter()
            .map(|(_, held)| held.len().min(self.rows) as u64);
        candidates as u64 * (self.calls * parts.len() as u64 + measured.sum::<u64>())
    }

    fn check(&self, rows: usize) -> Result<(), ConfigError> {
        let (name, parts) = match self.validation {
            Validation::Folds(k) => ("select.validation.folds", k),
            Validation::Progressive(k) => ("select.validation.progressive", k),
        };
        if parts < 2 || parts > rows {
            let expected = format!("at least 2 parts and at most the {rows} training rows");
            return Err(ConfigError::new(name, parts, expected));
        }
        if self.calls == 0 {
            return Err(ConfigError::new(
                "select.calls",
                0,
                "at least 1 oracle call",
            ));
        }
        at_least_one("select.rows", self.rows)?;
        at_least_one("select.threads", self.threads)
    }

    /// Trains fully connected policies with every candidate on every part, and measures them.
    ///
    /// # Errors
    /// If a setting is outside its meaning; nothing is asked of the oracle then. If the oracle is lost. Training that
    /// diverges, or ends because too many calls fail, is no error but a candidate without a loss.
    pub fn run(
        &self,
        candidates: &[Candidate],
        problem: &Problem,
        oracle: Arc<dyn Oracle>,
    ) -> Result<Selected, TrainError> {
        self.run_with(candidates, problem, oracle, Trainer::<MlpPolicy>::new)
    }

    /// The same for any policy, made into a run by `train`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with<P: Policy>(
        &self,
        candidates: &[Candidate],
        problem: &Problem,
        oracle: Arc<dyn Oracle>,
        train: impl Fn(TrainConfig, Problem, Arc<dyn Oracle>) -> Result<Trainer<P>, TrainError> + Sync,
    ) -> Result<Selected, TrainError> {
        let rows = problem.data().host().len();
        self.check(rows)?;
        for candidate in candidates {
            candidate.config.check()?;
        }
        let seed = candidates.first().map_or(0, |first| first.config.seed);
        let parts = self.validation.parts(rows, seed);
        let jobs = candidates.len() * parts.len();
        let measure = |job: usize| {
            let (config, part) = (job / parts.len(), job % parts.len());
            let config = candidates[config].config.clone();
            self.measure(config, &parts[part], problem, &oracle, &train)
        };

        let next = AtomicUsize::new(0);
        let results = Mutex::new(vec![None; jobs]);
        let first_error = Mutex::new(None);
        std::thread::scope(|scope| {
            let work = || loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    break;
                }
                match measure(job) {
                    Ok(measured) => {
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results[job] = Some(measured);
                    }
                    Err(error) => {
                        next.store(jobs, Ordering::Relaxed);
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                    }
                }
            };
            for _ in 1..self.threads.min(jobs) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = first_error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return Err(error);
        }
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let results: Vec<Measured> = results.into_iter().flatten().collect();
        Ok(summary(candidates, parts.len(), &results))
    }

    /// Trains on one side of a part and measures on the other.
    fn measure<P: Policy>(
        &self,
        config: TrainConfig,
        (learned, held): &(Vec<usize>, Vec<usize>),
        problem: &Problem,
        oracle: &Arc<dyn Oracle>,
        train: &impl Fn(TrainConfig, Problem, Arc<dyn Oracle>) -> Result<Trainer<P>, TrainError>,
    ) -> Result<Measured, TrainError> {
        let config = TrainConfig {
            calls: self.calls,
            ..config
        };
        let mut trainer = train(config, problem.with_rows(learned), Arc::clone(oracle))?;
        let run = trainer.run(&mut Silent);
        let meter = trainer.meter();
        let without_loss = Measured {
            loss: None,
            claimed: None,
            calls: meter.calls,
            failed: meter.failed,
        };
        match run {
            Ok(run) if run.ending == Ending::OracleGone => {
                return Err(TrainError::OracleGone(run.reason.unwrap_or_default()));
            }
            Ok(run) if run.ending == Ending::OracleFails => return Ok(without_loss),
            Ok(_) => {}
            Err(TrainError::Step(StepError::Diverged { .. })) => return Ok(without_loss),
            Err(error) => return Err(error),
        }

        let data = problem
            .data()
            .host()
            .select(&held[..held.len().min(self.rows)]);
        let u = trainer
            .policy()
            .forward(bridge::upload(data.x(), problem.device()));
        let u = bridge::download(u);
        let budget = Budget::new(data.len() as u64).expect("a part has at least one row");
        let mut metered = Metered::new(Arc::clone(oracle), budget);
        let queries = Queries::new(data.x(), &u).expect("one action per context");
        let outcomes = metered.evaluate(queries).expect("a call for every row");
        let losses: Vec<f64> = (outcomes.iter().zip(data.target().iter()))
            .filter_map(|(y, target)| Some(problem.objective().value(y.as_ref().ok()?, target)))
            .collect();
        Ok(Measured {
            loss: mean(&losses),
            claimed: claimed(trainer.history()),
            calls: meter.calls + metered.calls(),
            failed: meter.failed + metered.failed(),
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Mean L* over the last quarter of the rounds that report one.
fn claimed(history: &History) -> Option<f64> {
    let reported = history.lines.iter();
    let reported: Vec<f64> = reported
        .filter_map(|line| line.terms.get("l_star").copied())
        .collect();
    mean(&reported[reported.len() - reported.len().div_ceil(4)..])
}

fn summary(candidates: &[Candidate], parts: usize, results: &[Measured]) -> Selected {
    let tried: Vec<Tried> = (candidates.iter().zip(results.chunks_exact(parts)))
        .map(|(candidate, runs)| {
            let losses: Vec<Option<f64>> = runs.iter().map(|run| run.loss).collect();
            let all: Option<Vec<f64>> = losses.iter().copied().collect();
            let claims: Option<Vec<f64>> = runs.iter().map(|run| run.claimed).collect();
            Tried {
                label: candidate.label.clone(),
                losses,
                loss: all.and_then(|losses| mean(&losses)),
                claimed: claims.and_then(|claims| mean(&claims)),
            }
        })
        .collect();
    let measured = tried.iter().enumerate();
    let measured = measured.filter_map(|(idx, tried)| Some((idx, tried.loss?)));
    Selected {
        best: measured
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(idx, _)| idx),
        calls: results.iter().map(|run| run.calls).sum(),
        failed: results.iter().map(|run| run.failed).sum(),
        tried,
    }
}
