//! Gram–Schmidt in registers.

use pulp::{Simd, WithSimd};

use super::vectorize;
use crate::orthonormal::kept;

/// What [`crate::orthonormal::rows`] does, with eight rows at a time taken out of the next one.
pub(crate) fn rows(n: usize, towards: &[f32], vectors: &mut [f32]) {
    vectorize(Orthonormalize {
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
        for k in 0..n {
            let (before, rest) = done.split_at_mut(k * stride);
            let row = &mut rest[..stride];
            let span = k * n..(k + 1) * n;
            for from in [&self.towards[span.clone()], &self.vectors[span.clone()]] {
                for (value, from) in row.iter_mut().zip(from) {
                    *value = f64::from(*from);
                }
                let length_before = norm(simd, row);
                for _ in 0..2 {
                    remove(simd, row, before);
                }
                let length = norm(simd, row);
                if kept(length, length_before) {
                    for value in row.iter_mut() {
                        *value /= length;
                    }
                    break;
                }
            }
            for (vector, value) in self.vectors[span].iter_mut().zip(row) {
                *vector = *value as f32;
            }
        }
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
    let vector = S::as_mut_simd_f64s(vector).0;
    let mut eights = rows.chunks_exact(8 * stride);
    for rows in &mut eights {
        remove_some::<S, 8>(simd, vector, rows);
    }
    let mut fours = eights.remainder().chunks_exact(4 * stride);
    for rows in &mut fours {
        remove_some::<S, 4>(simd, vector, rows);
    }
    for row in fours.remainder().chunks_exact(stride) {
        remove_some::<S, 1>(simd, vector, row);
    }
}

/// All at once: each alone would wait for its own sum.
#[inline(always)]
fn remove_some<S: Simd, const R: usize>(simd: S, vector: &mut [S::f64s], rows: &[f64]) {
    let width = vector.len();
    let rows = &S::as_simd_f64s(rows).0[..R * width];
    let mut sums = [simd.splat_f64s(0.0); R];
    for j in 0..width {
        for r in 0..R {
            sums[r] = simd.mul_add_e_f64s(vector[j], rows[r * width + j], sums[r]);
        }
    }
    for sum in &mut sums {
        *sum = simd.splat_f64s(-simd.reduce_sum_f64s(*sum));
    }
    for j in 0..width {
        for r in 0..R {
            vector[j] = simd.mul_add_e_f64s(sums[r], rows[r * width + j], vector[j]);
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
                // A row that vanishes, for which the old direction stands in.
                towards[n..2 * n].fill(0.0);
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
