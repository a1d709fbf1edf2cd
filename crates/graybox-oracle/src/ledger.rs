//! Every answer in one SQLite file: the cache, the memory a broken run goes on from, the start of the next one,
//! and a table to be opened with any tool.
//!
//! An answer is committed when it arrives, before anything learns from it, so that whatever happens to the
//! process, nothing that was paid for is lost. The file is in write-ahead mode: a commit survives the death of
//! the process at any moment. A loss of power may take the last answers with it, never the file.

mod lab;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, params};

pub use lab::{Lab, Wanted};

use crate::{
    Answer, Answered, Asking, Description, Dims, Outcome, Purpose, Recall, Record, RecordError,
    RowError,
};

/// What to do with a row that has been answered before, by this run or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// The oracle answers the same row with the same outcome: take the old answer. A row that timed out,
    /// crashed or could not be read is asked again.
    #[default]
    Recall,
    /// The oracle is noisy, and asking again is how its noise is met: ask again.
    AskAgain,
}

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

/// Every answer of one oracle, in a file.
///
/// ```
/// use graybox_oracle::{Budget, Description, Dims, FnOracle, Ledger, Metered, Queries, Rows};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ledger.sqlite");
/// let dims = Dims::new(1, 1, 1);
/// let described = Description::of_sizes("sum", dims);
/// let x = Rows::from_vec(1, vec![1.0, 2.0])?;
///
/// // The same run twice, as if the first had been broken off.
/// for replayed in [0, 2] {
///     let sum = FnOracle::new(dims, |x, u| [x[0] + u[0]]);
///     let ledger = Ledger::open(&path, &described)?;
///     let mut metered = Metered::new(sum, Budget::new(10)?).with_record(ledger, "seed 1")?;
///     assert_eq!(metered.evaluate(Queries::new(&x, &x)?)?, [Ok(vec![2.0]), Ok(vec![4.0])]);
///     assert_eq!((metered.calls(), metered.replayed()), (2, replayed));
/// }
/// assert_eq!(Ledger::open(&path, &described)?.answers()?.y().as_slice(), [2.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ledger {
    path: String,
    db: Connection,
    dims: Dims,
    duplicates: Duplicates,
    by_hand: bool,
    run: Option<Run>,
}

/// How long another process may take to write.
const BUSY: Duration = Duration::from_secs(10);

/// The run that is going on.
struct Run {
    id: i64,
    /// Positions from here on were never answered.
    frontier: u64,
    /// Held for as long as the run goes on; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Ledger {
    /// Opens the ledger of an oracle, or makes an empty one.
    ///
    /// # Errors
    /// If the file is the ledger of another oracle, or no ledger at all.
    pub fn open(path: impl AsRef<Path>, oracle: &Description) -> Result<Self, LedgerError> {
        let path = path.as_ref().display().to_string();
        let file = |error: rusqlite::Error| LedgerError::File {
            path: path.clone(),
            reason: error.to_string(),
        };
        let mut db = Connection::open(&path).map_err(file)?;
        db.busy_timeout(BUSY).map_err(file)?;
        let begun = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let begun = begun.map_err(|error| schema::unreadable(&path, error))?;
        if schema::is_blank(&begun).map_err(file)? {
            schema::create(&begun, oracle).map_err(file)?;
        } else {
            schema::check(&begun, &path, oracle)?;
        }
        begun.commit().map_err(file)?;
        db.pragma_update(None, "journal_mode", "WAL")
            .map_err(file)?;
        // Commits are in the system's hands at once, and on the disk at the next of SQLite's checkpoints.
        db.pragma_update(None, "synchronous", "NORMAL")
            .map_err(file)?;
        Ok(Self::of(path, db, oracle))
    }

