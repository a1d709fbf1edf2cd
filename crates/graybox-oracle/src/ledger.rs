//! Every answer in one SQLite file: the cache, the memory a broken run goes on from, the start of the next one,
//! and a table to be opened with any tool.
//!
//! An answer is committed when it arrives, before anything learns from it, so that whatever happens to the
//! process, nothing that was paid for is lost. The file is in write-ahead mode: a commit survives the death of
//! the process at any moment. A loss of power may take the last answers with it, never the file.

mod columns;
mod error;
mod lab;
mod recall;
mod schema;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

pub use error::LedgerError;
pub use lab::{Lab, Wanted};

use crate::{Answer, Answered, Asking, Description, Dims, Recall, Record, RecordError};
use columns::{kind, numbers, purpose, text};
use error::Fault;

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
            schema::migrate(&begun, oracle).map_err(file)?;
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

    fn note(&mut self, round: u64, positions: &[u64]) -> Result<(), RecordError> {
        let noted = self.note_learned(round, positions);
        noted.map_err(|fault| self.lost(&fault))
    }

    fn noted(&mut self, round: u64) -> Result<Option<Vec<u64>>, RecordError> {
        self.learned(round).map_err(|fault| self.lost(&fault))
    }
}
