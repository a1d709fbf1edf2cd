//! Walls in a policy, and actions without them.
//!
//! Where a context has several good actions, neighbouring contexts may have settled in different branches, and the
//! policy between them is a wall on which it misses everything. No gradient moves it: each side is right where it
//! is. But either branch can usually be followed into the other's contexts: from row to row, the action of a
//! neighbour is almost right and a few steps of the surrogate make it so. That is numerical continuation, along a
//! graph of nearest contexts instead of a curve.
//!
//! Source: Allgower & Georg, Numerical Continuation Methods (1990).

use graybox_oracle::Rows;

/// Neighbours of a row.
const NEIGHBOURS: usize = 6;
/// How much faster than usual actions change across a wall.
const STEEP: f64 = 8.0;

/// Rows of contexts with their actions, both in units in which distances mean something.
pub(super) struct Graph<'a> {
    u: &'a Rows,
    /// Nearest rows and the distance to each.
    neighbours: Vec<Vec<(usize, f64)>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(x: &Rows, u: &'a Rows) -> Self {
        let nearest = |i: usize| {
            let mut all: Vec<(usize, f64)> = (0..x.len())
                .filter(|j| *j != i)
                .map(|j| (j, distance(x.row(i), x.row(j))))
                .collect();
            let k = NEIGHBOURS.min(all.len());
            if k < all.len() {
                all.select_nth_unstable_by(k, |a, b| a.1.total_cmp(&b.1));
            }
            all.truncate(k);
            all
        };
        let mut neighbours: Vec<_> = (0..x.len()).map(nearest).collect();
        for i in 0..x.len() {
            for (j, far) in neighbours[i].clone() {
                if !neighbours[j].iter().any(|(back, _)| *back == i) {
                    neighbours[j].push((i, far));
                }
            }
        }
        Self { u, neighbours }
    }

    /// The rows of the set without a wall inside that holds most of these.
    pub(super) fn island_of(&self, these: &[bool]) -> Vec<bool> {
        let island = self.islands();
        let mut held = vec![0; island.len()];
        for (id, counts) in island.iter().zip(these) {
            held[*id] += usize::from(*counts);
        }
        let most = (0..held.len()).max_by_key(|id| held[*id]);
        island.iter().map(|id| Some(*id) == most).collect()
    }

    /// For each row the number of the set without a wall inside that it is in.
    fn islands(&self) -> Vec<usize> {
        let slope = |i: usize, (j, far): (usize, f64)| {
            distance(self.u.row(i), self.u.row(j)) / far.max(f64::MIN_POSITIVE)
        };
        let rows = || self.neighbours.iter().enumerate();
        let mut slopes: Vec<f64> = rows()
            .flat_map(|(i, edges)| edges.iter().map(move |edge| slope(i, *edge)))
            .collect();
        slopes.sort_by(f64::total_cmp);
        let steep = STEEP * slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
        let mut island = vec![usize::MAX; self.neighbours.len()];
        let mut islands = 0;
        for start in 0..island.len() {
            if island[start] != usize::MAX {
                continue;
            }
            let (id, mut found) = (islands, vec![start]);
            island[start] = id;
            let mut done = 0;
            while let Some(&i) = found.get(done) {
                done += 1;
                for &(j, far) in &self.neighbours[i] {
                    if island[j] == usize::MAX && slope(i, (j, far)) <= steep {
                        island[j] = id;
                        found.push(j);
                    }
                }
            }
            islands += 1;
        }
        island
    }

    /// Actions that go on from those of the mainland, wave by wave: rows next to it start at the mean of their
    /// neighbours there and `refine` takes them to their targets. It is given rows and their actions.
    pub(super) fn continued(
        &self,
        mut known: Vec<bool>,
        mut refine: impl FnMut(&[usize], Rows) -> Rows,
    ) -> Rows {
        let mut u: Vec<Vec<f64>> = self.u.iter().map(<[f64]>::to_vec).collect();
        loop {
            let (mut wave, mut starts) = (Vec::new(), Rows::new(self.u.width()));
            for i in (0..u.len()).filter(|i| !known[*i]) {
                let ashore = self.neighbours[i].iter().filter(|(j, _)| known[*j]);
                let ashore: Vec<&Vec<f64>> = ashore.map(|(j, _)| &u[*j]).collect();
                if ashore.is_empty() {
                    continue;
                }
                let mean =
                    |k: usize| ashore.iter().map(|u| u[k]).sum::<f64>() / ashore.len() as f64;
                let start: Vec<f64> = (0..self.u.width()).map(mean).collect();
                starts.push(&start).expect("as wide as the others");
                wave.push(i);
            }
            if wave.is_empty() {
                break;
            }
            let refined = refine(&wave, starts);
            for (i, action) in wave.into_iter().zip(refined.iter()) {
                u[i] = action.to_vec();
                known[i] = true;
            }
        }
        let mut rows = Rows::with_capacity(self.u.width(), u.len());
        for action in u {
            rows.push(&action).expect("as wide as the others");
        }
        rows
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
    fn a_smooth_policy_has_no_wall() {
        let (x, u) = (line(), rows(line().as_slice().iter().map(|x| x.sin())));
        assert!(
            Graph::new(&x, &u)
                .island_of(&[true; 40])
                .iter()
                .all(|known| *known)
        );
    }

    #[test]
    fn the_larger_side_of_a_wall_is_followed_into_the_other() {
        // Two branches of u³ = 9u + x, one of which ends a little beyond the wall.
        let right = |x: f64| {
            if x < 1.0 {
                -3.0 + x / 18.0
            } else {
                3.0 + x / 18.0
            }
        };
        let (x, u) = (line(), rows(line().as_slice().iter().map(|x| right(*x))));
        let graph = Graph::new(&x, &u);
        let known = graph.island_of(&[true; 40]);
        assert_eq!(known.iter().filter(|known| !**known).count(), 10);
        assert!(known[10] && !known[9]);
        let mut waves = 0;
        let mended = graph.continued(known, |wave, starts| {
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
