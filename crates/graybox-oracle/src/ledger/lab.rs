//! Ask and tell: an oracle that is a laboratory or a person.
//!
//! A run that comes to rows nobody has answered writes them into its ledger and ends. [`Ledger::wanted`] hands
//! them out, [`Ledger::tell`] takes their outcomes, in any order, today or next week. The same run started again
//! finds the answers in the ledger and goes on to the next rows it wants.

use rusqlite::{OptionalExtension, params};

use super::columns::{kind, numbers, purpose, text};
use super::error::Fault;
use super::{Ledger, LedgerError};
use crate::expected::Expected;
use crate::{Asking, Dims, Oracle, Outcome, Queries, RowError};

/// An oracle that answers nothing by itself, for runs whose ledger is
/// [answered by hand](Ledger::answered_by_hand).
///
/// ```
/// use graybox_oracle::{Budget, Description, Dims, Lab, Ledger, Metered, Queries, Rows};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ledger.sqlite");
/// let dims = Dims::new(1, 1, 1);
/// let described = Description::of_sizes("yield of the reaction", dims);
/// let x = Rows::from_vec(1, vec![20.0])?;
/// let u = Rows::from_vec(1, vec![0.7])?;
/// let run = || -> Result<_, Box<dyn std::error::Error>> {
///     let ledger = Ledger::open(&path, &described)?.answered_by_hand();
///     let mut metered = Metered::new(Lab::new(dims), Budget::new(10)?).with_record(ledger, "run 1")?;
///     Ok(metered.evaluate(Queries::new(&x, &u)?)?.remove(0))
/// };
///
/// assert!(run()?.is_err_and(|error| error.is_free()));
/// let mut ledger = Ledger::open(&path, &described)?;
/// let wanted = ledger.wanted()?.remove(0);
/// assert_eq!((wanted.x, wanted.u), (vec![20.0], vec![0.7]));
/// ledger.tell(wanted.id, Ok(vec![0.31]))?;
/// assert_eq!(run()?, Ok(vec![0.31]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Lab(Dims);

impl Lab {
    /// A laboratory that takes `d_x` and `d_u` numbers and measures `d_y`.
    pub fn new(dims: Dims) -> Self {
        Self(dims)
    }
}

impl Oracle for Lab {
    fn dims(&self) -> Dims {
        self.0
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        let waits = RowError::Unavailable("its outcome has yet to be told".into());
        vec![Err(waits); queries.len()]
    }
}

/// A row that waits for its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to call the row when its outcome is told.
    pub id: i64,
    /// The context.
    pub x: Vec<f64>,
    /// The action.
    pub u: Vec<f64>,
}

impl Ledger {
    /// Rows that are in no ledger are written down as wanted.
    #[must_use]
    pub fn answered_by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    /// The rows that wait for their outcomes, in the order they were asked.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn wanted(&self) -> Result<Vec<Wanted>, LedgerError> {
        let read = || -> Result<Vec<Wanted>, Fault> {
            let all = "SELECT id, x, u FROM wanted ORDER BY run, position";
            let mut all = self.db.prepare(all)?;
            let mut rows = all.query(())?;
            let mut wanted = Vec::new();
            while let Some(row) = rows.next()? {
                wanted.push(Wanted {
                    id: row.get(0)?,
                    x: numbers(&row.get::<_, String>(1)?)?,
                    u: numbers(&row.get::<_, String>(2)?)?,
                });
            }
            Ok(wanted)
        };
        read().map_err(|fault| self.file(&fault))
    }

    /// Brings the outcome of a wanted row, or the reason there is none.
    ///
    /// # Errors
    /// If nobody waits for this row, or the outcome is not `d_y` finite numbers; the row is then still wanted.
    pub fn tell(&mut self, id: i64, mut outcome: Outcome) -> Result<(), LedgerError> {
        Expected::Outcome(self.dims.y).check(&mut outcome);
        if let Err(RowError::Malformed(reason)) = &outcome {
            let reason = reason.clone();
            return Err(LedgerError::BadOutcome { id, reason });
        }
        let told = self.move_to_calls(id, &outcome);
        let told = told.map_err(|fault| self.file(&fault))?;
        told.ok_or(LedgerError::NotWanted(id))
    }

    fn move_to_calls(&mut self, id: i64, outcome: &Outcome) -> Result<Option<()>, Fault> {
        let (y, error, reason) = match outcome {
            Ok(y) => (Some(text(y)), None, None),
            Err(error) => {
                let (kind, reason) = kind(error);
                (None, Some(kind), Some(reason))
            }
        };
        let moving = self.db.transaction()?;
        let add = "INSERT INTO call (run, position, round, purpose, x, u, y, error, reason)
                   SELECT run, position, round, purpose, x, u, ?2, ?3, ?4 FROM wanted WHERE id = ?1
                   RETURNING 0";
        let added = moving
            .query_row(add, params![id, y, error, reason], |_| Ok(()))
            .optional()?;
        moving.execute("DELETE FROM wanted WHERE id = ?1", [id])?;
        moving.commit()?;
        Ok(added)
    }

    /// Writes a row down as wanted, unless it already is.
    pub(super) fn want(&self, asking: &Asking<'_>, row: usize) -> Result<(), Fault> {
        let run = self.run.as_ref().map(|run| run.id);
        let position = asking.position + row as u64;
        let x = text(asking.queries.x().row(row));
        let u = text(asking.queries.u().row(row));
        let other = "DELETE FROM wanted WHERE run = ?1 AND position = ?2 AND (x <> ?3 OR u <> ?4)";
        self.db.execute(other, params![run, position, x, u])?;
        let add = "INSERT INTO wanted (run, position, round, purpose, x, u)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        let row = params![run, position, asking.round, purpose(asking.purpose), x, u];
        self.db.execute(add, row)?;
        Ok(())
    }
}
