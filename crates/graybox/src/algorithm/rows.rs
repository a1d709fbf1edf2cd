//! What the rows of a batch say, one by one, and what follows for all of them.

use graybox_oracle::{Rows, ShapeError};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{Batch, Probe, seed};

/// `n` row numbers below `among`, drawn with replacement.
pub(super) fn random_rows(probe: &mut Probe<'_>, n: usize, among: usize) -> Vec<usize> {
    let rng = probe.rng();
    (0..n).map(|_| rng.random_range(0..among)).collect()
}

/// What one row says.
#[derive(Debug, Clone)]
pub(super) struct RowGradient {
    /// `ℓ(y, Y)` at the policy's action, or near it.
    pub(super) loss: f64,
    /// `∂ℓ/∂u`.
    pub(super) dloss_du: Vec<f64>,
}

/// `∂L/∂u`, `[batch, d_u]`, of the mean loss over the rows that said something, zero for the others; and
/// that mean loss, if any row did.
pub(super) fn mean(
    rows: &[Option<RowGradient>],
    d_u: usize,
) -> Result<(Rows, Option<f64>), ShapeError> {
    let answered = rows.iter().flatten().count();
    let share = 1.0 / answered.max(1) as f64;
    let mut dloss_du = Rows::with_capacity(d_u, rows.len());
    let mut gradient = vec![0.0; d_u];
    for row in rows {
        gradient.fill(0.0);
        if let Some(row) = row {
            for (mean, slope) in gradient.iter_mut().zip(&row.dloss_du) {
                *mean = slope * share;
            }
        }
        dloss_du.push(&gradient)?;
    }
    let loss: f64 = rows.iter().flatten().map(|row| row.loss * share).sum();
    Ok((dloss_du, (answered > 0).then_some(loss)))
}

/// A generator for every row of a batch. A row's noise follows from the row and the round, not from its
/// place in the batch or from what became of the rows before it.
pub(super) fn streams(batch: &Batch, probe: &mut Probe<'_>) -> Vec<StdRng> {
    let round: u64 = probe.rng().random();
    let streams = batch.index.iter();
    streams
        .map(|row| seed::stream(round, "row", *row as u64))
        .collect()
}
