//! One run of a race.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::prelude::*;
use graybox::model::{MlpPolicy, Policy};
use graybox::oracle::{Dims, Oracle, Outcome, Queries, Rows};
use graybox::{
    AlgorithmConfig, ConfigError, Dataset, Ending, Observer, Stop, TrainConfig, TrainError, Trainer,
};
use serde::{Deserialize, Serialize};

use super::{Finish, RaceError, find};
use crate::white_box::{self, ReplayConfig, WhiteBox, WhiteBoxConfig, WhiteBoxReplay};
use crate::{Task, TaskOracle, Truth};

/// What trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// An algorithm of the registry, which sees the oracle alone.
    Algorithm(AlgorithmConfig),
    /// The true gradient, every call used once.
    WhiteBox(WhiteBoxConfig),
    /// The true gradient, every call used many times.
    WhiteBoxReplay(ReplayConfig),
}

impl Contender {
    /// The name it is chosen by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Algorithm(config) => config.name(),
            Self::WhiteBox(_) => white_box::NAME,
            Self::WhiteBoxReplay(config) => config.name(),
        }
    }
}

/// A task, what trains on it, with how many calls and which seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The task's name.
    pub task: String,
    /// What trains.
    pub contender: Contender,
    /// Training rows; as many as the task says if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Calls, seed and everything else about the run; its `algorithm` has no effect.
    pub config: TrainConfig,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, seed) = (self.config.calls, self.config.seed);
        let (task, name) = (&self.task, self.algorithm());
        write!(f, "{task}, {name}, {calls} calls, seed {seed}")
    }
}

/// Fresh contexts that a score is taken on.
const SCORED_CONTEXTS: usize = 2_048;

/// Keeps the contexts of scores apart from those of training.
const SCORED: u64 = 0x0073_636f_7265;

/// Calls at the end of a run whose failures are counted apart.
const TAIL: usize = 200;

impl Entry {
    /// The name of what trains.
    pub fn algorithm(&self) -> &'static str {
        self.contender.name()
    }

    /// The run's settings as the trainer takes them.
    fn train_config(&self) -> TrainConfig {
        let mut config = self.config.clone();
        match &self.contender {
            Contender::Algorithm(algorithm) => config.algorithm = algorithm.clone(),
            Contender::WhiteBox(settings) => {
                config.batch = Some(settings.batch);
                config.optimizer = settings.optimizer;
                config.learning_rate = Some(settings.learning_rate);
            }
            Contender::WhiteBoxReplay(settings) => {
                config.batch = Some(settings.batch);
                config.learning_rate = Some(settings.learning_rate);
            }
        }
        config
    }

    /// Whether every setting is within its meaning.
    ///
    /// # Errors
    /// Names the setting that is not.
    pub fn check(&self) -> Result<(), RaceError> {
        if self.rows == Some(0) {
            return Err(ConfigError::new("rows", 0, "at least 1 training row").into());
        }
        Ok(self.train_config().check()?)
    }

    /// Runs it. `device` is reported under the name given with it.
    ///
    /// # Errors
    /// If the task is unknown or the run fails.
    pub fn run(
        &self,
        (device_name, device): (&str, &Device),
        stop: &Stop,
        observer: &mut dyn Observer,
    ) -> Result<Finish, RaceError> {
        let task = find(&self.task)?;
        let failed = |source| RaceError::Train {
            entry: self.to_string(),
            source,
        };
        let seed = self.config.seed;
        let scored = task.sample(SCORED_CONTEXTS, seed ^ SCORED);
        let tail = Tail::default();
        let mut trainer = self
            .trainer(&task, device, tail.clone())
            .map_err(failed)?
            .with_held_out(scored.clone())
            .with_truth(Truth(Arc::clone(&task)))
            .with_stop(stop.clone());
        let report = trainer.run(observer).map_err(failed)?;
        let curve = trainer.history().lines.iter();
        let curve = curve.filter_map(|line| Some((line.calls, line.held_out?)));
        let u = act(&trainer.policy(), scored.x(), device);
        Ok(Finish {
            task: self.task.clone(),
            algorithm: self.algorithm().to_string(),
            seed,
            device: device_name.to_string(),
            dims: task.dims(),
            calls: self.config.calls,
            oracle_calls: report.oracle_calls,
            failed_calls: report.failed_calls,
            scoring_calls: report.scoring_calls,
            true_loss_before: report.true_loss_before,
            true_loss_after: report.true_loss_after,
            undefined_share: undefined_share(&*task, scored.x(), &u),
            last_valid_share: (report.failed_calls > 0).then(|| tail.valid_share()),
            jacobian_cosine: jacobian_cosine(&*task, &trainer, &scored, &u, device),
            rounds: report.rounds,
            stopped: report.ending == Ending::Stopped,
            facts: serde_json::to_value(trainer.facts()).unwrap_or_default(),
            diagnoses: report.diagnoses.iter().map(ToString::to_string).collect(),
            wall_s: report.wall_s,
            oracle_s: report.oracle_s,
            curve: curve.collect(),
        })
    }

    fn trainer(
        &self,
        task: &Arc<dyn Task>,
        device: &Device,
        tail: Tail,
    ) -> Result<Trainer<MlpPolicy>, TrainError> {
        let config = self.train_config();
        let data = match self.rows {
            Some(rows) => task.sample(rows, config.seed),
            None => task.training(config.seed),
        };
        let problem = task.problem(data, device)?;
        let oracle = Watched {
            oracle: TaskOracle::new(Arc::clone(task), config.seed),
            tail,
        };
        let task = Arc::clone(task);
        match &self.contender {
            Contender::Algorithm(_) => Trainer::new(config, problem, oracle),
            Contender::WhiteBox(_) => {
                white_box::trainer(problem, config, oracle, Box::new(WhiteBox::new(task)))
            }
            Contender::WhiteBoxReplay(settings) => {
                let algorithm = WhiteBoxReplay::new(*settings, task, &problem);
                white_box::trainer(problem, config, oracle, Box::new(algorithm))
            }
        }
    }
}

