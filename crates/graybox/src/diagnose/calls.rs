//! The latest calls of a run.

use std::collections::VecDeque;

use graybox_oracle::{Outcome, Queries};
use serde::{Deserialize, Serialize};

/// One call and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The context.
    pub x: Vec<f64>,
    /// The action.
    pub u: Vec<f64>,
    /// The outcome, or why there is none.
    pub outcome: Outcome,
}

/// How many calls are kept.
const KEPT: usize = 4_096;

/// The latest 4,096 charged calls, oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calls {
    kept: VecDeque<Call>,
}

impl Calls {
    /// Keeps what a batch asked and what came of it; the oldest calls make room.
    pub fn push(&mut self, queries: Queries<'_>, outcomes: &[Outcome]) {
        let skipped = queries.len().saturating_sub(KEPT);
        for ((x, u), outcome) in queries.iter().zip(outcomes).skip(skipped) {
            // The oldest call leaves its place with what was allocated for it.
            let full = self.kept.len() == KEPT;
            let oldest = full.then(|| self.kept.pop_front()).flatten();
            let mut call = oldest.unwrap_or_else(|| Call {
                x: Vec::new(),
                u: Vec::new(),
                outcome: Ok(Vec::new()),
            });
            call.x.clear();
            call.x.extend_from_slice(x);
            call.u.clear();
            call.u.extend_from_slice(u);
            call.outcome.clone_from(outcome);
            self.kept.push_back(call);
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Call> + DoubleEndedIterator {
        self.kept.iter()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The last quarter of them, on which verdicts about the present are based; none while that is too few.
    pub(super) fn latest(&self) -> Option<(usize, Vec<&Call>)> {
        let n = self.kept.len() / 4;
        let from = self.kept.len() - n;
        (n >= 12).then(|| (from, self.kept.range(from..).collect()))
    }

    pub(super) fn answered(&self) -> impl Iterator<Item = (&Call, &Vec<f64>)> {
        self.kept
            .iter()
            .filter_map(|call| Some((call, call.outcome.as_ref().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graybox_oracle::Rows;

    #[test]
    fn the_oldest_calls_make_room() {
        let x = Rows::from_vec(1, (0..5_000).map(f64::from).collect()).unwrap();
        let outcomes: Vec<Outcome> = x.iter().map(|x| Ok(x.to_vec())).collect();
        let mut whole = Calls::default();
        whole.push(Queries::new(&x, &x).unwrap(), &outcomes);
        assert_eq!(whole.len(), KEPT);
        assert_eq!(whole.iter().next().unwrap().x, [904.0]);
        let mut bits = Calls::default();
        for (row_idx, outcome) in outcomes.iter().enumerate() {
            let row = x.select(&[row_idx]);
            bits.push(
                Queries::new(&row, &row).unwrap(),
                std::slice::from_ref(outcome),
            );
        }
        assert_eq!(bits, whole);
    }
}
