//! Why a ledger cannot be used.

/// Why a file cannot be used as a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It holds the answers of another oracle.
    #[error(
        "the ledger {path} holds answers of {kept}, not of {asked}: give this run a ledger of its own"
    )]
    OtherOracle {
        /// The file.
        path: String,
        /// The oracle it belongs to.
        kept: String,
        /// The oracle it was opened for.
        asked: String,
    },
    /// It is not a ledger at all.
    #[error("{0} is not a ledger: give another path")]
    Foreign(String),
    /// It was written by a later version.
    #[error(
        "the ledger {path} has schema version {found}, this program knows up to {known}: use a newer program"
    )]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// The latest version known here.
        known: i64,
    },
    /// Another process is training with it.
    #[error(
        "the ledger {0} is in use by another run: wait for it to end, or give this run a ledger of its own"
    )]
    InUse(String),
    /// The file cannot be read or written.
    #[error(
        "the ledger {path} cannot be read or written: {reason}; its folder must be there, open to this program, and have room"
    )]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// An outcome was told for a row that nobody waits for.
    #[error(
        "row {0} is not wanted: it has been told already, or its run now goes another way; ask for the wanted rows anew"
    )]
    NotWanted(i64),
    /// An outcome was told that is none. The row is still wanted.
    #[error("row {id}: {reason}; tell it again, or tell why it has no outcome")]
    BadOutcome {
        /// The row.
        id: i64,
        /// What is wrong with the outcome.
        reason: String,
    },
}

/// What can go wrong inside, before it is known which file it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("a text in it cannot be read: {0}")]
    Text(#[from] rusqlite::types::FromSqlError),
    #[error("a list of numbers in it cannot be read: {0}")]
    Numbers(#[from] serde_json::Error),
    #[error("a row in it has the wrong width: {0}")]
    Width(#[from] crate::ShapeError),
}
