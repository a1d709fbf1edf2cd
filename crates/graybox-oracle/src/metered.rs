//! The one gate to an oracle: every call is charged here, and every answer checked.

use std::time::Instant;

use crate::{BudgetError, Dims, Oracle, Outcome, Queries, RowError};

/// How many oracle calls may be made. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// Allows this many calls.
    ///
    /// # Errors
    /// If `calls` is zero.
    pub fn new(calls: u64) -> Result<Self, BudgetError> {
        if calls == 0 {
            return Err(BudgetError::Zero);
        }
        Ok(Self(calls))
    }

    /// The number of calls.
    pub fn calls(self) -> u64 {
        self.0
    }
}

/// What has been asked of an oracle so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Meter {
    /// Calls charged.
    pub calls: u64,
    /// Charged calls that failed.
    pub failed: u64,
    /// Rows evaluated for scores only, never charged.
    pub scored: u64,
    /// Seconds spent waiting for the oracle.
    pub seconds: f64,
}

/// An oracle with a meter on it. Nothing else calls [`Oracle::evaluate`].
///
/// One call is one row. Calls charged are calls the oracle saw, failures included; a batch the budget
/// cannot pay for is refused whole, before any of it is evaluated. What comes back is checked: a wrong
/// width or a value that is not finite is a failed row.
pub struct Metered {
    oracle: Box<dyn Oracle>,
    /// What scores are taken from, where it is not the oracle itself.
    truth: Option<Box<dyn Oracle>>,
    budget: Budget,
    meter: Meter,
}

impl Metered {
    /// Puts a meter on an oracle.
    pub fn new(oracle: impl Oracle + 'static, budget: Budget) -> Self {
        Self {
            oracle: Box::new(oracle),
            truth: None,
            budget,
            meter: Meter::default(),
        }
    }

    /// Takes scores from another oracle: the same function without its noise, where someone has it.
    #[must_use]
    pub fn with_truth(mut self, truth: impl Oracle + 'static) -> Self {
        self.truth = Some(Box::new(truth));
        self
    }

    /// The oracle's widths.
    pub fn dims(&self) -> Dims {
        self.oracle.dims()
    }

    /// Evaluates every row, charging one call for each.
    ///
    /// # Errors
    /// If fewer calls are left than rows are asked; nothing is evaluated then.
    pub fn evaluate(&mut self, queries: Queries<'_>) -> Result<Vec<Outcome>, BudgetError> {
        let asked = queries.len() as u64;
        if asked > self.left() {
            return Err(BudgetError::Exceeded {
                asked,
                left: self.left(),
            });
        }
        let start = Instant::now();
        let outcomes = ask(&*self.oracle, queries);
        self.meter.seconds += start.elapsed().as_secs_f64();
        for outcome in &outcomes {
            match outcome {
                Err(RowError::Cancelled) => continue,
                Err(_) => self.meter.failed += 1,
                Ok(_) => {}
            }
            self.meter.calls += 1;
        }
        Ok(outcomes)
    }

