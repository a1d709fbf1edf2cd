//! What chance does to an outcome.

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;

/// Noise on the outcomes of a paid call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Noise {
    /// None.
    None,
    /// `N(0, sigma²)` on every outcome.
    Normal(f64),
    /// A share of the rows is replaced by numbers from `U(−size, size)`.
    Outliers {
        /// The share.
        share: f64,
        /// The largest number.
        size: f64,
    },
}

impl Noise {
    /// The outcome as it is reported.
    pub(crate) fn of(self, mut y: Vec<f64>, rng: &mut StdRng) -> Vec<f64> {
        match self {
            Self::None => {}
            Self::Normal(sigma) => {
                for value in &mut y {
                    *value += sigma * rng.sample::<f64, _>(StandardNormal);
                }
            }
            Self::Outliers { share, size } => {
                if rng.random_bool(share) {
                    y.fill_with(|| rng.random_range(-size..size));
                }
            }
        }
        y
    }
}
