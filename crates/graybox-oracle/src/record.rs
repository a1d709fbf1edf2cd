//! Keeping every answer, so that none is paid for twice.

use crate::{Answer, Dims, Outcome, Queries, Rows, ShapeError};

/// A memory of answers between a meter and its oracle.
///
/// [`Metered`](crate::Metered) looks rows up here before it asks the oracle, and has every answer kept before
/// anybody sees it. The ledger of the feature `ledger` keeps them in a file.
pub trait Record: Send {
    /// Begins a run, or takes up the run of the same key where it was broken off. A key stands for everything
    /// that decides which rows are asked: settings, data, seed.
    ///
    /// # Errors
    /// If the run cannot be begun.
    fn begin(&mut self, run: &str) -> Result<(), RecordError>;

    /// What is known of rows that are about to be asked, one [`Recall`] for each.
    ///
    /// # Errors
    /// If the record cannot be read.
    fn recall(&mut self, asking: &Asking<'_>) -> Result<Vec<Recall>, RecordError>;

    /// Keeps the answer to one of the rows for good: when this returns, it outlives the process.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn keep(&mut self, asking: &Asking<'_>, answer: &Answer) -> Result<(), RecordError>;

    /// Notes which rows, by their positions and in this order, an asynchronous round is about to learn from, so that
    /// a run that is broken off learns from them in the same round again. What was noted of later rounds is void.
    /// A record that does not note it, as by default, leaves that to chance.
    ///
    /// # Errors
    /// If it cannot be noted.
    fn note(&mut self, round: u64, positions: &[u64]) -> Result<(), RecordError> {
        let _ = (round, positions);
        Ok(())
    }

    /// What was noted of a round of this run.
    ///
    /// # Errors
    /// If the record cannot be read.
    fn noted(&mut self, round: u64) -> Result<Option<Vec<u64>>, RecordError> {
        let _ = round;
        Ok(None)
    }
}

/// Rows that are asked together, and why.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The rows.
    pub queries: Queries<'a>,
    /// The place of the first among all rows the run asks, counted from 0. The others follow.
    pub position: u64,
    /// The round they are asked in, which stands for the version of the policy.
    pub round: u64,
    /// What they are asked for.
    pub purpose: Purpose,
}

/// What rows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An algorithm learns from them.
    Train,
    /// They measure the policy, and nothing learns from them.
    Score,
    /// Not the outcome is wanted but its gradient: the action of a query is followed by the sensitivities, and the
    /// answer is [what they are pulled back to](crate::Oracle::pull_back).
    Gradient,
}

/// What a record knows of a row that is about to be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Recall {
    /// Nothing: it has to be asked.
    Unknown,
    /// This run has asked it before, at this very position, and was broken off since.
    Replayed(Outcome),
    /// It was asked elsewhere, and the oracle gives the same answer to the same row.
    Duplicate(Outcome),
    /// Nothing, but it is the same as this earlier row of the batch.
    SameAs(usize),
}

/// Rows that were answered, in the order their answers came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    x: Rows,
    u: Rows,
    y: Rows,
}

impl Answered {
    /// None yet, of these widths.
    pub fn new(dims: Dims) -> Self {
        Self {
            x: Rows::new(dims.x),
            u: Rows::new(dims.u),
            y: Rows::new(dims.y),
        }
    }

    /// Adds a row and its outcome.
    ///
    /// # Errors
    /// If one of them has another width; nothing is added then.
    pub fn push(&mut self, x: &[f64], u: &[f64], y: &[f64]) -> Result<(), ShapeError> {
        self.x.fits(x)?;
        self.u.fits(u)?;
        self.y.push(y)?;
        self.x.push(x)?;
        self.u.push(u)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.y.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The widths of the rows.
    pub fn dims(&self) -> Dims {
        Dims::new(self.x.width(), self.u.width(), self.y.width())
    }

    /// The contexts, `[n, d_x]`.
    pub fn x(&self) -> &Rows {
        &self.x
    }

    /// The actions, `[n, d_u]`.
    pub fn u(&self) -> &Rows {
        &self.u
    }

    /// The outcomes, `[n, d_y]`.
    pub fn y(&self) -> &Rows {
        &self.y
    }
}

/// A record that cannot be read or written. The run must stop: what it went on to pay for would be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);
