//! The transpose of a matrix, square by square.

use pulp::{Simd, WithSimd};

use super::vectorize;

/// Rows at a time, so that a column of theirs is written as one register.
const SIDE: usize = 8;

/// `[m, n]` → `[n, m]`
pub(crate) fn transpose([m, n]: [usize; 2], matrix: &[f32], out: &mut [f32]) {
    vectorize(Transpose { m, n, matrix, out });
}

struct Transpose<'a> {
    m: usize,
    n: usize,
    matrix: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { m, n, matrix, out } = self;
        let whole = m / SIDE * SIDE;
        for i in (0..whole).step_by(SIDE) {
            // Loops, not `from_fn`, whose closures may become functions of their own.
            let mut rows: [&[f32]; SIDE] = [&[]; SIDE];
            for r in 0..SIDE {
                rows[r] = &matrix[(i + r) * n..][..n];
            }
            for j in 0..n {
                let column = &mut out[j * m + i..][..SIDE];
                for r in 0..SIDE {
                    column[r] = rows[r][j];
                }
            }
        }
        for i in whole..m {
            for j in 0..n {
                out[j * m + i] = matrix[i * n + j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_changes_places_with_its_mirror_image() {
        for [m, n] in [[1, 1], [3, 9], [8, 8], [16, 24], [17, 10]] {
            let matrix: Vec<f32> = (0..m * n).map(|idx| idx as f32).collect();
            let mut out = vec![0.0; m * n];
            transpose([m, n], &matrix, &mut out);
            let expected = (0..n).flat_map(|j| (0..m).map(move |i| (i * n + j) as f32));
            assert_eq!(out, expected.collect::<Vec<f32>>());
        }
    }
}
