//! Gram–Schmidt, for bases that turn a little at a time.

/// The rows of an `[n, n]` matrix, made orthonormal from the first to the last, take the place of the old
/// `vectors`. A row that the rows before it already span gives way to the old direction.
///
/// In double precision, and twice, which is as good as any method (Giraud, Langou & Rozložník, 2005).
pub(crate) fn rows(n: usize, towards: &[f32], vectors: &mut [f32]) {
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(n);
    for k in 0..n {
        let span = k * n..(k + 1) * n;
        let mut row = Vec::new();
        for from in [&towards[span.clone()], &vectors[span.clone()]] {
            row = from.iter().copied().map(f64::from).collect();
            let before = norm(&row);
            for _ in 0..2 {
                for other in &done {
                    remove(&mut row, other);
                }
            }
            let length = norm(&row);
            if kept(length, before) {
                for value in &mut row {
                    *value /= length;
                }
                break;
            }
        }
        for (vector, value) in vectors[span].iter_mut().zip(&row) {
            *vector = *value as f32;
        }
        done.push(row);
    }
}

/// Whether enough of a row is left to say where it points.
pub(crate) fn kept(length: f64, before: f64) -> bool {
    length > 1e-10 * before && length > f64::MIN_POSITIVE
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|value| value * value).sum::<f64>().sqrt()
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
