//! What a loss is compared with when only samples of it are known.

/// By how much each sample's loss exceeds the mean of the others of its row, over the number of samples and
/// rows that count: weights of ∇ log p in an estimate of ∇ E[mean loss]. Samples are independent but for groups of
/// `group` in succession, so a sample is compared with those outside its group; where a row has no others, with
/// the other rows' means; where there are none, with `otherwise`. Zero for a failed sample.
///
/// Leaving a sample out of its own baseline keeps the estimate unbiased; a mean that includes it shrinks the
/// estimate by 1/n.
pub(super) fn leave_one_out(
    losses: &[Vec<Option<f64>>],
    group: usize,
    otherwise: f64,
) -> Vec<Vec<f64>> {
    let rows: Vec<Sum> = losses.iter().map(|row| Sum::of(row)).collect();
    let means: Sum = Sum::of(&rows.iter().map(Sum::mean).collect::<Vec<_>>());
    let weigh = |(row, of_row): (&Vec<Option<f64>>, &Sum)| {
        let weigh = |group: &[Option<f64>]| {
            let of_group = Sum::of(group);
            let of_others = (of_row.without(&of_group).mean())
                .or_else(|| means.without(&Sum::of(&[of_row.mean()])).mean())
                .unwrap_or(otherwise);
            let weigh = |loss: &Option<f64>| {
                loss.map_or(0.0, |loss| (loss - of_others) / (of_row.n * means.n))
            };
            group.iter().map(weigh).collect::<Vec<_>>()
        };
        row.chunks(group).flat_map(weigh).collect()
    };
    losses.iter().zip(&rows).map(weigh).collect()
}

/// Of the losses that there are.
struct Sum {
    total: f64,
    n: f64,
}

impl Sum {
    fn of(losses: &[Option<f64>]) -> Self {
        Self {
            total: losses.iter().flatten().sum(),
            n: losses.iter().flatten().count() as f64,
        }
    }

    fn without(&self, part: &Self) -> Self {
        Self {
            total: self.total - part.total,
            n: self.n - part.n,
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.total / self.n)
    }
}

/// Mean over rows of the mean over their answered samples; none if all failed.
pub(super) fn mean_loss(losses: &[Vec<Option<f64>>]) -> Option<f64> {
    let means: Vec<Option<f64>> = losses.iter().map(|row| Sum::of(row).mean()).collect();
    Sum::of(&means).mean()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_compared_with_the_others_of_its_row() {
        let weights = leave_one_out(
            &[vec![Some(1.0), Some(4.0)], vec![Some(7.0), Some(7.0)]],
            1,
            2.0,
        );
        assert_eq!(weights, [vec![-0.75, 0.75], vec![0.0, 0.0]]);
    }

    #[test]
    fn a_single_sample_is_compared_with_the_other_rows() {
        let weights = leave_one_out(
            &[vec![Some(1.0)], vec![Some(4.0)], vec![Some(10.0)]],
            1,
            2.0,
        );
        assert_eq!(weights, [vec![-2.0], vec![-0.5], vec![2.5]]);
        assert_eq!(leave_one_out(&[vec![Some(3.0)]], 1, 2.0), [vec![1.0]]);
    }

    #[test]
    fn a_pair_is_compared_with_the_other_pairs() {
        let row = vec![Some(1.0), Some(3.0), Some(5.0), Some(9.0)];
        let weights = leave_one_out(&[row], 2, 0.0);
        assert_eq!(weights, [vec![-1.5, -1.0, 0.75, 1.75]]);
        let pairs = [vec![Some(1.0), Some(3.0)], vec![Some(5.0), None]];
        let weights = leave_one_out(&pairs, 2, 0.0);
        assert_eq!(weights, [vec![-1.0, -0.5], vec![1.5, 0.0]]);
        assert_eq!(leave_one_out(&pairs[..1], 2, 0.0), [vec![0.5, 1.5]]);
    }

    #[test]
    fn a_failed_sample_counts_as_absent() {
        let failed = leave_one_out(
            &[vec![Some(1.0), None, Some(4.0)], vec![None, None, None]],
            1,
            2.0,
        );
        let absent = leave_one_out(&[vec![Some(1.0), Some(4.0)]], 1, 2.0);
        assert_eq!(failed[0], [absent[0][0], 0.0, absent[0][1]]);
        assert_eq!(failed[1], [0.0; 3]);
    }

    #[test]
    fn a_constant_added_to_every_loss_changes_nothing() {
        let losses = |c: f64| {
            vec![
                vec![Some(1.0 + c), Some(2.5 + c)],
                vec![Some(8.0 + c), None],
            ]
        };
        assert_eq!(
            leave_one_out(&losses(0.0), 1, 2.0),
            leave_one_out(&losses(64.0), 1, 2.0)
        );
    }
}
