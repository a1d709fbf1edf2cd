//! Noise on the actions asked, so that outcomes tell of `∂F/∂u` and not of one surface `u = π(x)` alone.
//!
//! The noise shrinks as the budget is spent: wide while the surrogate knows nothing, narrow once the policy
//! only needs to be corrected. It is antithetic across visits: a training row that was asked at `u + ε` is
//! asked at `u − ε` the next time, so that what is odd in ε leaves the average exactly rather than slowly.

use graybox_oracle::Rows;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::error::positive;
use crate::{ConfigError, seed};

/// Standard deviation of the noise, in units of the actions' scale, falling geometrically.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Annealed {
    /// At the start.
    pub initial: f64,
    /// When the budget is spent.
    pub last: f64,
}

impl Default for Annealed {
    fn default() -> Self {
        Self {
            initial: 0.14,
            last: 0.04,
        }
    }
}

impl Annealed {
    /// The deviation after this share of the run, in `[0, 1]`.
    pub fn at(&self, progress: f64) -> f64 {
        self.initial * (self.last / self.initial).powf(progress.clamp(0.0, 1.0))
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), ConfigError> {
        positive(&format!("{field}.initial"), self.initial)?;
        positive(&format!("{field}.last"), self.last)
    }
}

/// Standard normal numbers for every training row, of which those of every second visit are the negatives of
/// the visit before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Antithetic {
    seed: u64,
    d_u: usize,
    visits: Vec<u32>,
}

impl Antithetic {
    /// For a data set of this many rows, none visited yet.
    pub fn new(seed: u64, rows: usize, d_u: usize) -> Self {
        Self {
            seed,
            d_u,
            visits: vec![0; rows],
        }
    }

    /// `[n, d_u]` for the visits of these rows.
    pub fn draw(&mut self, index: &[usize]) -> Rows {
        let mut noise = Rows::with_capacity(self.d_u, index.len());
        for &row in index {
            let visit = self.visits[row];
            self.visits[row] += 1;
            let (pair, sign) = (
                u64::from(visit / 2),
                if visit.is_multiple_of(2) { 1.0 } else { -1.0 },
            );
            let which = pair * self.visits.len() as u64 + row as u64;
            let mut rng = seed::stream(self.seed, "antithetic noise", which);
            let values: Vec<f64> = (0..self.d_u)
                .map(|_| sign * Distribution::<f64>::sample(&StandardNormal, &mut rng))
                .collect();
            noise.push(&values).expect("one number per action");
        }
        noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_falls_by_equal_factors() {
        let sigma = Annealed {
            initial: 0.4,
            last: 0.1,
        };
        assert!((sigma.at(0.0) - 0.4).abs() < 1e-12);
        assert!((sigma.at(0.5) - 0.2).abs() < 1e-12);
        assert!((sigma.at(1.0) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn every_second_visit_of_a_row_undoes_the_one_before() {
        let mut noise = Antithetic::new(3, 4, 2);
        let first = noise.draw(&[2, 0]);
        let second = noise.draw(&[0, 2]);
        let third = noise.draw(&[0, 2]);
        let undone = |row: &[f64]| row.iter().map(|value| -value).collect::<Vec<_>>();
        assert_eq!(first.row(0), undone(second.row(1)));
        assert_eq!(first.row(1), undone(second.row(0)));
        assert_ne!(first.row(0), third.row(1));
        assert_ne!(first.row(0), first.row(1));
    }
}
