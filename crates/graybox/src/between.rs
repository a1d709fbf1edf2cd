//! Contexts between the training rows, for policies that learn from few of them.
//!
//! A policy fits a few hundred rows and little else. Where the wanted outcome is an affine function of the context,
//! as it is when the target is a part of the context, it is known between two rows as well: at
//! `x = x_i + t (x_j − x_i)`, `Y = Y_i + t (Y_j − Y_i)` is wanted, exactly. A surrogate says what comes of an action
//! there, so that such contexts cost no call.
//!
//! Source        the mixing of pairs as in Zhang et al., mixup, ICLR 2018, kept to where it invents no label

use graybox_oracle::Rows;

use crate::Dataset;

/// With this many rows or more they are dense enough themselves.
const MANY: usize = 500;
/// What an affine function may leave of the targets, which are often printed to a few digits.
pub(crate) const LEFT: f64 = 1e-6;

/// Whether each of the targets is an affine function of the context, as far as few rows can tell. None is if there
/// are many rows, or no more than an affine function has coefficients.
pub(crate) fn affine_targets(data: &Dataset) -> Vec<bool> {
    let (n, d_x, d_y) = (data.len(), data.x().width(), data.target().width());
    if n >= MANY || n <= 2 * (d_x + 1) {
        return vec![false; d_y];
    }
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(d_x);
    for dim in 0..d_x {
        let column = centred(data.x(), dim);
        let rest = without(column.clone(), &basis);
        // A column that the others make up already says nothing new.
        if norm(&rest) > LEFT * norm(&column) {
            let length = norm(&rest);
            basis.push(rest.into_iter().map(|value| value / length).collect());
        }
    }
    let is_affine = |dim| {
        let column = centred(data.target(), dim);
        norm(&without(column.clone(), &basis)) <= LEFT * norm(&column)
    };
    (0..d_y).map(is_affine).collect()
}

/// Whether there are contexts between the rows that an oracle can be asked about: a column of nothing but whole
/// numbers may count or name something, of which there is no half.
pub(crate) fn has_contexts(data: &Dataset) -> bool {
    (0..data.x().width()).all(|dim| {
        let first = data.x().row(0)[dim];
        let mut rows = data.x().iter();
        let mut others = data.x().iter();
        rows.all(|row| row[dim].total_cmp(&first).is_eq())
            || others.any(|row| row[dim].fract().abs() > 0.0)
    })
}

/// A column less its mean.
pub(crate) fn centred(rows: &Rows, dim: usize) -> Vec<f64> {
    let mean = rows.iter().map(|row| row[dim]).sum::<f64>() / rows.len() as f64;
    rows.iter().map(|row| row[dim] - mean).collect()
}

/// What is left of a column without its parts along an orthonormal basis. Taken away twice, since the first time
/// leaves rounding errors of the size of the column.
pub(crate) fn without(mut column: Vec<f64>, basis: &[Vec<f64>]) -> Vec<f64> {
    for direction in basis.iter().chain(basis) {
        let along: f64 = column.iter().zip(direction).map(|(a, b)| a * b).sum();
        for (value, direction) in column.iter_mut().zip(direction) {
            *value -= along * direction;
        }
    }
    column
}

pub(crate) fn norm(column: &[f64]) -> f64 {
    column.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(n: usize) -> Vec<bool> {
        let (mut x, mut target) = (Rows::new(3), Rows::new(3));
        for i in 0..n {
            let share = |step: f64| (i as f64 * step).fract();
            let (a, b) = (1e4 + share(0.754), 1e-3 * share(0.569));
            // The third context is made up of the others.
            x.push(&[a, b, a - 50.0 * b]).unwrap();
            target.push(&[b, 3.0 * a - b + 7.0, a * b]).unwrap();
        }
        affine_targets(&Dataset::new(x, target).unwrap())
    }

    #[test]
    fn affine_functions_of_the_context_are_told_from_others() {
        assert_eq!(affine(100), [true, true, false]);
    }

    #[test]
    fn columns_of_whole_numbers_have_nothing_between() {
        let contexts = |second: [f64; 3]| {
            let x = [
                0.5, second[0], 7.0, 1.0, second[1], 7.0, 2.0, second[2], 7.0,
            ];
            let x = Rows::from_vec(3, x.to_vec()).unwrap();
            has_contexts(&Dataset::new(x.clone(), x).unwrap())
        };
        // The third is the same in every row, and stays so.
        assert!(contexts([1.0, 2.5, 3.0]));
        assert!(!contexts([1.0, 2.0, 3.0]));
    }

    #[test]
    fn many_rows_need_nothing_between_and_too_few_tell_nothing() {
        assert_eq!(affine(MANY), [false; 3]);
        assert_eq!(affine(8), [false; 3]);
    }
}
