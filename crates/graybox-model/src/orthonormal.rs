//! Gram–Schmidt, for bases that turn a little at a time.

/// The rows of an `[n, n]` matrix, made orthonormal from the first to the last, take the place of the old
/// `vectors`, which are orthonormal. A row of which the rows before it leave nothing but rounding gives way to the
/// [old direction](Leftover), so that a direction nothing is known of stays as it was.
///
/// In double precision, and twice, which is as good as any method (Giraud, Langou & Rozložník, 2005).
pub(crate) fn rows(n: usize, towards: &[f32], vectors: &mut [f32]) {
    let noise = noise(n, towards);
    let mut old = Leftover::new(n, vectors);
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(n);
    for k in 0..n {
        let mut row = widened(&towards[k * n..(k + 1) * n]);
        remove_all(&mut row, &done);
        if norm(&row) <= noise {
            row = widened(old.instead_of(k, done.iter().map(Vec::as_slice)));
            remove_all(&mut row, &done);
        }
        let length = norm(&row);
        for (vector, value) in vectors[k * n..(k + 1) * n].iter_mut().zip(&mut row) {
            *value /= length;
            *vector = *value as f32;
        }
        done.push(row);
    }
}
/// What rounding to single precision may leave of the longest of these rows.
pub(crate) fn noise(n: usize, rows: &[f32]) -> f64 {
    let square = |row: &[f32]| {
        row.iter()
            .map(|value| f64::from(value * value))
            .sum::<f64>()
    };
    let longest = rows.chunks_exact(n.max(1)).map(square).fold(0.0, f64::max);
    (f64::from(f32::EPSILON) * longest.sqrt()).max(f64::MIN_POSITIVE)
}

/// Old directions, and how much of each lies outside of what the new rows span.
pub(crate) struct Leftover {
    n: usize,
    vectors: Vec<f32>,
    /// The square of that, and of how many rows.
    outside: Vec<f64>,
    rows: usize,
}

impl Leftover {
    /// Of these orthonormal rows, `[n, n]`.
    pub(crate) fn new(n: usize, vectors: &[f32]) -> Self {
        Self {
            n,
            vectors: vectors.to_vec(),
            outside: vec![1.0; n],
            rows: 0,
        }
    }

    /// The old direction of the row that comes next, or the one with the most outside where little of it is.
    pub(crate) fn instead_of<'a>(
        &mut self,
        row_idx: usize,
        rows: impl Iterator<Item = &'a [f64]>,
    ) -> &[f32] {
        for row in rows.skip(self.rows) {
            let vectors = self.vectors.chunks_exact(self.n);
            for (outside, vector) in self.outside.iter_mut().zip(vectors) {
                let along: f64 = row.iter().zip(vector).map(|(a, b)| a * f64::from(*b)).sum();
                *outside -= along * along;
            }
            self.rows += 1;
        }
        let mut most = row_idx;
        if self.outside[row_idx] < 0.25 {
            for (idx, outside) in self.outside.iter().enumerate() {
                if *outside > self.outside[most] {
                    most = idx;
                }
            }
        }
        &self.vectors[most * self.n..(most + 1) * self.n]
    }
}

fn widened(row: &[f32]) -> Vec<f64> {
    row.iter().copied().map(f64::from).collect()
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Takes what lies along these orthonormal rows from another.
fn remove_all(row: &mut [f64], others: &[Vec<f64>]) {
    for other in others.iter().chain(others) {
        remove(row, other);
    }
}

/// Takes the part along a unit vector from a row.
fn remove(row: &mut [f64], other: &[f64]) {
    let part: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
    for (a, b) in row.iter_mut().zip(other) {
        *a -= part * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn identity(n: usize) -> Vec<f32> {
        let entry = |idx: usize| f32::from(u8::from(idx.is_multiple_of(n + 1)));
        (0..n * n).map(entry).collect()
    }

    fn assert_orthonormal(rows: &[f32], n: usize) {
        for (i, a) in rows.chunks_exact(n).enumerate() {
            for (j, b) in rows.chunks_exact(n).enumerate() {
                let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let expected = f32::from(u8::from(i == j));
                assert!((product - expected).abs() < 1e-6, "{product} at {i}, {j}");
            }
        }
    }

    #[test]
    fn rows_come_out_orthonormal_even_where_the_matrix_is_singular() {
        let singular = [1.0, 2.0, 0.0, 2.0, 4.0, 0.0, 0.0, 0.0, 1e-30];
        let mut vectors = identity(3);
        rows(3, &singular, &mut vectors);
        assert_orthonormal(&vectors, 3);
    }

    #[test]
    fn a_direction_nothing_is_known_of_stays_whatever_rounding_says_of_it() {
        // Of rank one, but for rounding.
        let direction = [0.6f32, 0.0, 0.8, 0.0];
        let turned = |noise: f32| {
            let rng = &mut StdRng::seed_from_u64(3);
            let entry = |idx: usize| {
                direction[idx / 4] * direction[idx % 4] + noise * rng.random_range(-1.0..1.0f32)
            };
            let towards: Vec<f32> = (0..16).map(entry).collect();
            let mut vectors = identity(4);
            rows(4, &towards, &mut vectors);
            assert_orthonormal(&vectors, 4);
            vectors
        };
        let exact = turned(0.0);
        for (one, other) in exact.iter().zip(turned(0.25 * f32::EPSILON)) {
            assert!((one - other).abs() < 1e-5, "{one} {other}");
        }
        // The second and the last direction, which it does not touch.
        assert_eq!(exact[4..8], [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(exact[12..], [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn rows_that_are_nearly_one_come_out_orthonormal_and_span_what_they_did() {
        let rng = &mut StdRng::seed_from_u64(1);
        for n in [1, 4, 7, 33] {
            let first: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            let near = |idx: usize| first[idx % n] + rng.random_range(-1e-3..1e-3f32);
            let given: Vec<f32> = (0..n * n).map(near).collect();
            let mut vectors = identity(n);
            rows(n, &given, &mut vectors);
            assert_orthonormal(&vectors, n);
            // A row of the matrix has no part along the rows after it.
            for (k, given) in given.chunks_exact(n).enumerate() {
                for later in vectors.chunks_exact(n).skip(k + 1) {
                    let part: f32 = given.iter().zip(later).map(|(a, b)| a * b).sum();
                    assert!(part.abs() < 1e-5, "{part} of row {k}");
                }
            }
        }
    }
}
