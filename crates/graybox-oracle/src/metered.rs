//! The one gate to an oracle: every call is charged here, and every answer checked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::expected::Expected;
use crate::{
    AskError, Asking, BudgetError, Dims, Oracle, Outcome, Purpose, Queries, Record, RecordError,
    RowError, Rows, ShapeError,
};

mod budget;
mod posted;
mod recorded;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Meter};
pub use posted::Arrival;
use posted::Posted;

/// An oracle with a meter on it, through which alone algorithms ask. (Whoever serves an oracle to others, as
/// `Model::from_oracle` does, asks it directly: those calls are theirs.)
///
/// One call is one row. Every row that is answered is charged, failures included; a batch the budget cannot
/// pay for is refused whole, before any of it is evaluated. What comes back is checked: a wrong width or a
/// value that is not finite is a failed row.
///
/// # With a record
/// Rows are looked up in the [`Record`] first, and what the oracle answers is kept there before anybody sees
/// it. Three things are counted apart. *Charged* ([`calls`](Self::calls)) is every answered row that an
/// algorithm asked for, wherever the answer came from, so that a run goes the same way whatever the record
/// already holds. *Paid* ([`Meter::paid`]) is what the oracle was given by this run, in this process or before
/// it was broken off. *Replayed* ([`replayed`](Self::replayed)) is what was paid before and has been taken from
/// the record since this process began.
///
/// A row that was answered was either paid or spared as a duplicate, and either charged or scored:
/// `calls + scored = paid + duplicates`. Scores that are taken from [another oracle](Self::with_truth) are neither
/// paid nor spared: `calls = paid + duplicates` there.
pub struct Metered {
    oracle: Box<dyn Oracle>,
    /// What scores are taken from, where it is not the oracle itself.
    truth: Option<Box<dyn Oracle>>,
    record: Option<Shared>,
    posted: Posted,
    budget: Budget,
    meter: Meter,
    round: u64,
    replayed: u64,
    unanswered: Option<RowError>,
}

impl Metered {
    /// Puts a meter on an oracle.
    pub fn new(oracle: impl Oracle + 'static, budget: Budget) -> Self {
        Self {
            oracle: Box::new(oracle),
            truth: None,
            record: None,
            posted: Posted::default(),
            budget,
            meter: Meter::default(),
            round: 0,
            replayed: 0,
            unanswered: None,
        }
    }

    /// Takes scores from another oracle: the same function without its noise, where someone has it. No record
    /// is kept of them.
    #[must_use]
    pub fn with_truth(mut self, truth: impl Oracle + 'static) -> Self {
        self.truth = Some(Box::new(truth));
        self
    }

    /// Looks rows up in a record, and keeps every answer in it.
    ///
    /// # Errors
    /// If the record cannot begin the run of this key.
    pub fn with_record(
        mut self,
        record: impl Record + 'static,
        run: &str,
    ) -> Result<Self, RecordError> {
        self.keep_in(Box::new(record), run)?;
        Ok(self)
    }

    /// [`with_record`](Self::with_record) of a meter that is in use.
    ///
    /// # Errors
    /// If the record cannot begin the run of this key.
    pub fn keep_in(&mut self, mut record: Box<dyn Record>, run: &str) -> Result<(), RecordError> {
        record.begin(run)?;
        self.record = Some(Arc::new(Mutex::new(record)));
        Ok(())
    }

    /// Says which round the rows that follow belong to.
    pub fn begin_round(&mut self, round: u64) {
        self.round = round;
        self.unanswered = None;
        self.posted.turned_back = None;
    }

    /// The oracle's widths.
    pub fn dims(&self) -> Dims {
        self.oracle.dims()
    }

    /// Evaluates every row, charging one call for each that is answered.
    ///
    /// # Errors
    /// If fewer calls are left than rows are asked; nothing is evaluated then. If an answer cannot be kept.
    pub fn evaluate(&mut self, queries: Queries<'_>) -> Result<Vec<Outcome>, AskError> {
        self.charged(queries, Purpose::Train)
    }

    fn charged(
        &mut self,
        queries: Queries<'_>,
        purpose: Purpose,
    ) -> Result<Vec<Outcome>, AskError> {
        let asked = queries.len() as u64;
        let left = self.left();
        if asked > left {
            return Err(BudgetError::Exceeded { asked, left }.into());
        }
        let outcomes = self.ask(queries, purpose)?;
        for outcome in &outcomes {
            match outcome {
                Err(error) if error.is_free() => continue,
                Err(_) => self.meter.failed += 1,
                Ok(_) => {}
            }
            self.meter.calls += 1;
        }
        Ok(outcomes)
    }

    /// Asks an oracle that is no black box for `sᵀ ∂y/∂u` of every row, charging one call for each that is answered.
    /// None, and no charge, if it has no derivative that may be used.
    ///
    /// # Shapes
    /// `sensitivities`: `[n, d_y]` → `[n, d_u]`
    ///
    /// # Errors
    /// If fewer calls are left than rows are asked, or the sensitivities are not one row of `d_y` numbers for each;
    /// nothing is asked then. If an answer cannot be kept.
    pub fn pull_back(
        &mut self,
        queries: Queries<'_>,
        sensitivities: &Rows,
    ) -> Result<Option<Vec<Outcome>>, AskError> {
        let dims = self.oracle.dims();
        let (found, expected) = (sensitivities.width(), dims.y);
        if found != expected {
            return Err(ShapeError::Width { found, expected }.into());
        }
        let (rows, found) = (queries.len(), sensitivities.len());
        if found != rows {
            return Err(ShapeError::Sensitivities { rows, found }.into());
        }
        // The record knows nothing of what an oracle can do, so that it is asked about no row first.
        let (none, no_action, no_sensitivities) =
            (Rows::new(dims.x), Rows::new(dims.u), Rows::new(dims.y));
        let nothing = Queries::new(&none, &no_action)?;
        let pulled = self.oracle.pull_back(nothing, &no_sensitivities);
        if pulled.is_none() {
            return Ok(None);
        }
        let mut u = Rows::with_capacity(dims.u + dims.y, rows);
        for ((_, action), sensitivities) in queries.iter().zip(sensitivities.iter()) {
            u.push(&[action, sensitivities].concat())?;
        }
        let queries = Queries::new(queries.x(), &u)?;
        Ok(Some(self.charged(queries, Purpose::Gradient)?))
    }