    /// Evaluates every row for a score that no algorithm sees. Free of charge, and counted apart in
    /// [`scored`](Self::scored).
    pub fn score(&mut self, queries: Queries<'_>) -> Vec<Outcome> {
        let outcomes = ask(self.truth.as_deref().unwrap_or(&*self.oracle), queries);
        self.meter.scored += outcomes.len() as u64;
        outcomes
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

    /// Calls that may still be made.
    pub fn left(&self) -> u64 {
        self.budget.0.saturating_sub(self.meter.calls)
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
}

/// Asks an oracle and checks its answers.
fn ask(oracle: &dyn Oracle, queries: Queries<'_>) -> Vec<Outcome> {
    let mut outcomes = oracle.evaluate(queries);
    // An oracle that lost count cannot say which answer belongs to which row.
    if outcomes.len() != queries.len() {
        let reason = format!("{} answers to {} rows", outcomes.len(), queries.len());
        return vec![Err(RowError::Malformed(reason)); queries.len()];
    }
    let d_y = oracle.dims().y;
    for outcome in &mut outcomes {
        if let Ok(y) = outcome
            && let Some(reason) = fault(y, d_y)
        {
            *outcome = Err(RowError::Malformed(reason));
        }
    }
    outcomes
}

/// What is wrong with an outcome, if anything.
fn fault(y: &[f64], d_y: usize) -> Option<String> {
    if y.len() != d_y {
        return Some(wrong_width(y.len(), d_y));
    }
    not_finite(y)
}

pub(crate) fn wrong_width(found: usize, d_y: usize) -> String {
    format!("oracle returned {found} values for a row, expected d_y = {d_y}")
}

pub(crate) fn not_finite(y: &[f64]) -> Option<String> {
    let dim = y.iter().position(|value| !value.is_finite())?;
    Some(format!(
        "outcome {dim} is {}, expected a finite number",
        y[dim]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FnOracle, Rows};

    fn rows(values: &[f64]) -> Rows {
        Rows::from_vec(1, values.to_vec()).unwrap()
    }

    #[test]
    fn a_batch_the_budget_cannot_pay_for_is_refused_whole() {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
        let mut metered = Metered::new(oracle, Budget::new(3).unwrap());
        let x = rows(&[0.0, 0.0]);
        assert!(metered.evaluate(Queries::new(&x, &x).unwrap()).is_ok());
        assert_eq!(
            metered.evaluate(Queries::new(&x, &x).unwrap()),
            Err(BudgetError::Exceeded { asked: 2, left: 1 })
        );
        assert_eq!((metered.calls(), metered.left()), (2, 1));
    }

    #[test]
    fn failures_are_charged_and_counted() {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| {
            if u[0] > 0.0 {
                Ok([u[0]])
            } else {
                Err(RowError::Invalid)
            }
        });
        let mut metered = Metered::new(oracle, Budget::new(9).unwrap());
        let (x, u) = (rows(&[0.0, 0.0]), rows(&[1.0, -1.0]));
        let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap();
        assert_eq!(outcomes, vec![Ok(vec![1.0]), Err(RowError::Invalid)]);
        assert_eq!((metered.calls(), metered.failed()), (2, 1));
    }

    #[test]
    fn what_is_not_finite_or_not_as_wide_is_a_failed_row() {
        let oracle = FnOracle::new(Dims::new(1, 1, 2), |_, u| {
            if u[0] > 0.0 {
                vec![f64::NAN, 0.0]
            } else {
                vec![1.0]
            }
        });
        let mut metered = Metered::new(oracle, Budget::new(9).unwrap());
        let (x, u) = (rows(&[0.0, 0.0]), rows(&[1.0, -1.0]));
        let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap();
        assert_eq!(
            outcomes,
            vec![
                Err(RowError::Malformed(
                    "outcome 0 is NaN, expected a finite number".into()
                )),
                Err(RowError::Malformed(
                    "oracle returned 1 values for a row, expected d_y = 2".into()
                )),
            ]
        );
        assert_eq!(metered.failed(), 2);
    }

    #[test]
    fn rows_never_sent_are_not_charged() {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, _| {
            Err::<[f64; 1], _>(RowError::Cancelled)
        });
        let mut metered = Metered::new(oracle, Budget::new(1).unwrap());
        let x = rows(&[0.0]);
        metered.evaluate(Queries::new(&x, &x).unwrap()).unwrap();
        assert_eq!((metered.calls(), metered.failed()), (0, 0));
    }

    #[test]
    fn scores_are_taken_from_the_truth_where_it_is_known() {
        let noisy = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0] + 1.0]);
        let truth = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
        let mut metered = Metered::new(noisy, Budget::new(1).unwrap()).with_truth(truth);
        let x = rows(&[2.0]);
        let queries = Queries::new(&x, &x).unwrap();
        assert_eq!(metered.score(queries), [Ok(vec![2.0])]);
        assert_eq!(metered.evaluate(queries).unwrap(), [Ok(vec![3.0])]);
    }

    #[test]
    fn scores_are_counted_apart() {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
        let mut metered = Metered::new(oracle, Budget::new(1).unwrap());
        let x = rows(&[0.0, 1.0]);
        metered.score(Queries::new(&x, &x).unwrap());
        assert_eq!((metered.calls(), metered.scored()), (0, 2));
    }
}