/// Which of the last calls were answered.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<bool>>>);

impl Tail {
    fn see(&self, outcomes: &[Outcome]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(outcomes.iter().map(Result::is_ok));
        let surplus = seen.len().saturating_sub(TAIL);
        seen.drain(..surplus);
    }

    fn valid_share(&self) -> f64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|valid| **valid).count() as f64 / seen.len().max(1) as f64
    }
}

/// An oracle whose last outcomes are remembered.
struct Watched {
    oracle: TaskOracle,
    tail: Tail,
}

impl Oracle for Watched {
    fn dims(&self) -> Dims {
        self.oracle.dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        let outcomes = self.oracle.evaluate(queries);
        self.tail.see(&outcomes);
        outcomes
    }
}

fn upload(rows: &Rows, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = rows.as_slice().iter().map(|value| *value as f32).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows.width()]), device)
}

fn download(tensor: Tensor<2>) -> Rows {
    let [_, width] = tensor.dims();
    let values = tensor.into_data().try_to_vec_as::<f64>();
    let values = values.expect("float tensors convert to f64");
    Rows::from_vec(width, values).expect("a tensor is whole rows")
}

/// The policy's actions, on the host.
fn act(policy: &MlpPolicy, x: &Rows, device: &Device) -> Rows {
    download(policy.forward(upload(x, device)))
}

/// Share of the contexts at which the policy's action has no outcome.
fn undefined_share(task: &dyn Task, x: &Rows, u: &Rows) -> f64 {
    let undefined = |(x, u): &(&[f64], &[f64])| task.evaluate(x, u).is_err();
    x.iter().zip(u.iter()).filter(undefined).count() as f64 / x.len() as f64
}

/// Contexts that the surrogate's Jacobian is compared at.
const COMPARED: usize = 200;

/// Mean cosine between the Jacobian of the surrogate, by differences of its predictions, and the true one, at
/// the trained policy's actions; none where there is no surrogate or no truth.
fn jacobian_cosine(
    task: &dyn Task,
    trainer: &Trainer<MlpPolicy>,
    scored: &Dataset,
    u: &Rows,
    device: &Device,
) -> Option<f64> {
    let surrogate = trainer.surrogate()?;
    let first: Vec<usize> = (0..COMPARED.min(scored.len())).collect();
    let (x, u) = (scored.x().select(&first), u.select(&first));
    let Dims { u: d_u, y: d_y, .. } = task.dims();
    let scale = task.actions().affine();
    // `[n, d_y]` for each action.
    let columns: Vec<Rows> = (0..d_u)
        .map(|k| {
            let h = 0.01 * scale.scale()[k];
            let moved = |h: f64| {
                let mut u = u.clone();
                for row_idx in 0..u.len() {
                    u.row_mut(row_idx)[k] += h;
                }
                surrogate.predict(upload(&x, device), upload(&u, device))
            };
            download((moved(h) - moved(-h)) / (2.0 * h))
        })
        .collect();
    let units = task.outcome_scale();
    let cosine = |row_idx: usize| {
        let truth = task.jacobian(x.row(row_idx), u.row(row_idx))?;
        let (mut product, mut of_truth, mut of_model) = (0.0, 0.0, 0.0);
        for dim in 0..d_y {
            for k in 0..d_u {
                let unit = scale.scale()[k] / units[dim];
                let (truth, model) = (
                    truth[dim * d_u + k] * unit,
                    columns[k].row(row_idx)[dim] * unit,
                );
                product += truth * model;
                of_truth += truth * truth;
                of_model += model * model;
            }
        }
        (of_truth * of_model > 0.0).then(|| product / (of_truth * of_model).sqrt())
    };
    let cosines: Vec<f64> = (0..x.len()).filter_map(cosine).collect();
    (!cosines.is_empty()).then(|| cosines.iter().sum::<f64>() / cosines.len() as f64)
}
