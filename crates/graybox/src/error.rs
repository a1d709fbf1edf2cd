//! Errors, one per thing a caller could do about it.

use graybox_model::{MlpConfig, ModelError};
use graybox_oracle::{AskError, BudgetError, RecordError, ShapeError};

/// A setting outside its meaning. Refused before any oracle call is paid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct ConfigError {
    /// The setting, as a path: `joint.lambda`.
    pub field: String,
    /// What it was set to.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl ConfigError {
    /// Says that `field` was `found` where `expected` was expected.
    pub fn new(
        field: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}

/// Requires a positive finite number.
pub(crate) fn positive(field: &str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ConfigError::new(field, value, "a positive finite number"))
}

/// Requires a finite number that is not negative.
pub(crate) fn not_negative(field: &str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(ConfigError::new(
        field,
        value,
        "a finite number of at least 0",
    ))
}

/// Requires units in every hidden layer.
pub(crate) fn units(field: &str, network: &MlpConfig) -> Result<(), ConfigError> {
    match network.hidden.iter().position(|units| *units == 0) {
        Some(layer) => {
            let field = format!("{field}.hidden[{layer}]");
            Err(ConfigError::new(field, 0, "at least 1 unit"))
        }
        None => Ok(()),
    }
}

/// Requires at least one.
pub(crate) fn at_least_one(field: &str, value: usize) -> Result<(), ConfigError> {
    if value >= 1 {
        return Ok(());
    }
    Err(ConfigError::new(field, value, "at least 1"))
}

/// Training data that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read at all.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A column that was asked for is not in the header.
    #[error("{path}: no column {column:?}; the header has {header}")]
    MissingColumn {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The columns there are.
        header: String,
    },
    /// A line with more or fewer fields than the header.
    #[error("{path} line {line}: {found} fields where the header has {expected}")]
    Fields {
        /// The file.
        path: String,
        /// Line in the file, from 1.
        line: u64,
        /// Fields on the line.
        found: u64,
        /// Fields of the header.
        expected: u64,
    },
    /// A field that is not a finite number.
    #[error("{path} line {line}, column {column:?}: {found:?} is not a finite number")]
    NotANumber {
        /// The file.
        path: String,
        /// Line in the file, from 1.
        line: u64,
        /// The column.
        column: String,
        /// The field as it stands.
        found: String,
    },
    /// A value in memory that is not finite.
    #[error("row {row} of {what} holds {value}, expected finite numbers")]
    NotFinite {
        /// `x` or `target`.
        what: &'static str,
        /// The row, from 0.
        row: usize,
        /// The value.
        value: f64,
    },
    /// Contexts and targets in different numbers.
    #[error("{x} contexts but {target} targets: a row needs one of each")]
    Unpaired {
        /// Number of contexts.
        x: usize,
        /// Number of targets.
        target: usize,
    },
    /// No rows.
    #[error("no rows to train on")]
    Empty,
    /// A split that leaves one side without rows.
    #[error("cannot hold out {held_out} of {rows} rows: both sides need at least one")]
    Split {
        /// Rows to be held out.
        held_out: usize,
        /// Rows there are.
        rows: usize,
    },
}

/// Why a round could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The budget does not cover what the round wanted to ask.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// An answer could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Rows that do not fit together: a policy or surrogate of the wrong width.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The policy chose an action that is not finite: the training has diverged.
    #[error(
        "the policy's action for training row {row} is {value}: training has diverged; lower the \
         learning rate"
    )]
    Diverged {
        /// Row of the data set.
        row: usize,
        /// The action.
        value: f64,
    },
    /// The method needs the oracle's own gradient.
    #[error(
        "the oracle gives no gradient: it is a black box, or nobody has allowed it to be asked (`gradient` in the \
         settings of a UM-Bridge oracle); choose a method for black boxes"
    )]
    NoGradient,
    /// A saved state that does not fit this algorithm.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<AskError> for StepError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Budget(error) => error.into(),
            AskError::Shape(error) => error.into(),
            AskError::Record(error) => error.into(),
        }
    }
}

/// A saved state that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing saved under this name.
    #[error("the checkpoint has no entry {0:?}: it was written by another configuration")]
    Missing(String),
    /// An entry that cannot be decoded.
    #[error("checkpoint entry {name:?} cannot be read: {reason}")]
    Unreadable {
        /// The entry.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file itself.
    #[error("checkpoint {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting outside its meaning.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A network that cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data, the oracle and the actions do not fit together.
    #[error(
        "{what} has {here} columns in the training problem and {there} in {other}: they must agree"
    )]
    Width {
        /// What does not fit.
        what: &'static str,
        /// Its width in the data and the actions.
        here: usize,
        /// What it should fit.
        other: &'static str,
        /// The width there.
        there: usize,
    },
    /// The oracle went while settings were compared.
    #[error(
        "the oracle was lost while settings were compared, so that nothing can be said of them: {0}"
    )]
    OracleGone(String),
    /// An action whose range the oracle does not state.
    #[error(
        "the oracle states no bounds for action {0:?}: give it a \"lo\" and a \"hi\" in its description"
    )]
    Unbounded(String),
    /// Calls of an earlier run for an algorithm that has no use for them.
    #[error(
        "{0} learns from its own calls alone, so a warm start would change nothing: leave it out, or choose an algorithm \
         that keeps its calls (anchored, joint with the split routing, two_stage)"
    )]
    NoWarmStart(&'static str),
    /// An asynchronous run of an algorithm whose rounds cannot be taken apart.
    #[error(
        "{0} learns from each call at the policy that made it, so that it has to wait for its answers: leave out \
         `asynchronous`, or choose an algorithm that learns from calls of any age (anchored)"
    )]
    Waits(&'static str),
    /// A round failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The record of answers cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The checkpoint is of another run.
    #[error(
        "the checkpoint {0} is of a run with other settings or other data: give this run another file, or delete it to \
         start afresh"
    )]
    OtherRun(String),
}
