//! What a loss is compared with when only samples of it are known.

/// By how much each sample's loss exceeds the mean of the others of its row, over the number of samples and
/// rows that count: weights of ∇ log p in an estimate of ∇ E[mean loss]. A row with one answered sample
/// is compared with the other rows' means. Zero for a failed sample.
///
/// Leaving a sample out of its own baseline keeps the estimate unbiased; a mean that includes it shrinks the
/// estimate by 1/n.
pub(super) fn leave_one_out(losses: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    let sums: Vec<(f64, f64)> = losses
        .iter()
        .map(|row| {
            row.iter()
                .flatten()
                .fold((0.0, 0.0), |(s, n), l| (s + l, n + 1.0))
        })
        .collect();
    let means = sums.iter().filter(|(_, n)| *n > 0.0).map(|(s, n)| s / n);
    let rows = means.clone().count() as f64;
    let total: f64 = means.sum();
    let weigh = |(row, (sum, n)): (&Vec<Option<f64>>, &(f64, f64))| {
        let weigh = |loss: &Option<f64>| {
            let Some(loss) = loss else {
                return 0.0;
            };
            let baseline = if *n > 1.0 {
                (sum - loss) / (n - 1.0)
            } else if rows > 1.0 {
                (total - loss) / (rows - 1.0)
            } else {
                // Nothing to compare with: the sample says nothing.
                *loss
            };
            (loss - baseline) / (n * rows)
        };
        row.iter().map(weigh).collect()
    };
    losses.iter().zip(&sums).map(weigh).collect()
}

/// Mean over rows of the mean over their answered samples; none if all failed.
pub(super) fn mean_loss(losses: &[Vec<Option<f64>>]) -> Option<f64> {
    let means: Vec<f64> = losses
        .iter()
        .filter_map(|row| {
            let n = row.iter().flatten().count();
            (n > 0).then(|| row.iter().flatten().sum::<f64>() / n as f64)
        })
        .collect();
    (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_compared_with_the_others_of_its_row() {
        let weights = leave_one_out(&[vec![Some(1.0), Some(4.0)], vec![Some(7.0), Some(7.0)]]);
        assert_eq!(weights, [vec![-0.75, 0.75], vec![0.0, 0.0]]);
    }

    #[test]
    fn a_single_sample_is_compared_with_the_other_rows() {
        let weights = leave_one_out(&[vec![Some(1.0)], vec![Some(4.0)], vec![Some(10.0)]]);
        assert_eq!(weights, [vec![-2.0], vec![-0.5], vec![2.5]]);
        assert_eq!(leave_one_out(&[vec![Some(3.0)]]), [vec![0.0]]);
    }

    #[test]
    fn a_failed_sample_counts_as_absent() {
        let failed = leave_one_out(&[vec![Some(1.0), None, Some(4.0)], vec![None, None, None]]);
        let absent = leave_one_out(&[vec![Some(1.0), Some(4.0)]]);
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
        assert_eq!(leave_one_out(&losses(0.0)), leave_one_out(&losses(64.0)));
    }
}
