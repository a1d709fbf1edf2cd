//! Gram–Schmidt in registers.

use pulp::{Simd, WithSimd};

use super::vectorize_to_avx2;
use crate::orthonormal::{Leftover, noise};

/// Rows that go through the rows before them together.
const BLOCK: usize = 4;

/// What [`crate::orthonormal::rows`] does, four rows at a time. What lies along the rows before is taken out a
/// second time only where the first time took more than half of a row: elsewhere the first has left nothing but
/// rounding (Daniel, Gragg, Kaufman & Stewart, 1976).
pub(crate) fn rows(n: usize, towards: &[f32], vectors: &mut [f32]) {
    vectorize_to_avx2(Orthonormalize {
        n,
        towards,
        vectors,
    });
}

struct Orthonormalize<'a> {
    n: usize,
    towards: &'a [f32],
    vectors: &'a mut [f32],
}

impl WithSimd for Orthonormalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.n;
        // Rows of whole registers.
        let stride = n.next_multiple_of(S::F64_LANES);
        let mut done = vec![0.0f64; n * stride];
        for (row, from) in done
            .chunks_exact_mut(stride.max(1))
            .zip(self.towards.chunks_exact(n.max(1)))
        {
            widen(from, row);
        }
        let noise = noise(n, self.towards);
        let mut old = Leftover::new(n, self.vectors);
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let (before, rest) = done.split_at_mut(first * stride);
            let block = &mut rest[..rows * stride];
            let mut lengths = [0.0; BLOCK];
            for (length, row) in lengths.iter_mut().zip(block.chunks_exact(stride)) {
                *length = norm(simd, row);
            }
            if rows == BLOCK {
                remove_from_block(simd, block, before, stride);
            } else {
                for row in block.chunks_exact_mut(stride) {
                    remove(simd, row, before);
                }
            }
            for k in first..first + rows {
                let (before, rest) = done.split_at_mut(k * stride);
                let row = &mut rest[..stride];
                let length_before = lengths[k - first];
                remove(simd, row, &before[first * stride..]);
                let mut length = norm(simd, row);
                if length < 0.5 * length_before {
                    remove(simd, row, before);
                    length = norm(simd, row);
                }
                if length <= noise {
                    widen(old.instead_of(k, before.chunks_exact(stride)), row);
                    remove(simd, row, before);
                    remove(simd, row, before);
                    length = norm(simd, row);
                }
                let vectors = &mut self.vectors[k * n..(k + 1) * n];
                for (value, vector) in row.iter_mut().zip(vectors) {
                    *value /= length;
                    *vector = *value as f32;
                }
            }
        }
    }
}

#[inline(always)]
fn widen(from: &[f32], to: &mut [f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f64::from(*from);
    }
}

#[inline(always)]
fn norm<S: Simd>(simd: S, row: &[f64]) -> f64 {
    let mut sum = simd.splat_f64s(0.0);
    for value in S::as_simd_f64s(row).0 {
        sum = simd.mul_add_e_f64s(*value, *value, sum);
    }
    simd.reduce_sum_f64s(sum).sqrt()
}

/// Takes the part along these orthonormal rows from a vector.
#[inline(always)]
fn remove<S: Simd>(simd: S, vector: &mut [f64], rows: &[f64]) {
    let stride = vector.len();
    let mut fours = rows.chunks_exact(4 * stride);
    for rows in &mut fours {
        remove_some::<S, 1, 4>(simd, vector, rows, stride);
    }
    for row in fours.remainder().chunks_exact(stride) {
        remove_some::<S, 1, 1>(simd, vector, row, stride);
    }
}

/// The same of each vector of a block, a whole number of blocks of rows.
#[inline(always)]
fn remove_from_block<S: Simd>(simd: S, block: &mut [f64], rows: &[f64], stride: usize) {
    for rows in rows.chunks_exact(2 * stride) {
        remove_some::<S, BLOCK, 2>(simd, block, rows, stride);
    }
}

/// `R` rows from `B` vectors. All sums at once: each alone would wait for itself.
#[inline(always)]
fn remove_some<S: Simd, const B: usize, const R: usize>(
    simd: S,
    block: &mut [f64],
    rows: &[f64],
    stride: usize,
) {
    let width = stride / S::F64_LANES;
    let rows = S::as_simd_f64s(rows).0;
    // Loops, not `from_fn`, whose closures may become functions of their own.
    let mut split: [&[S::f64s]; R] = [&[]; R];
    for r in 0..R {
        split[r] = &rows[r * width..][..width];
    }
    let rows = split;
    let block = S::as_mut_simd_f64s(block).0;
    let mut sums = [[simd.splat_f64s(0.0); R]; B];
    {
        let mut vectors: [&[S::f64s]; B] = [&[]; B];
        for b in 0..B {
            vectors[b] = &block[b * width..][..width];
        }
        for j in 0..width {
            for b in 0..B {
                for r in 0..R {
                    sums[b][r] = simd.mul_add_e_f64s(vectors[b][j], rows[r][j], sums[b][r]);
                }
            }
        }
    }
    for sum in sums.as_flattened_mut() {
        *sum = simd.splat_f64s(-simd.reduce_sum_f64s(*sum));
    }
    for b in 0..B {
        let vector = &mut block[b * width..][..width];
        for j in 0..width {
            for r in 0..R {
                vector[j] = simd.mul_add_e_f64s(sums[b][r], rows[r][j], vector[j]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    #[test]
    fn rows_are_those_of_the_plain_form() {
        let rng = &mut StdRng::seed_from_u64(1);
        for n in [1, 3, 8, 19, 64] {
            let mut towards: Vec<f32> = (0..n * n).map(|_| rng.random_range(-1.0..1.0)).collect();
            if n > 2 {
                // Rows for which old directions stand in: one that vanishes, and one that is another but for its
                // length.
                towards[n..2 * n].fill(0.0);
                let (first, rest) = towards.split_at_mut(n);
                for (to, from) in rest[n..].iter_mut().zip(first) {
                    *to = -0.5 * *from;
                }
            }
            let entry = |idx: usize| f32::from(u8::from(idx.is_multiple_of(n + 1)));
            let mut one: Vec<f32> = (0..n * n).map(entry).collect();
            let mut other = one.clone();
            rows(n, &towards, &mut one);
            crate::orthonormal::rows(n, &towards, &mut other);
            for (one, other) in one.iter().zip(&other) {
                assert!((one - other).abs() < 1e-6, "{one} {other}");
            }
        }
    }
}
