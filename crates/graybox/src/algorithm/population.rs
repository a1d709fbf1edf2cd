//! Policies around the one that is trained, each asked on the same rows.

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use graybox_model::{FlatLayout, Policy};
use graybox_oracle::Rows;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::{Batch, Probe, StepError, Student, bridge};

/// A member's loss on every row; none where the call failed.
pub(super) type Losses = Vec<Option<f64>>;

/// Asks the oracle for every row of the batch under every member, the policy whose weights are off by a
/// row of `offsets`, `[members, weights]`.
pub(super) fn ask<P: Policy>(
    student: &Student<P>,
    batch: &Batch,
    offsets: &Rows,
    probe: &mut Probe<'_>,
) -> Result<Vec<Losses>, StepError> {
    let layout = FlatLayout::of(student.policy());
    let policy = student.snapshot();
    let weights = probe.upload(offsets) + layout.flatten(&policy).unsqueeze();
    let u = policy.forward_population(&layout, weights, batch.x.clone());
    let [members, n, d_u] = u.dims();
    let u = bridge::download(u.reshape([members * n, d_u]));
    for (values, row) in u.iter().zip(batch.index.iter().cycle()) {
        if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
            return Err(StepError::Diverged { row: *row, value });
        }
    }
    let mut x = Rows::with_capacity(batch.x_rows.width(), members * n);
    for _ in 0..members {
        x.append(&batch.x_rows)?;
    }
    let outcomes = probe.ask_rows(&x, &u)?;
    let objective = probe.objective();
    let losses = outcomes.chunks_exact(n).map(|outcomes| {
        let rows = outcomes.iter().zip(batch.target_rows.iter());
        rows.map(|(y, target)| Some(objective.value(y.as_ref().ok()?, target)))
            .collect()
    });
    Ok(losses.collect())
}

/// Mean over the rows that were answered.
pub(super) fn mean(losses: &Losses) -> Option<f64> {
    let answered = losses.iter().flatten().count();
    (answered > 0).then(|| losses.iter().flatten().sum::<f64>() / answered as f64)
}

/// Two members on either side of the policy, with their losses on the rows that both answered.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// From the policy's weights to the first member's.
    pub(super) offset: Vec<f64>,
    pub(super) plus: f64,
    pub(super) minus: f64,
}

/// Draws `n` offsets from N(0, σ²), σ of every weight, and asks the oracle under `+offset` and `−offset` for each.
/// A pair without a row in common is left out.
pub(super) fn ask_pairs<P: Policy>(
    student: &Student<P>,
    batch: &Batch,
    n: usize,
    sigma: &[f64],
    probe: &mut Probe<'_>,
) -> Result<Vec<Pair>, StepError> {
    let mut draw = || -> Vec<f64> {
        let z = normal(sigma.len(), probe.rng());
        z.iter().zip(sigma).map(|(z, s)| z * s).collect()
    };
    let offsets: Vec<Vec<f64>> = (0..n).map(|_| draw()).collect();
    let mut members = Rows::with_capacity(sigma.len(), 2 * n);
    for offset in &offsets {
        members.push(offset)?;
        let mirrored: Vec<f64> = offset.iter().map(|o| -o).collect();
        members.push(&mirrored)?;
    }
    let losses = ask(student, batch, &members, probe)?;
    let mut pairs = Vec::with_capacity(n);
    for (offset, sides) in offsets.into_iter().zip(losses.chunks_exact(2)) {
        let rows = sides[0].iter().zip(&sides[1]);
        let (plus, minus): (Losses, Losses) = rows
            .filter(|(plus, minus)| plus.is_some() && minus.is_some())
            .map(|(plus, minus)| (*plus, *minus))
            .unzip();
        if let (Some(plus), Some(minus)) = (mean(&plus), mean(&minus)) {
            pairs.push(Pair {
                offset,
                plus,
                minus,
            });
        }
    }
    Ok(pairs)
}

/// Mean loss of all members; none without pairs.
pub(super) fn mean_loss(pairs: &[Pair]) -> Option<f64> {
    let sum: f64 = pairs
        .iter()
        .map(|pair| 0.5 * (pair.plus + pair.minus))
        .sum();
    (!pairs.is_empty()).then(|| sum / pairs.len() as f64)
}

