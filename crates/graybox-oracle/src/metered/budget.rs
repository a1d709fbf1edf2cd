//! What may be asked of an oracle, and what has been.

use crate::BudgetError;

/// How many oracle calls may be made. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// Allows this many calls.
    ///
    /// # Errors
    /// If `calls` is zero.
    pub fn new(calls: u64) -> Result<Self, BudgetError> {
        if calls == 0 {
            return Err(BudgetError::Zero);
        }
        Ok(Self(calls))
    }

    /// The number of calls.
    pub fn calls(self) -> u64 {
        self.0
    }
}

/// What has been asked of an oracle so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Meter {
    /// Calls charged.
    pub calls: u64,
    /// Charged calls that failed.
    pub failed: u64,
    /// Rows evaluated for scores only, never charged.
    pub scored: u64,
    /// Rows of both kinds the oracle was given by this run, in this process or before it was broken off.
    pub paid: u64,
    /// Rows of both kinds the oracle was spared, because the record held the answer of another call for the
    /// same row.
    pub duplicates: u64,
    /// Rows asked for in all, whatever became of them: the place of the next one in the run.
    pub position: u64,
    /// Seconds spent waiting for the oracle in calls that were charged.
    pub seconds: f64,
}
