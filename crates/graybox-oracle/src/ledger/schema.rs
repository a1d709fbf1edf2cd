//! The tables of a ledger, and how one is told from other files.
//!
//! Version 3, which the file states as its `user_version`; the `application_id` is 0x67726279. Version 1 had no
//! gradients, and neither it nor version 2 the table `learned`; they are read as they are and made version 3 when they
//! are opened for a run.
//!
//! | table | one line for | columns |
//! |---|---|---|
//! | `oracle` | the one oracle of this ledger | `name`, `d_x`, `d_u`, `d_y`, `description` (JSON) |
//! | `run` | each run | `id`, `key`, `started` |
//! | `call` | each answer | `id`, `run`, `position`, `round`, `purpose`, `x`, `u`, `y`, `error`, `reason`, `seconds`, `worker`, `answered` |
//! | `learned` | each round of an asynchronous run | `run`, `round`, `positions` (JSON) |
//! | `wanted` | each row that [waits to be told](Lab) | `id`, `run`, `position`, `round`, `purpose`, `x`, `u`, `asked` |
//!
//! `x`, `u` and `y` are JSON lists that keep every bit of the numbers. `position` is the row's place among all
//! rows of its run, counted from 0; it is null for an answer its run no longer asks for. `round` is the round it
//! was asked in, and so the version of the policy. `purpose` is `train`, `score` for a row that only measured the
//! policy, or `gradient`: then `u` goes on with the sensitivities and `y` is what they were pulled back to. A failed
//! row has no `y`; its `error` is `invalid`, `failed`, `timed_out`, `crashed` or
//! `malformed`, and `reason` says why. Times are UTC.
//!
//! The view `answer` has a column for every number, named as the oracle names it:
//! `SELECT u_focal_length, y_image_distance FROM answer WHERE error IS NULL`. SQLite reads no view of more than 2,000
//! columns, ten of which are taken by what is not a number: the ledger of an oracle of more than 1,990 numbers has
//! no such view, and its numbers are read from the lists in `call`, as `json_extract(x, '$[7]')`.

use rusqlite::{Connection, params};

use super::LedgerError;
use crate::Description;

const VERSION: i64 = 3;
const APPLICATION: i64 = 0x6772_6279;

/// The most numbers of an oracle that can be columns: SQLite's limit, less the other columns of the view.
const MOST_NUMBERS: usize = 2_000 - 10;

const SCHEMA: &str = "
    CREATE TABLE oracle (
        name TEXT NOT NULL, d_x INTEGER NOT NULL, d_u INTEGER NOT NULL, d_y INTEGER NOT NULL,
        description TEXT NOT NULL
    );
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, started TEXT NOT NULL DEFAULT (datetime('now'))
    );
    CREATE TABLE wanted (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, position INTEGER NOT NULL,
        round INTEGER NOT NULL, purpose TEXT NOT NULL, x TEXT NOT NULL, u TEXT NOT NULL,
        asked TEXT NOT NULL DEFAULT (datetime('now')), UNIQUE (run, position)
    );
";

const CALLS: &str = "
    CREATE TABLE call (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, position INTEGER,
        round INTEGER NOT NULL, purpose TEXT NOT NULL CHECK (purpose IN ('train', 'score', 'gradient')),
        x TEXT NOT NULL, u TEXT NOT NULL, y TEXT, error TEXT, reason TEXT,
        seconds REAL, worker INTEGER, answered TEXT NOT NULL DEFAULT (datetime('now')),
        UNIQUE (run, position), CHECK ((y IS NULL) <> (error IS NULL))
    );
    CREATE INDEX call_row ON call (u, x);
";

/// Which rows a round that waited for nothing in particular learned from, in the order of their answers.
const LEARNED: &str = "
    CREATE TABLE learned (
        run INTEGER NOT NULL REFERENCES run, round INTEGER NOT NULL, positions TEXT NOT NULL, PRIMARY KEY (run, round)
    );
";

/// Whether the file has just been made.
pub(super) fn is_blank(db: &Connection) -> rusqlite::Result<bool> {
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = db.query_one(tables, (), |row| row.get(0))?;
    Ok(tables == 0)
}

/// Whether the file is the ledger of this oracle, in a version that is known here.
pub(super) fn check(db: &Connection, path: &str, oracle: &Description) -> Result<(), LedgerError> {
    let number = |name: &str| {
        let number = db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        number.map_err(|error| unreadable(path, error))
    };
    if number("application_id")? != APPLICATION {
        return Err(LedgerError::Foreign(path.to_owned()));
    }
    let version = number("user_version")?;
    if version > VERSION {
        return Err(LedgerError::Version {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    let kept = "SELECT description FROM oracle";
    let kept: rusqlite::Result<String> = db.query_one(kept, (), |row| row.get(0));
    let kept = kept.map_err(|error| unreadable(path, error))?;
    let kept = Description::from_json(&kept).unwrap_or_default();
    if identity(&kept) != identity(oracle) {
        return Err(LedgerError::OtherOracle {
            path: path.to_owned(),
            kept: identity(&kept),
            asked: identity(oracle),
        });
    }
    Ok(())
}

/// What an error of SQLite says about the file.
pub(super) fn unreadable(path: &str, error: rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::Foreign(path.to_owned()),
        _ => LedgerError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// Makes the tables for an oracle.
pub(super) fn create(db: &Connection, oracle: &Description) -> rusqlite::Result<()> {
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)?;
    db.execute_batch(SCHEMA)?;
    db.execute_batch(CALLS)?;
    db.execute_batch(LEARNED)?;
    create_view(db, oracle)?;
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

/// Makes an older ledger one of this version.
pub(super) fn migrate(db: &Connection, oracle: &Description) -> rusqlite::Result<()> {
    let version = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    if version >= VERSION {
        return Ok(());
    }
    db.execute_batch(LEARNED)?;
    if version < 2 {
        allow_gradients(db, oracle)?;
    }
    db.pragma_update(None, "user_version", VERSION)
}

/// The calls of version 1 may not be gradients, as a table once made says.
fn allow_gradients(db: &Connection, oracle: &Description) -> rusqlite::Result<()> {
    db.execute_batch(
        "DROP VIEW IF EXISTS answer; DROP INDEX call_row; ALTER TABLE call RENAME TO old_call;",
    )?;
    db.execute_batch(CALLS)?;
    db.execute_batch("INSERT INTO call SELECT * FROM old_call; DROP TABLE old_call;")?;
    create_view(db, oracle)
}

/// Makes the view in which every number is a column, where there are not too many.
fn create_view(db: &Connection, oracle: &Description) -> rusqlite::Result<()> {
    let dims = oracle.dims();
    if dims.x + dims.u + dims.y > MOST_NUMBERS {
        return Ok(());
    }
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
         SELECT id, run, position, round, purpose{columns}, error, reason, seconds, worker, answered FROM call
         WHERE purpose <> 'gradient'"
    ))
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
