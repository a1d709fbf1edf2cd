//! Actions for all contexts from the action of one of them.
//!
//! Where a context has several good actions, neighbouring contexts may have settled in different branches, and the
//! policy between them is a wall on which it misses everything. No gradient moves it: each side is right where it
//! is. But a branch can usually be followed into the other's contexts: from row to row, the action of a
//! neighbour is almost right and a few steps of the surrogate make it so. That is numerical continuation, along a
//! graph of nearest contexts instead of a curve.
//!
//! Source: Allgower & Georg, Numerical Continuation Methods (1990).

use graybox_oracle::Rows;

/// Neighbours of a row.
const NEIGHBOURS: usize = 6;

/// Contexts with their nearest ones.
pub(super) struct Graph {
    /// In both directions.
    neighbours: Vec<Vec<usize>>,
}

impl Graph {
    /// Contexts are in units in which distances mean something.
    pub(super) fn new(x: &Rows) -> Self {
        let nearest = |i: usize| {
            let mut all: Vec<(usize, f64)> = (0..x.len())
                .filter(|j| *j != i)
                .map(|j| (j, distance(x.row(i), x.row(j))))
                .collect();
            let k = NEIGHBOURS.min(all.len());
            if k < all.len() {
                all.select_nth_unstable_by(k, |a, b| a.1.total_cmp(&b.1));
            }
            all.into_iter().take(k).map(|(j, _)| j).collect()
        };
        let mut neighbours: Vec<Vec<usize>> = (0..x.len()).map(nearest).collect();
        for i in 0..x.len() {
            for j in neighbours[i].clone() {
                if !neighbours[j].contains(&i) {
                    neighbours[j].push(i);
                }
            }
        }
        Self { neighbours }
    }

    /// Pairs of neighbours, each once: the first rows and the second ones.
    pub(super) fn pairs(&self) -> (Vec<usize>, Vec<usize>) {
        let rows = self.neighbours.iter().enumerate();
        rows.flat_map(|(i, others)| others.iter().filter(move |j| **j > i).map(move |j| (i, *j)))
            .unzip()
    }

    /// Actions that go on from that of one row, wave by wave: rows next to known ones start at the mean of their
    /// neighbours there and `refine` takes them to their targets. It is given rows and their actions. Rows that no
    /// path leads to keep the action they have in `u`.
    pub(super) fn continued(
        &self,
        u: &Rows,
        from: usize,
        mut refine: impl FnMut(&[usize], Rows) -> Rows,
    ) -> Rows {
        let mut u = u.clone();
        let mut known = vec![false; u.len()];
        known[from] = true;
        loop {
            let (mut wave, mut starts) = (Vec::new(), Rows::new(u.width()));
            for i in (0..u.len()).filter(|i| !known[*i]) {
                let ashore = self.neighbours[i].iter().filter(|j| known[**j]);
                let ashore: Vec<usize> = ashore.copied().collect();
                if ashore.is_empty() {
                    continue;
                }
                let sum = |k: usize| ashore.iter().map(|j| u.row(*j)[k]).sum::<f64>();
                let mean = (0..u.width()).map(|k| sum(k) / ashore.len() as f64);
                let start: Vec<f64> = mean.collect();
                starts.push(&start).expect("as wide as the others");
                wave.push(i);
            }
            if wave.is_empty() {
                return u;
            }
            let refined = refine(&wave, starts);
            for (i, action) in wave.into_iter().zip(refined.iter()) {
                u.row_mut(i).copy_from_slice(action);
                known[i] = true;
            }
        }
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: impl Iterator<Item = f64>) -> Rows {
        Rows::from_vec(1, values.collect()).unwrap()
    }

    fn line() -> Rows {
        rows((0..40).map(|k| f64::from(k) / 10.0))
    }

    #[test]
    fn neighbours_are_paired_once() {
        let (first, second) = Graph::new(&line()).pairs();
        // Three on either side of each, four to six where there are fewer on one.
        assert!(first.iter().zip(&second).all(|(i, j)| i < j && j - i <= 6));
        let all: std::collections::BTreeSet<_> = first.iter().zip(&second).collect();
        assert_eq!(all.len(), first.len());
        assert!(first.len() >= 3 * 37);
    }

    #[test]
    fn one_row_is_followed_into_all_others() {
        // A branch of u³ = 9u + x, from the other one but for a single row.
        let x = line();
        let u = rows((0..40).map(|k| if k == 20 { 3.1 } else { -3.0 }));
        let mut waves = 0;
        let mended = Graph::new(&x).continued(&u, 20, |wave, starts| {
            waves += 1;
            let newton = |(i, u): (&usize, &[f64])| {
                let mut u = u[0];
                for _ in 0..5 {
                    u -= (u.powi(3) - 9.0 * u - x.row(*i)[0]) / (3.0 * u * u - 9.0);
                }
                u
            };
            rows(wave.iter().zip(starts.iter()).map(newton))
        });
        assert!(waves > 2);
        let expected = |x: f64| 3.0 + x / 18.0;
        for (x, u) in x.iter().zip(mended.iter()) {
            assert!((u[0] - expected(x[0])).abs() < 0.05, "{x:?}: {u:?}");
        }
    }
}