/// Mean over pairs of ½ (L⁺ − L⁻) ε: the gradient in the weights times σ², weight by weight.
pub(super) fn slope(pairs: &[Pair]) -> Vec<f64> {
    let mut slope = vec![0.0; pairs.first().map_or(0, |pair| pair.offset.len())];
    for pair in pairs {
        let share = 0.5 * (pair.plus - pair.minus) / pairs.len() as f64;
        for (slope, offset) in slope.iter_mut().zip(&pair.offset) {
            *slope += share * offset;
        }
    }
    slope
}

/// Replaces losses by their ranks among all members, from −½ for the least to ½ for the greatest. Equal
/// losses get equal ranks.
pub(super) fn rank(pairs: &mut [Pair]) {
    let mut losses: Vec<f64> = pairs.iter().flat_map(|p| [p.plus, p.minus]).collect();
    losses.sort_by(f64::total_cmp);
    let last = (losses.len().max(2) - 1) as f64;
    let rank = |loss: f64| {
        let below = losses.partition_point(|other| *other < loss);
        let not_above = losses.partition_point(|other| *other <= loss);
        0.5 * (below + not_above - 1) as f64 / last - 0.5
    };
    for pair in pairs {
        (pair.plus, pair.minus) = (rank(pair.plus), rank(pair.minus));
    }
}

/// `n` numbers from N(0, 1).
pub(super) fn normal(n: usize, rng: &mut impl Rng) -> Vec<f64> {
    (0..n).map(|_| StandardNormal.sample(rng)).collect()
}

/// Number of weights that are searched.
pub(super) fn weights<P: Policy>(student: &Student<P>) -> usize {
    FlatLayout::of(student.policy()).len()
}

/// Moves the policy's weights by a step.
pub(super) fn shift<P: Policy>(student: &mut Student<P>, step: &[f64], probe: &Probe<'_>) {
    let layout = FlatLayout::of(student.policy());
    let policy = student.snapshot();
    let weights = layout.flatten(&policy) + upload(step, probe);
    student.set_policy(layout.unflatten(policy, weights));
}

/// A gradient for the optimizer, parameter by parameter.
pub(super) fn gradients<P: Policy>(
    student: &Student<P>,
    gradient: &[f64],
    probe: &Probe<'_>,
) -> GradientsParams {
    let layout = FlatLayout::of(student.policy());
    let mut register = Register {
        trained: layout.trained().iter(),
        flat: upload(gradient, probe),
        start: 0,
        gradients: GradientsParams::new(),
    };
    student.policy().visit(&mut register);
    register.gradients
}

fn upload(values: &[f64], probe: &Probe<'_>) -> Tensor<1> {
    let row = Rows::from_vec(values.len(), values.to_vec());
    let row = row.expect("one whole row of at least one weight");
    probe.upload(&row).squeeze_dim(0)
}

struct Register<'a> {
    trained: std::slice::Iter<'a, bool>,
    flat: Tensor<1>,
    start: usize,
    gradients: GradientsParams,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.trained.next().is_some_and(|trained| *trained) {
            let shape = param.lazy_shape();
            let n = shape.num_elements();
            let part: Tensor<D> = self.flat.clone().narrow(0, self.start, n).reshape(shape);
            self.start += n;
            self.gradients.register(param.id, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(plus: f64, minus: f64) -> Pair {
        Pair {
            offset: Vec::new(),
            plus,
            minus,
        }
    }

    #[test]
    fn ranks_are_centred_and_equal_losses_share_theirs() {
        let mut pairs = [pair(7.0, -1.0), pair(0.5, 0.5)];
        rank(&mut pairs);
        let ranks: Vec<f64> = pairs.iter().flat_map(|p| [p.plus, p.minus]).collect();
        assert_eq!(ranks, [0.5, -0.5, 0.0, 0.0]);
    }

    #[test]
    fn ranks_do_not_care_for_a_constant_or_a_scale() {
        let losses = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6];
        let ranked = |f: fn(f64) -> f64| -> Vec<f64> {
            let mut pairs: Vec<_> = losses.chunks(2).map(|l| pair(f(l[0]), f(l[1]))).collect();
            rank(&mut pairs);
            pairs.iter().flat_map(|p| [p.plus, p.minus]).collect()
        };
        assert_eq!(ranked(|loss| loss), ranked(|loss| 100.0 * loss - 7.0));
    }
}
