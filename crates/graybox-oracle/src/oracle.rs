//! What a black box is.

use std::sync::Arc;

use crate::{Queries, RowError};

/// What came of one call: the outcome `y` (`d_y` finite values), or the reason there is none.
pub type Outcome = Result<Vec<f64>, RowError>;

/// The widths of a context, an action and an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dims {
    /// Width of a context `x`.
    #[serde(rename = "d_x")]
    pub x: usize,
    /// Width of an action `u`.
    #[serde(rename = "d_u")]
    pub u: usize,
    /// Width of an outcome `y`.
    #[serde(rename = "d_y")]
    pub y: usize,
}

impl Dims {
    /// The sizes `d_x`, `d_u`, `d_y`.
    pub fn new(d_x: usize, d_u: usize, d_y: usize) -> Self {
        Self {
            x: d_x,
            u: d_u,
            y: d_y,
        }
    }
}

/// A function `F(x, u) → y` that can be called and not differentiated.
///
/// Calls are assumed to be repeatable: asking again for the same row costs money but does no harm, so
/// that a call whose worker died may be sent to another one.
pub trait Oracle: Send + Sync {
    /// The widths of what goes in and what comes out.
    fn dims(&self) -> Dims;

    /// Evaluates every row and returns one outcome per query, in order.
    ///
    /// A row that fails is an `Err` in its own place. [`Metered`](crate::Metered) checks what comes back:
    /// an outcome of the wrong width or with a value that is not finite becomes
    /// [`RowError::Malformed`] there.
    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome>;
}

impl<O: Oracle + ?Sized> Oracle for Arc<O> {
    fn dims(&self) -> Dims {
        (**self).dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        (**self).evaluate(queries)
    }
}

impl<O: Oracle + ?Sized> Oracle for Box<O> {
    fn dims(&self) -> Dims {
        (**self).dims()
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        (**self).evaluate(queries)
    }
}
