//! A closure as an oracle.

use std::time::Instant;

use crate::{Answer, Dims, Oracle, Outcome, Queries, RowError};

/// An oracle that is a Rust closure `(x, u) → y`, evaluated row by row on the calling thread.
///
/// The closure returns an array or a vector of `d_y` values, or a `Result` of one with a [`RowError`].
///
/// ```
/// use graybox_oracle::{Dims, FnOracle, RowError};
///
/// let smooth = FnOracle::new(Dims::new(2, 1, 2), |x, u| [u[0] + x[0], u[0] * x[1]]);
/// let picky = FnOracle::new(Dims::new(1, 1, 1), |x, u| {
///     if u[0] < x[0] { Err(RowError::Invalid) } else { Ok([(u[0] - x[0]).sqrt()]) }
/// });
/// ```
pub struct FnOracle<F> {
    dims: Dims,
    function: F,
}

impl<F, Y> FnOracle<F>
where
    F: Fn(&[f64], &[f64]) -> Y + Send + Sync,
    Y: IntoOutcome,
{
    /// Wraps a closure that takes `d_x` and `d_u` values and returns `d_y`.
    pub fn new(dims: Dims, function: F) -> Self {
        Self { dims, function }
    }
}

impl<F, Y> Oracle for FnOracle<F>
where
    F: Fn(&[f64], &[f64]) -> Y + Send + Sync,
    Y: IntoOutcome,
{
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        queries
            .iter()
            .map(|(x, u)| (self.function)(x, u).into_outcome())
            .collect()
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        for (row, (x, u)) in queries.iter().enumerate() {
            let start = Instant::now();
            let outcome = (self.function)(x, u).into_outcome();
            tell(Answer {
                seconds: Some(start.elapsed().as_secs_f64()),
                ..Answer::new(row, outcome)
            });
        }
    }
}

/// What a closure may return.
pub trait IntoOutcome {
    /// The outcome it stands for.
    ///
    /// # Errors
    /// If it stands for a row without one.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Vec<f64> {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

impl<const N: usize> IntoOutcome for [f64; N] {
    fn into_outcome(self) -> Outcome {
        Ok(self.to_vec())
    }
}

impl<Y: IntoOutcome> IntoOutcome for Result<Y, RowError> {
    fn into_outcome(self) -> Outcome {
        self.and_then(IntoOutcome::into_outcome)
    }
}