    /// Evaluates every row for a score that no algorithm sees. Free of charge, and counted apart in
    /// [`scored`](Self::scored).
    ///
    /// # Errors
    /// If an answer cannot be kept.
    pub fn score(&mut self, queries: Queries<'_>) -> Result<Vec<Outcome>, RecordError> {
        let outcomes = match self.truth.as_deref() {
            Some(truth) => ask(truth, queries),
            None => self.ask(queries, Purpose::Score)?,
        };
        self.meter.scored += outcomes.iter().filter(is_paid).count() as u64;
        Ok(outcomes)
    }

    fn ask(&mut self, queries: Queries<'_>, purpose: Purpose) -> Result<Vec<Outcome>, RecordError> {
        let asking = Asking {
            queries,
            position: self.meter.position,
            round: self.round,
            purpose,
        };
        self.meter.position += queries.len() as u64;
        let outcomes = if let Some(record) = self.record.clone() {
            self.recall_or_ask(&record, &asking)?
        } else {
            let start = Instant::now();
            let outcomes = match purpose {
                Purpose::Gradient => {
                    let (actions, sensitivities) = parted(queries, self.oracle.dims());
                    let rows = Queries::new(queries.x(), &actions).expect(PAIRED);
                    let pulled = self.oracle.pull_back(rows, &sensitivities);
                    let expected = Expected::Gradient(actions.width());
                    expected.check_all(pulled.unwrap_or_default(), queries.len())
                }
                Purpose::Train | Purpose::Score => ask(&*self.oracle, queries),
            };
            let seconds = start.elapsed().as_secs_f64();
            let paid = outcomes.iter().filter(is_paid).count() as u64;
            self.count(paid, seconds, purpose);
            outcomes
        };
        let free = |outcome: &Outcome| outcome.clone().err().filter(RowError::is_free);
        if let Some(error) = outcomes.iter().find_map(free) {
            self.unanswered = Some(error);
        }
        Ok(outcomes)
    }

    fn count(&mut self, paid: u64, seconds: f64, purpose: Purpose) {
        self.meter.paid += paid;
        if purpose != Purpose::Score {
            self.meter.seconds += seconds;
        }
    }

    /// The budget as it was granted.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// All counters at once, to be saved with a run.
    pub fn meter(&self) -> Meter {
        self.meter
    }

    /// Goes on counting where an earlier meter stopped.
    pub fn resume(&mut self, meter: Meter) {
        self.meter = meter;
    }

    /// Calls charged so far.
    pub fn calls(&self) -> u64 {
        self.meter.calls
    }

    /// Calls that may still be made, when those on their way have come back.
    pub fn left(&self) -> u64 {
        let spoken_for = self.meter.calls + self.on_their_way() as u64;
        self.budget.calls().saturating_sub(spoken_for)
    }

    /// Charged calls that failed.
    pub fn failed(&self) -> u64 {
        self.meter.failed
    }

    /// Rows evaluated for scores only, never charged.
    pub fn scored(&self) -> u64 {
        self.meter.scored
    }

    /// Seconds spent waiting for the oracle in calls that were charged.
    pub fn seconds(&self) -> f64 {
        self.meter.seconds
    }

    /// Rows of this run that were paid for before it was broken off, and were taken from the record since.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Why a row of this round that was waited for was never put to the oracle, if one was not.
    pub fn unanswered(&self) -> Option<&RowError> {
        self.unanswered.as_ref()
    }
}

/// A record that answers are kept in on whatever thread they come.
type Shared = Arc<Mutex<Box<dyn Record>>>;

fn lock(record: &Shared) -> MutexGuard<'_, Box<dyn Record>> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an oracle answers, checked.
fn ask(oracle: &dyn Oracle, queries: Queries<'_>) -> Vec<Outcome> {
    let expected = Expected::Outcome(oracle.dims().y);
    expected.check_all(oracle.evaluate(queries), queries.len())
}

/// Actions and the sensitivities that follow them in the rows of a gradient.
fn parted(queries: Queries<'_>, dims: Dims) -> (Rows, Rows) {
    let n = queries.len();
    let (mut actions, mut sensitivities) = (
        Rows::with_capacity(dims.u, n),
        Rows::with_capacity(dims.y, n),
    );
    for (_, both) in queries.iter() {
        let (action, factor) = both.split_at(dims.u);
        actions.push(action).expect("as wide as an action");
        sensitivities.push(factor).expect("as wide as an outcome");
    }
    (actions, sensitivities)
}

/// What becomes of a row that an oracle was given and never told of.
pub(crate) fn forgotten() -> RowError {
    RowError::Malformed("the oracle gave no answer to this row".into())
}

const PAIRED: &str = "one action for each context";

/// Whether the oracle was given the row.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature of a filter"
)]
fn is_paid(outcome: &&Outcome) -> bool {
    !outcome.as_ref().is_err_and(RowError::is_free)
}
