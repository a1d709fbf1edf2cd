//! Rows and answers as the columns of a ledger hold them.

use rusqlite::Row;

use super::error::Fault;
use crate::{Outcome, Purpose, RowError};

/// Numbers as a JSON list that keeps every bit of those that are finite.
pub(super) fn text(values: &[f64]) -> String {
    serde_json::to_string(values).expect("a list of numbers is JSON")
}

pub(super) fn numbers(text: &str) -> Result<Vec<f64>, serde_json::Error> {
    serde_json::from_str(text)
}

pub(super) fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Train => "train",
        Purpose::Score => "score",
        Purpose::Gradient => "gradient",
    }
}

/// The outcome in a row that begins with y, error and reason.
pub(super) fn outcome(row: &Row<'_>) -> Result<Outcome, Fault> {
    if let Some(y) = row.get_ref(0)?.as_str_or_null()? {
        return Ok(Ok(numbers(y)?));
    }
    let kind = row.get_ref(1)?.as_str_or_null()?.unwrap_or_default();
    let reason = row.get::<_, Option<String>>(2)?.unwrap_or_default();
    Ok(Err(match kind {
        "invalid" => RowError::Invalid,
        "timed_out" => RowError::TimedOut,
        "crashed" => RowError::Crashed(reason),
        "malformed" => RowError::Malformed(reason),
        _ => RowError::Failed(reason),
    }))
}

/// The word and the reason by which [`outcome`] finds an error again.
pub(super) fn kind(error: &RowError) -> (&'static str, &str) {
    match error {
        RowError::Invalid => ("invalid", ""),
        RowError::Failed(reason) => ("failed", reason),
        RowError::TimedOut => ("timed_out", ""),
        RowError::Crashed(reason) => ("crashed", reason),
        RowError::Malformed(reason) => ("malformed", reason),
        // The meter keeps no row that was never asked.
        RowError::Cancelled | RowError::Unavailable(_) => ("failed", "never asked"),
    }
}
