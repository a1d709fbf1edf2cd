//! Reasons, one per thing a caller could do about it.

use serde::{Deserialize, Serialize};

use crate::RecordError;

/// Why one row has no outcome. The other rows of the batch are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowError {
    /// The pair (x, u) lies outside the oracle's domain.
    #[error("the oracle is not defined at this context and action")]
    Invalid,
    /// The oracle tried and reported that it could not answer.
    #[error("the oracle failed: {0}")]
    Failed(String),
    /// No answer within the time limit.
    #[error("the oracle did not answer within its time limit: raise time_limit if it is only slow")]
    TimedOut,
    /// The program or server behind the oracle died while it held this row.
    #[error("the oracle died: {0}")]
    Crashed(String),
    /// The answer could not be used: wrong width, not finite, or not in the protocol.
    #[error("the oracle's answer cannot be used: {0}")]
    Malformed(String),
    /// The run was stopped before the oracle was given this row. Nothing was paid for it.
    #[error("the run was stopped before this call was made")]
    Cancelled,
    /// Nobody is left who could be asked. Nothing was paid for it, and asking again is of no use.
    #[error("nobody is left to ask: {0}")]
    Unavailable(String),
}

impl RowError {
    /// Whether the oracle never saw the row, so that nothing was paid for it.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Unavailable(_))
    }
}

/// Rows that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A flat buffer that is not a whole number of rows.
    #[error(
        "{len} values do not make whole rows of width {width}: give a multiple of a width above 0"
    )]
    NotWholeRows {
        /// Values in the buffer.
        len: usize,
        /// Width of a row.
        width: usize,
    },
    /// A row of the wrong width.
    #[error("row has {found} values, expected {expected}")]
    Width {
        /// Values the row has.
        found: usize,
        /// Values it should have.
        expected: usize,
    },
    /// Contexts and actions in different numbers.
    #[error("{x} contexts but {u} actions: a query needs one of each")]
    Unpaired {
        /// Number of contexts.
        x: usize,
        /// Number of actions.
        u: usize,
    },
    /// Sensitivities in another number than the rows they are of.
    #[error("{found} rows of sensitivities for {rows} rows: each row needs its own")]
    Sensitivities {
        /// Number of rows.
        rows: usize,
        /// Rows of sensitivities.
        found: usize,
    },
}

/// Calls that cannot be paid for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A budget of no calls at all.
    #[error("a budget of 0 oracle calls cannot train anything: allow at least 1 call")]
    Zero,
    /// More rows asked than are left. None of them was evaluated.
    #[error(
        "{asked} oracle calls asked for but only {left} are left of the budget: ask for fewer rows, or allow more calls"
    )]
    Exceeded {
        /// Rows in the refused batch.
        asked: u64,
        /// Calls that are left.
        left: u64,
    },
}

/// Why rows were not asked, or their answers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// They cannot be paid for.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// They do not fit together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Their answers cannot be kept, or not be looked up.
    #[error(transparent)]
    Record(#[from] RecordError),
}
