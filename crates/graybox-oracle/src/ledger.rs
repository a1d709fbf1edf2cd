//! Every answer in one SQLite file: the cache, the memory a broken run goes on from, the start of the next one,
//! and a table to be opened with any tool.
//!
//! An answer is committed when it arrives, before anything learns from it, so that whatever happens to the
//! process, nothing that was paid for is lost. The file is in write-ahead mode: a commit survives the death of
//! the process at any moment. A loss of power may take the last answers with it, never the file.
//!
//! # Schema
//! Version 1, which the file states as its `user_version`; the `application_id` is 0x67726279.
//!
//! | table | one line for | columns |
//! |---|---|---|
//! | `oracle` | the one oracle of this ledger | `name`, `d_x`, `d_u`, `d_y`, `description` (JSON) |
//! | `run` | each run | `id`, `key`, `started` |
//! | `call` | each answer | `id`, `run`, `position`, `round`, `purpose`, `x`, `u`, `y`, `error`, `reason`, `seconds`, `worker`, `answered` |
//! | `wanted` | each row that [waits to be told](Lab) | `id`, `run`, `position`, `round`, `purpose`, `x`, `u`, `asked` |
//!
//! `x`, `u` and `y` are JSON lists that keep every bit of the numbers. `position` is the row's place among all
//! rows of its run, counted from 0; it is null for an answer its run no longer asks for. `round` is the round it
//! was asked in, and so the version of the policy. `purpose` is `train`, or `score` for a row that only measured
//! the policy. A failed row has no `y`; its `error` is `invalid`, `failed`, `timed_out`, `crashed` or
//! `malformed`, and `reason` says why. Times are UTC.
//!
//! The view `answer` has a column for every number, named as the oracle names it:
//! `SELECT u_focal_length, y_image_distance FROM answer WHERE error IS NULL`.

mod lab;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row, params};

pub use lab::{Lab, Wanted};

use crate::{
    Answer, Asking, Description, Dims, Outcome, Purpose, Recall, Record, RecordError, RowError,
    Rows,
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
    #[error("the ledger {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// An outcome was told for a row that nobody waits for, or in a wrong form.
    #[error("{0}")]
    Told(String),
}

/// Rows that were answered, in the order their answers came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The contexts, `[n, d_x]`.
    pub x: Rows,
    /// The actions, `[n, d_u]`.
    pub u: Rows,
    /// The outcomes, `[n, d_y]`.
    pub y: Rows,
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
/// assert_eq!(Ledger::open(&path, &described)?.answers()?.y.as_slice(), [2.0, 4.0]);
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

/// The run that is going on.
struct Run {
    id: i64,
    /// Positions from here on were never answered.
    frontier: u64,
    /// Held for as long as the run goes on; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

const VERSION: i64 = 1;
const APPLICATION: i64 = 0x6772_6279;

const SCHEMA: &str = "
    CREATE TABLE oracle (
        name TEXT NOT NULL, d_x INTEGER NOT NULL, d_u INTEGER NOT NULL, d_y INTEGER NOT NULL,
        description TEXT NOT NULL
    );
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, started TEXT NOT NULL DEFAULT (datetime('now'))
    );
    CREATE TABLE call (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, position INTEGER,
        round INTEGER NOT NULL, purpose TEXT NOT NULL CHECK (purpose IN ('train', 'score')),
        x TEXT NOT NULL, u TEXT NOT NULL, y TEXT, error TEXT, reason TEXT,
        seconds REAL, worker INTEGER, answered TEXT NOT NULL DEFAULT (datetime('now')),
        UNIQUE (run, position), CHECK ((y IS NULL) <> (error IS NULL))
    );
    CREATE INDEX call_row ON call (u, x);
    CREATE TABLE wanted (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, position INTEGER NOT NULL,
        round INTEGER NOT NULL, purpose TEXT NOT NULL, x TEXT NOT NULL, u TEXT NOT NULL,
        asked TEXT NOT NULL DEFAULT (datetime('now')), UNIQUE (run, position)
    );
