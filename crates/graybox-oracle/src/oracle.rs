//! What a black box is.

use std::sync::Arc;

use crate::{Lanes, Queries, RowError, Rows};

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

    /// Evaluates every row and tells of each answer as soon as it is there, in whatever order they come.
    ///
    /// Every row is told of once. Where rows are slow or dear, an oracle answers here one by one, so that
    /// what has been paid for is kept even if the rest of the batch is lost with the process; by default all
    /// are told of together, when [`evaluate`](Self::evaluate) is done.
    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        tell_all(self.evaluate(queries), queries.len(), tell);
    }

    /// `sᵀ ∂y/∂u` of every row for sensitivities `s`, `[n, d_y]`: `d_u` values per row, or the reason there are none.
    ///
    /// None where there is no such derivative, as of a black box, or nobody has allowed it to be used. Only methods
    /// that say so in their description ask for it. Sensitivities that are not one row of `d_y` numbers for each query
    /// are refused by [`Metered`](crate::Metered) and never come here; what is pulled back is checked as outcomes are.
    fn pull_back(&self, queries: Queries<'_>, sensitivities: &Rows) -> Option<Vec<Outcome>> {
        let _ = (queries, sensitivities);
        None
    }

    /// [`pull_back`](Self::pull_back) that tells of each row as soon as it is there, as
    /// [`evaluate_each`](Self::evaluate_each) does. False, and nothing is told, where there is no such derivative.
    fn pull_back_each(
        &self,
        queries: Queries<'_>,
        sensitivities: &Rows,
        tell: &mut dyn FnMut(Answer),
    ) -> bool {
        let Some(pulled) = self.pull_back(queries, sensitivities) else {
            return false;
        };
        tell_all(pulled, queries.len(), tell);
        true
    }

    /// The threads on which it goes on answering while nobody waits, if it has any. [`Lanes`] puts any oracle on such.
    fn lanes(&self) -> Option<&Lanes> {
        None
    }
}

/// Tells of the answers to `n` rows that came all at once.
fn tell_all(answers: Vec<Outcome>, n: usize, tell: &mut dyn FnMut(Answer)) {
    for (row, outcome) in counted(answers, n).into_iter().enumerate() {
        tell(Answer::new(row, outcome));
    }
}

/// As many answers as rows: an oracle that lost count cannot say which answer belongs to which row.
pub(crate) fn counted(answers: Vec<Outcome>, n: usize) -> Vec<Outcome> {
    if answers.len() == n {
        return answers;
    }
    let reason = format!("{} answers to {n} rows", answers.len());
    vec![Err(RowError::Malformed(reason)); n]
}

/// One answer of an oracle, with what is known of how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Which of the rows asked it answers.
    pub row: usize,
    /// The answer.
    pub outcome: Outcome,
    /// The worker or server that gave it, by its number.
    pub worker: Option<usize>,
    /// How long it took, in seconds, without the time it waited for a free worker.
    pub seconds: Option<f64>,
}

impl Answer {
    /// An answer of which nothing else is known.
    pub fn new(row: usize, outcome: Outcome) -> Self {
        Self {
            row,
            outcome,
            worker: None,
            seconds: None,
        }
    }
}

/// The outcomes of `n` rows that are told of in any order.
pub(crate) fn in_order(n: usize, ask: impl FnOnce(&mut dyn FnMut(Answer))) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; n];
    ask(&mut |answer| outcomes[answer.row] = Some(answer.outcome));
    let answered = "each row is told of";
    outcomes
        .into_iter()
        .map(|outcome| outcome.expect(answered))
        .collect()
}

/// A pointer to an oracle is one.
macro_rules! point_to_oracles {
    ($pointer:ident) => {
        impl<O: Oracle + ?Sized> Oracle for $pointer<O> {
            fn dims(&self) -> Dims {
                (**self).dims()
            }

            fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
                (**self).evaluate(queries)
            }

            fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
                (**self).evaluate_each(queries, tell);
            }

            fn pull_back(
                &self,
                queries: Queries<'_>,
                sensitivities: &Rows,
            ) -> Option<Vec<Outcome>> {
                (**self).pull_back(queries, sensitivities)
            }

            fn pull_back_each(
                &self,
                queries: Queries<'_>,
                sensitivities: &Rows,
                tell: &mut dyn FnMut(Answer),
            ) -> bool {
                (**self).pull_back_each(queries, sensitivities, tell)
            }

            fn lanes(&self) -> Option<&Lanes> {
                (**self).lanes()
            }
        }
    };
}

point_to_oracles!(Arc);
point_to_oracles!(Box);