    /// The [`answers`](Self::answers) of a ledger that must be there and is left as it is. A run may be using it.
    ///
    /// # Errors
    /// If there is no such file, or it is the ledger of another oracle, or no ledger at all.
    pub fn answers_in(
        path: impl AsRef<Path>,
        oracle: &Description,
    ) -> Result<Answered, LedgerError> {
        let path = path.as_ref().display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags);
        let db = db.map_err(|error| schema::unreadable(&path, error))?;
        let patient = db.busy_timeout(BUSY);
        patient.map_err(|error| schema::unreadable(&path, error))?;
        schema::check(&db, &path, oracle)?;
        Self::of(path, db, oracle).answers()
    }

    fn of(path: String, db: Connection, oracle: &Description) -> Self {
        Self {
            path,
            db,
            dims: oracle.dims(),
            duplicates: Duplicates::default(),
            by_hand: false,
            run: None,
        }
    }

    /// What to do with a row that has been answered before.
    #[must_use]
    pub fn with_duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// All answers that were given for the policy to learn from, of whatever run: what a new run can start warm
    /// with. Failed rows are not among them.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn answers(&self) -> Result<Answered, LedgerError> {
        let read = || -> Result<Answered, Fault> {
            let mut answered = Answered::new(self.dims);
            let all =
                "SELECT x, u, y FROM call WHERE y IS NOT NULL AND purpose = 'train' ORDER BY id";
            let mut all = self.db.prepare(all)?;
            let mut rows = all.query(())?;
            while let Some(row) = rows.next()? {
                let column =
                    |column| -> Result<_, Fault> { Ok(numbers(&row.get::<_, String>(column)?)?) };
                answered.push(&column(0)?, &column(1)?, &column(2)?)?;
            }
            Ok(answered)
        };
        read().map_err(|fault| self.file(&fault))
    }

    /// How many answers it holds, failures and scores included.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn len(&self) -> Result<u64, LedgerError> {
        let count = "SELECT count(*) FROM call";
        let count = self.db.query_one(count, (), |row| row.get::<_, u64>(0));
        count.map_err(|error| self.file(&error))
    }

    /// Whether it holds no answer yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_empty(&self) -> Result<bool, LedgerError> {
        Ok(self.len()? == 0)
    }

    fn file(&self, reason: &impl ToString) -> LedgerError {
        LedgerError::File {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    fn lost(&self, reason: &impl ToString) -> RecordError {
        RecordError(self.file(reason).to_string())
    }

    fn take_up(&self, key: &str) -> Result<Run, LedgerError> {
        let lock = format!("{}.lock", self.path);
        let lock = File::create(lock).map_err(|error| self.file(&error))?;
        if lock.try_lock().is_err() {
            return Err(LedgerError::InUse(self.path.clone()));
        }
        let find = || -> rusqlite::Result<(i64, u64)> {
            let add = "INSERT INTO run (key) VALUES (?1) ON CONFLICT DO NOTHING";
            self.db.execute(add, [key])?;
            let find =
                "SELECT id, (SELECT coalesce(max(position) + 1, 0) FROM call WHERE run = run.id)
                        FROM run WHERE key = ?1";
            self.db
                .query_one(find, [key], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (id, frontier) = find().map_err(|error| self.file(&error))?;
        Ok(Run {
            id,
            frontier,
            _lock: lock,
        })
    }

    /// The answer this run was given at this position, unless it asks for another row there now.
    fn replay(&mut self, position: u64, x: &str, u: &str) -> Result<Option<Outcome>, Fault> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        if position >= run.frontier {
            return Ok(None);
        }
        let at = "SELECT y, error, reason, x, u FROM call WHERE run = ?1 AND position = ?2";
        let mut at = self.db.prepare_cached(at)?;
        let mut found = at.query(params![run.id, position])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        if row.get_ref(3)?.as_str()? == x && row.get_ref(4)?.as_str()? == u {
            return Ok(Some(outcome(row)?));
        }
        // The run goes another way than it did, as it may under another version of the program. The answers
        // from here on stay, but they have no place in this run any more.
        let rest = params![run.id, position];
        let part = "UPDATE call SET position = NULL WHERE run = ?1 AND position >= ?2";
        self.db.execute(part, rest)?;
        let part = "DELETE FROM wanted WHERE run = ?1 AND position >= ?2";
        self.db.execute(part, rest)?;
        run.frontier = position;
        Ok(None)
    }

    /// The answer to the same row anywhere, if asking again would bring the same.
    fn duplicate(&self, x: &str, u: &str) -> Result<Option<Outcome>, Fault> {
        let same = "SELECT y, error, reason FROM call
                    WHERE u = ?1 AND x = ?2 AND (error IS NULL OR error IN ('invalid', 'failed'))
                    ORDER BY id LIMIT 1";
        let mut same = self.db.prepare_cached(same)?;
        let mut found = same.query(params![u, x])?;
        found.next()?.map(|row| outcome(row)).transpose()
    }

    fn recall_all(&mut self, asking: &Asking<'_>) -> Result<Vec<Recall>, Fault> {
        let mut first = HashMap::new();
        let mut recalled = Vec::with_capacity(asking.queries.len());
        for (row, (x, u)) in asking.queries.iter().enumerate() {
            let finite = x.iter().chain(u).all(|value| value.is_finite());
            let (x, u) = (text(x), text(u));
            let recall = if let Some(outcome) = self.replay(asking.position + row as u64, &x, &u)? {
                // A row like it in the same batch took its answer, and was not kept itself.
                first.entry((x, u)).or_insert(row);
                Recall::Replayed(outcome)
            } else if self.duplicates == Duplicates::AskAgain || !finite {
                Recall::Unknown
            } else if let Some(outcome) = self.duplicate(&x, &u)? {
                Recall::Duplicate(outcome)
            } else {
                match first.entry((x, u)) {
                    Entry::Occupied(earlier) => Recall::SameAs(*earlier.get()),
                    Entry::Vacant(none) => {
                        none.insert(row);
                        Recall::Unknown
                    }
                }
            };
            if self.by_hand && recall == Recall::Unknown {
                self.want(asking, row)?;
            }
            recalled.push(recall);
        }
        Ok(recalled)
    }

    fn insert(&self, asking: &Asking<'_>, answer: &Answer) -> Result<(), Fault> {
        let run = self.run.as_ref().map(|run| run.id);
        let (y, error, reason) = match &answer.outcome {
            Ok(y) => (Some(text(y)), None, None),
            Err(error) => {
                let (kind, reason) = kind(error);
                (None, Some(kind), Some(reason))
            }
        };
        let add = "INSERT INTO call
                   (run, position, round, purpose, x, u, y, error, reason, seconds, worker)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.db.prepare_cached(add)?.execute(params![
            run,
            asking.position + answer.row as u64,
            asking.round,
            purpose(asking.purpose),
            text(asking.queries.x().row(answer.row)),
            text(asking.queries.u().row(answer.row)),
            y,
            error,
            reason,
            answer.seconds,
            answer.worker.map(|worker| worker as u64),
        ])?;
        Ok(())
    }
}

impl Record for Ledger {
    fn begin(&mut self, run: &str) -> Result<(), RecordError> {
        let run = self.take_up(run);
        self.run = Some(run.map_err(|error| RecordError(error.to_string()))?);
        Ok(())
    }

    fn recall(&mut self, asking: &Asking<'_>) -> Result<Vec<Recall>, RecordError> {
        let recalled = self.recall_all(asking);
        recalled.map_err(|fault| self.lost(&fault))
    }

    fn keep(&mut self, asking: &Asking<'_>, answer: &Answer) -> Result<(), RecordError> {
        let kept = self.insert(asking, answer);
        kept.map_err(|fault| self.lost(&fault))
    }
}

/// What can go wrong inside, before it is known which file it was.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("a text in it cannot be read: {0}")]
    Text(#[from] rusqlite::types::FromSqlError),
    #[error("a list of numbers in it cannot be read: {0}")]
    Numbers(#[from] serde_json::Error),
    #[error("a row in it has the wrong width: {0}")]
    Width(#[from] crate::ShapeError),
}

/// Numbers as a JSON list that keeps every bit of those that are finite.
fn text(values: &[f64]) -> String {
    serde_json::to_string(values).expect("a list of numbers is JSON")
}

fn numbers(text: &str) -> Result<Vec<f64>, serde_json::Error> {
    serde_json::from_str(text)
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Train => "train",
        Purpose::Score => "score",
    }
}

/// The outcome in a row that begins with y, error and reason.
fn outcome(row: &Row<'_>) -> Result<Outcome, Fault> {
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
fn kind(error: &RowError) -> (&'static str, &str) {
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
