//! What an entry came to, alone and beside its references.

use graybox::oracle::Dims;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RaceError;
use crate::white_box::{self, WhiteBoxReplay};

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// What was to be learned.
    pub task: String,
    /// What trained it.
    pub algorithm: String,
    /// Decides every random choice.
    pub seed: u64,
    /// Where the networks lived.
    pub device: String,
    /// Widths of context, action and outcome.
    #[serde(flatten)]
    pub dims: Dims,
    /// Calls that were granted.
    pub calls: u64,
    /// Calls charged.
    pub oracle_calls: u64,
    /// Charged calls that failed.
    pub failed_calls: u64,
    /// Calls for scores, not charged.
    pub scoring_calls: u64,
    /// Mean noise-free loss on fresh contexts before training.
    pub true_loss_before: Option<f64>,
    /// The same after it, over the contexts that have an outcome.
    pub true_loss_after: Option<f64>,
    /// Share of the fresh contexts at which the trained policy's action has no outcome.
    pub undefined_share: f64,
    /// Share of the last 200 calls that were answered, where any call failed.
    pub last_valid_share: Option<f64>,
    /// Mean cosine between the surrogate's Jacobian and the true one at the trained policy's actions.
    pub jacobian_cosine: Option<f64>,
    /// Rounds done.
    pub rounds: u64,
    /// Whether somebody stopped it before its calls were spent.
    pub stopped: bool,
    /// Calls per row of a batch, what the steps follow, and how that is biased.
    pub facts: Value,
    /// What kept it from learning, in words.
    pub diagnoses: Vec<String>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of them spent in the oracle.
    pub oracle_s: f64,
    /// (calls, true loss) during the run.
    pub curve: Vec<(u64, f64)>,
}

/// What a round takes, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timings {
    /// Milliseconds of the whole run, closing phase included, per round.
    pub round_ms: f64,
    /// Share of them in the oracle.
    pub oracle: f64,
    /// Share of them in the networks and everything else around the oracle.
    pub networks: f64,
}

impl Timings {
    fn of(finish: &Finish) -> Self {
        let oracle = finish.oracle_s / finish.wall_s;
        Self {
            round_ms: 1e3 * finish.wall_s / finish.rounds.max(1) as f64,
            oracle,
            networks: 1.0 - oracle,
        }
    }
}

/// A finish beside what the true gradient reaches with as many calls and the same seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The run itself.
    #[serde(flatten)]
    pub finish: Finish,
    /// What a round took.
    pub timings: Timings,
    /// The true gradient, every call used once.
    pub white_box_loss: Option<f64>,
    /// The true gradient, every call used many times, with the better optimizer of two.
    pub white_box_replay_loss: Option<f64>,
    /// The task's [floor](crate::Task::floor), where it is known.
    pub floor: Option<f64>,
    /// The best loss that others have reported.
    pub published: Option<f64>,
    /// Who, and how.
    pub published_by: Option<String>,
}

impl Standing {
    /// Looks up a run's references among all finishes.
    ///
    /// # Errors
    /// If its task is unknown.
    pub fn new(finish: &Finish, all: &[Finish]) -> Result<Self, RaceError> {
        let task = super::find(&finish.task)?;
        let published = task.published().first();
        let reference = |name: &str| {
            let same = |other: &&Finish| {
                other.algorithm == name
                    && other.task == finish.task
                    && (other.calls, other.seed) == (finish.calls, finish.seed)
            };
            all.iter().find(same)?.true_loss_after
        };
        Ok(Self {
            timings: Timings::of(finish),
            white_box_loss: reference(white_box::NAME),
            white_box_replay_loss: (WhiteBoxReplay::NAMES.into_iter())
                .filter_map(reference)
                .reduce(f64::min),
            floor: task.floor(),
            published: published.map(|published| published.loss),
            published_by: published.map(|by| format!("{}, {}", by.method, by.source)),
            finish: finish.clone(),
        })
    }
}
