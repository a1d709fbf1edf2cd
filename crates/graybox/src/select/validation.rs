//! How rows are parted into those to learn from and those to measure on.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::seed;

/// How the training rows are parted into rows to learn from and rows to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// This many parts; each is measured on once, after learning from all the others.
    Folds(usize),
    /// This many parts in order; each but the first is measured on after learning from those before it, as
    /// if rows arrived over time (Blum, Kalai & Langford, COLT 1999).
    Progressive(usize),
}

impl Validation {
    /// Pairs of rows to learn from and rows to measure on.
    pub(super) fn parts(self, rows: usize, seed: u64) -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut index: Vec<usize> = (0..rows).collect();
        let (Self::Folds(k) | Self::Progressive(k)) = self;
        if let Self::Folds(_) = self {
            index.shuffle(&mut seed::stream(seed, "folds", 0));
        }
        let part = |i: usize| &index[i * rows / k..(i + 1) * rows / k];
        match self {
            Self::Folds(_) => (0..k)
                .map(|held| {
                    let others = (0..k).filter(|i| *i != held);
                    (
                        others.flat_map(part).copied().collect(),
                        part(held).to_vec(),
                    )
                })
                .collect(),
            Self::Progressive(_) => (1..k)
                .map(|held| {
                    (
                        (0..held).flat_map(part).copied().collect(),
                        part(held).to_vec(),
                    )
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_held_out_once_and_never_learned_from_at_the_same_time() {
        let parts = Validation::Folds(3).parts(10, 1);
        let mut held: Vec<usize> = parts.iter().flat_map(|(_, held)| held.clone()).collect();
        held.sort_unstable();
        assert_eq!(held, (0..10).collect::<Vec<_>>());
        for (learned, held) in &parts {
            assert_eq!(learned.len() + held.len(), 10);
            assert!(held.iter().all(|row| !learned.contains(row)));
        }
    }

    #[test]
    fn progressive_validation_measures_only_on_what_comes_later() {
        let parts = Validation::Progressive(3).parts(9, 1);
        assert_eq!(parts[0], (vec![0, 1, 2], vec![3, 4, 5]));
        assert_eq!(parts[1], ((0..6).collect(), vec![6, 7, 8]));
        assert_eq!(parts.len(), 2);
    }
}
