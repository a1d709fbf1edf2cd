//! Columns of the context that only say what is wanted.
//!
//! Where targets are a part of the context, a surrogate is shown the answer beside the question: calls are made where
//! the outcome is near its target, so that of all columns the target's own foretells the outcome best, and the
//! surrogate predicts that what is wanted will happen, whatever the action. A black box seldom reads such a column.
//! Whether it does is found out by asking it: the same action in the same context, but for another wish.

use graybox_oracle::{Outcome, RowError, Rows};

use crate::Dataset;
use crate::between::{LEFT, centred, norm, without};

/// Pairs of calls that must agree, none disagreeing, before a column counts as one that is not read.
pub(crate) const TELLING: usize = 3;

/// Columns of the context that are an affine function of one of the targets.
pub(crate) fn columns(data: &Dataset) -> Vec<usize> {
    let targets: Vec<Vec<f64>> = (0..data.target().width())
        .map(|dim| centred(data.target(), dim))
        .filter(|column| norm(column) > 0.0)
        .map(|column| {
            let length = norm(&column);
            column.iter().map(|value| value / length).collect()
        })
        .collect();
    let repeats = |dim: &usize| {
        let column = centred(data.x(), *dim);
        let rest = |target: &Vec<f64>| norm(&without(column.clone(), std::slice::from_ref(target)));
        norm(&column) > 0.0
            && targets
                .iter()
                .any(|target| rest(target) <= LEFT * norm(&column))
    };
    (0..data.x().width()).filter(repeats).collect()
}

/// Contexts with the wishes of others.
pub(crate) fn exchanged(x: &Rows, others: &Rows, columns: &[usize]) -> Rows {
    let mut exchanged = Rows::with_capacity(x.width(), x.len());
    for (row, other) in x.iter().zip(others.iter()) {
        let mut row = row.to_vec();
        for &column in columns {
            row[column] = other[column];
        }
        exchanged.push(&row).expect("as wide as before");
    }
    exchanged
}

/// Whether outcomes are the same whatever is wished, to the last bit, in as many pairs as it takes to believe it.
pub(crate) fn are_unread(outcomes: &[Outcome], others: &[Outcome]) -> bool {
    let mut told = 0;
    for pair in outcomes.iter().zip(others) {
        match pair {
            (Ok(y), Ok(other)) if y == other => told += 1,
            // The action fails, whatever is wished.
            (Err(error), Err(other)) if error == other => {}
            (Err(error), _) | (_, Err(error)) if strikes_at_random(error) => {}
            _ => return false,
        }
    }
    told >= TELLING
}

/// Whether a failure may have to do with the worker rather than with the row.
fn strikes_at_random(error: &RowError) -> bool {
    !matches!(error, RowError::Invalid | RowError::Failed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_told_from_what_they_depend_on() {
        let (mut x, mut target) = (Rows::new(4), Rows::new(2));
        for i in 0..50 {
            let share = |step: f64| (f64::from(i) * step).fract();
            let (a, b) = (share(0.754), 1e4 + share(0.569));
            x.push(&[a, 7.0, 32.0 + 1.8 * b, a * b]).unwrap();
            target.push(&[b, a + b]).unwrap();
        }
        assert_eq!(columns(&Dataset::new(x, target).unwrap()), [2]);
    }

    #[test]
    fn only_wishes_are_exchanged() {
        let x = Rows::from_vec(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let others = Rows::from_vec(2, vec![5.0, 6.0, 7.0, 8.0]).unwrap();
        let exchanged = exchanged(&x, &others, &[1]);
        assert_eq!(exchanged.as_slice(), &[1.0, 6.0, 3.0, 8.0]);
    }

    #[test]
    fn one_difference_or_too_few_answers_leave_wishes_in_sight() {
        let same = || vec![Ok(vec![1.0]), Ok(vec![2.0]), Ok(vec![3.0])];
        let lost = || Err(RowError::TimedOut);
        assert!(are_unread(&same(), &same()));
        let with = |more: Outcome| [same(), vec![more]].concat();
        assert!(are_unread(&with(lost()), &with(Ok(vec![4.0]))));
        assert!(!are_unread(
            &with(Ok(vec![4.0])),
            &with(Ok(vec![4.0 + 1e-15]))
        ));
        assert!(!are_unread(
            &with(Err(RowError::Invalid)),
            &with(Ok(vec![4.0]))
        ));
        assert!(!are_unread(&same()[..2], &same()[..2]));
        assert!(!are_unread(&vec![lost(); 9], &vec![lost(); 9]));
    }
}