";

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
        db.busy_timeout(Duration::from_secs(10)).map_err(file)?;
        let foreign = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::Foreign(path.clone()),
            _ => file(error),
        };
        let begun = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let begun = begun.map_err(foreign)?;
        let number = |name: &str| begun.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, version) = (
            number("application_id").map_err(file)?,
            number("user_version").map_err(file)?,
        );
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = begun
            .query_one(tables, (), |row| row.get(0))
            .map_err(file)?;
        if tables == 0 {
            create(&begun, oracle).map_err(file)?;
        } else if application != APPLICATION {
            return Err(LedgerError::Foreign(path));
        } else if version > VERSION {
            return Err(LedgerError::Version {
                path,
                found: version,
                known: VERSION,
            });
        } else {
            let kept = "SELECT description FROM oracle";
            let kept: String = begun.query_one(kept, (), |row| row.get(0)).map_err(file)?;
            let kept = Description::from_json(&kept).unwrap_or_default();
            if identity(&kept) != identity(oracle) {
                return Err(LedgerError::OtherOracle {
                    path,
                    kept: identity(&kept),
                    asked: identity(oracle),
                });
            }
        }
        begun.commit().map_err(file)?;
        db.pragma_update(None, "journal_mode", "WAL")
            .map_err(file)?;
        // Commits are in the system's hands at once, and on the disk at the next of SQLite's checkpoints.
        db.pragma_update(None, "synchronous", "NORMAL")
            .map_err(file)?;
        Ok(Self {
            path,
            db,
            dims: oracle.dims(),
            duplicates: Duplicates::default(),
            by_hand: false,
            run: None,
        })
    }

    /// What to do with a row that has been answered before.
    #[must_use]
    pub fn with_duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// All answers that were given for the policy to learn from, of whatever run: what a new run can be warmed
    /// up with. Failed rows are not among them.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn answers(&self) -> Result<Answered, LedgerError> {
        let read = || -> Result<Answered, Fault> {
            let mut answered = Answered {
                x: Rows::new(self.dims.x),
                u: Rows::new(self.dims.u),
                y: Rows::new(self.dims.y),
            };
            let all =
                "SELECT x, u, y FROM call WHERE y IS NOT NULL AND purpose = 'train' ORDER BY id";
            let mut all = self.db.prepare(all)?;
            let mut rows = all.query(())?;
            while let Some(row) = rows.next()? {
                let columns = [&mut answered.x, &mut answered.u, &mut answered.y];
                for (column, values) in columns.into_iter().enumerate() {
                    values.push(&numbers(&row.get::<_, String>(column)?)?)?;
                }
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

fn create(db: &Connection, oracle: &Description) -> rusqlite::Result<()> {
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)?;
    db.execute_batch(SCHEMA)?;
    let mut columns = String::new();
    for (letter, quantities) in [("x", &oracle.x), ("u", &oracle.u), ("y", &oracle.y)] {
        for (dim, quantity) in quantities.iter().enumerate() {
            let name = format!("{letter}_{}", quantity.name).replace('"', "");
            let nth = |name: &str| columns.contains(&format!("AS \"{name}\""));
            let name = if nth(&name) {
                format!("{name}_{dim}")
            } else {
                name
            };
            columns.extend([
                format!(", json_extract({letter}, '$[{dim}]')"),
                format!(" AS \"{name}\""),
            ]);
        }
    }
    db.execute_batch(&format!(
        "CREATE VIEW answer AS
         SELECT id, run, position, round, purpose{columns}, error, reason, seconds, worker, answered FROM call"
    ))?;
    let dims = oracle.dims();
    let description = serde_json::to_string(oracle)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    db.execute(
        "INSERT INTO oracle VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            oracle.name,
            dims.x as u64,
            dims.u as u64,
            dims.y as u64,
            description
        ],
    )?;
    Ok(())
}

