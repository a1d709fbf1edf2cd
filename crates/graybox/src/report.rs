//! What a run came to.

use graybox_oracle::{Outcome, Rows};
use serde::Serialize;

use crate::Diagnosis;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The budget is spent, or too little of it is left for one more round.
    BudgetSpent,
    /// Somebody asked it to stop.
    Stopped,
    /// Too many calls failed: see [`FailureLimit`](crate::FailureLimit).
    OracleFails,
    /// Nobody is left who could be asked, or the answers have yet to be told.
    OracleGone,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// Why it ended.
    pub ending: Ending,
    /// The same in words, where there is more to say.
    pub reason: Option<String>,
    /// Rounds done.
    pub rounds: u64,
    /// Calls charged.
    pub oracle_calls: u64,
    /// Charged calls that failed.
    pub failed_calls: u64,
    /// Rows evaluated for scores, not charged.
    pub scoring_calls: u64,
    /// Rows of both kinds that the oracle was given by this run, in this process or an earlier one.
    pub paid_calls: u64,
    /// Rows of both kinds that the oracle was spared, since the ledger knew the same row from another call.
    pub duplicate_calls: u64,
    /// Rows of both kinds that were paid for before the run was broken off, and came from the ledger now.
    pub replayed_calls: u64,
    /// Mean true loss on the held-out rows before training, where there are any.
    pub true_loss_before: Option<f64>,
    /// The same after it.
    pub true_loss_after: Option<f64>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of them spent waiting for the oracle.
    pub oracle_s: f64,
    /// What kept it from learning, if anything stood out.
    pub diagnoses: Vec<Diagnosis>,
}

/// The policy's actions on the held-out rows and what came of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The actions, `[n, d_u]`.
    pub u: Rows,
    /// An outcome for each.
    pub outcomes: Vec<Outcome>,
}