/// What tells one oracle from another: its name, its sizes and what its numbers are called.
fn identity(oracle: &Description) -> String {
    let names = |quantities: &[crate::Quantity]| {
        let names: Vec<&str> = quantities.iter().map(|q| q.name.as_str()).collect();
        names.join(", ")
    };
    let (x, u, y) = (names(&oracle.x), names(&oracle.u), names(&oracle.y));
    format!("`{}` (x: {x}; u: {u}; y: {y})", oracle.name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Budget, FnOracle, Metered, Queries};

    const DIMS: Dims = Dims { x: 1, u: 1, y: 1 };

    fn described() -> Description {
        Description::of_sizes("difference", DIMS)
    }

    fn column(values: &[f64]) -> Rows {
        Rows::from_vec(1, values.to_vec()).unwrap()
    }

    fn ask(metered: &mut Metered, u: &[f64]) -> Vec<Outcome> {
        let (x, u) = (column(&vec![0.5; u.len()]), column(u));
        metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap()
    }

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("ledger.sqlite")
        }

        fn open(&self) -> Ledger {
            Ledger::open(self.path(), &described()).unwrap()
        }
    }

    /// An oracle that fails below zero, behind this ledger.
    fn metered(ledger: Ledger, run: &str) -> Metered {
        let oracle = FnOracle::new(DIMS, |x, u| {
            if u[0] < 0.0 {
                Err(RowError::Failed("no root".into()))
            } else {
                Ok([u[0] - x[0]])
            }
        });
        let plain = Metered::new(oracle, Budget::new(100).unwrap());
        plain.with_record(ledger, run).unwrap()
    }

    #[test]
    fn a_broken_run_is_replayed_and_charged_but_not_paid_again() {
        let bench = Bench::new();
        let u = [1.0 / 3.0, -1.0, 0.1];
        let mut first = metered(bench.open(), "a");
        let outcomes = ask(&mut first, &u);
        drop(first);

        let mut again = metered(bench.open(), "a");
        assert_eq!(ask(&mut again, &u), outcomes);
        assert_eq!(ask(&mut again, &[0.7]), [Ok(vec![0.7 - 0.5])]);
        let meter = again.meter();
        assert_eq!((meter.calls, meter.failed, again.replayed()), (4, 1, 3));
        assert_eq!(meter.paid, 4);
        assert_eq!(bench.open().len().unwrap(), 4);
    }

    #[test]
    fn the_same_row_is_free_for_another_run_and_within_a_batch() {
        let bench = Bench::new();
        ask(&mut metered(bench.open(), "a"), &[0.1, -1.0]);
        let mut other = metered(bench.open(), "b");
        ask(&mut other, &[0.9, 0.1, 0.9, -1.0]);
        let meter = other.meter();
        assert_eq!((meter.calls, meter.duplicates, meter.paid), (4, 3, 1));
        assert_eq!((meter.failed, other.replayed()), (1, 0));
        assert_eq!(bench.open().len().unwrap(), 3);
    }

    #[test]
    fn a_noisy_oracle_is_asked_again_and_replayed_in_order() {
        use std::sync::atomic::{AtomicU32, Ordering};

        let bench = Bench::new();
        let run = |first: u32| {
            let next = AtomicU32::new(first);
            let noisy = FnOracle::new(DIMS, move |_, _| {
                [f64::from(next.fetch_add(1, Ordering::Relaxed))]
            });
            let ledger = bench.open().with_duplicates(Duplicates::AskAgain);
            let metered = Metered::new(noisy, Budget::new(100).unwrap());
            let mut metered = metered.with_record(ledger, "a").unwrap();
            ask(&mut metered, &[0.1, 0.1, 0.1])
        };
        let fresh: Vec<Outcome> = [0.0, 1.0, 2.0].map(|y| Ok(vec![y])).into();
        assert_eq!(run(0), fresh);
        assert_eq!(run(100), fresh);
    }

    #[test]
    fn what_timed_out_is_asked_again_by_another_run() {
        let bench = Bench::new();
        let hung = FnOracle::new(DIMS, |_, _| Err::<[f64; 1], _>(RowError::TimedOut));
        let hung = Metered::new(hung, Budget::new(9).unwrap());
        let mut hung = hung.with_record(bench.open(), "a").unwrap();
        assert_eq!(ask(&mut hung, &[0.7]), [Err(RowError::TimedOut)]);
        drop(hung);
        let mut again = metered(bench.open(), "a");
        assert_eq!(ask(&mut again, &[0.7]), [Err(RowError::TimedOut)]);
        drop(again);
        let mut other = metered(bench.open(), "b");
        assert_eq!(ask(&mut other, &[0.7]), [Ok(vec![0.7 - 0.5])]);
    }

    #[test]
    fn a_run_that_goes_another_way_keeps_what_it_paid_for() {
        let bench = Bench::new();
        ask(&mut metered(bench.open(), "a"), &[0.1, 0.2, 0.3]);
        let mut other_way = metered(bench.open(), "a");
        ask(&mut other_way, &[0.1, 0.9, 0.3]);
        assert_eq!(other_way.replayed(), 1);
        // 0.3 was paid for when the run still went the old way.
        assert_eq!(other_way.meter().duplicates, 1);
        drop(other_way);
        let mut again = metered(bench.open(), "a");
        ask(&mut again, &[0.1, 0.9]);
        assert_eq!(again.replayed(), 2);
        assert_eq!(bench.open().len().unwrap(), 4);
    }

    #[test]
    fn what_is_learned_from_is_read_back_bit_for_bit() {
        let bench = Bench::new();
        let u = [0.1 + 0.2, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0];
        let mut metered = metered(bench.open(), "a");
        ask(&mut metered, &u);
        ask(&mut metered, &[-1.0]);
        let held_out = column(&[0.25]);
        let queries = Queries::new(&held_out, &held_out).unwrap();
        metered.score(queries).unwrap();
        let answered = bench.open().answers().unwrap();
        assert_eq!(answered.u.as_slice(), u);
        assert_eq!(answered.y.as_slice(), u.map(|u| u - 0.5));
    }

    #[test]
    fn the_ledger_of_another_oracle_is_refused() {
        let bench = Bench::new();
        drop(bench.open());
        let open = |described: Description| {
            let error = Ledger::open(bench.path(), &described).err().unwrap();
            assert!(matches!(error, LedgerError::OtherOracle { .. }), "{error}");
            error.to_string()
        };
        let message = open(Description::of_sizes("sum", DIMS));
        assert!(
            message.contains("holds answers of `difference` (x: x0; u: u0; y: y0), not of `sum`"),
            "{message}"
        );
        open(Description::of_sizes("difference", Dims::new(2, 1, 1)));
    }

    #[test]
    fn what_is_no_ledger_is_left_alone() {
        let bench = Bench::new();
        let foreign = |name: &str| {
            let error = Ledger::open(bench.folder.path().join(name), &described());
            assert!(matches!(error, Err(LedgerError::Foreign(_))));
        };
        std::fs::write(
            bench.folder.path().join("notes"),
            "not a database, ".repeat(99),
        )
        .unwrap();
        foreign("notes");
        let other = Connection::open(bench.folder.path().join("other")).unwrap();
        other.execute_batch("CREATE TABLE patient (id)").unwrap();
        drop(other);
        foreign("other");
        let future = Connection::open(bench.path()).unwrap();
        drop(bench.open());
        future.pragma_update(None, "user_version", 2).unwrap();
        let error = Ledger::open(bench.path(), &described());
        assert!(matches!(error, Err(LedgerError::Version { found: 2, .. })));
    }

    #[test]
    fn two_runs_do_not_share_a_ledger_at_once() {
        let bench = Bench::new();
        let first = metered(bench.open(), "a");
        let mut second = bench.open();
        let message = second.begin("b").unwrap_err().to_string();
        assert!(message.contains("is in use by another run"), "{message}");
        drop(first);
        second.begin("b").unwrap();
    }

    #[test]
    fn any_tool_can_read_the_numbers_by_their_names() {
        let bench = Bench::new();
        let mut metered = metered(bench.open(), "a");
        metered.begin_round(7);
        ask(&mut metered, &[0.75, -1.0]);
        let db = Connection::open(bench.path()).unwrap();
        let (u, y, round): (f64, f64, i64) = db
            .query_one(
                "SELECT u_u0, y_y0, round FROM answer WHERE error IS NULL",
                (),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!((u, y, round), (0.75, 0.25, 7));
        let failed = "SELECT error || ': ' || reason FROM answer WHERE y_y0 IS NULL";
        let failed: String = db.query_one(failed, (), |row| row.get(0)).unwrap();
        assert_eq!(failed, "failed: no root");
    }

    #[test]
    fn outcomes_are_told_in_any_order_and_once() {
        let bench = Bench::new();
        let run = |u: &[f64]| {
            let metered = Metered::new(Lab::new(DIMS), Budget::new(100).unwrap());
            let ledger = bench.open().answered_by_hand();
            let mut metered = metered.with_record(ledger, "a").unwrap();
            let outcomes = ask(&mut metered, u);
            (outcomes, metered.calls(), metered.unanswered().cloned())
        };
        let (outcomes, calls, unanswered) = run(&[0.1, 0.2, 0.3]);
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!(calls, 0);
        assert!(unanswered.is_some());

        let mut ledger = bench.open();
        let wanted = ledger.wanted().unwrap();
        let u: Vec<f64> = wanted.iter().map(|row| row.u[0]).collect();
        assert_eq!(u, [0.1, 0.2, 0.3]);
        ledger.tell(wanted[2].id, Ok(vec![3.0])).unwrap();
        let failed = Err(RowError::Failed("the sample broke".into()));
        ledger.tell(wanted[0].id, failed.clone()).unwrap();
        let message = ledger
            .tell(wanted[1].id, Ok(vec![]))
            .unwrap_err()
            .to_string();
        assert!(message.contains("expected d_y = 1"), "{message}");
        assert!(ledger.tell(wanted[0].id, Ok(vec![1.0])).is_err());
        assert_eq!(ledger.wanted().unwrap(), [wanted[1].clone()]);

        let (outcomes, calls, _) = run(&[0.1, 0.2, 0.3]);
        assert_eq!((&outcomes[0], &outcomes[2]), (&failed, &Ok(vec![3.0])));
        assert_eq!(calls, 2);
        // The row is still wanted under the same number; another one in its place would have a number of its own.
        assert_eq!(ledger.wanted().unwrap(), [wanted[1].clone()]);
        run(&[0.1, 0.25, 0.3]);
        assert_ne!(ledger.wanted().unwrap()[0].id, wanted[1].id);
        drop(ledger);
    }
}
