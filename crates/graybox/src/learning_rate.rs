//! How fast weights move in the course of a run.

use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::error::{not_negative, positive};

/// A learning rate that falls from `initial` to `initial · floor` along half a cosine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRate {
    /// At the start.
    pub initial: f64,
    /// Share that is left at the end.
    pub floor: f64,
}

impl LearningRate {
    /// The same rate throughout.
    pub fn constant(rate: f64) -> Self {
        Self {
            initial: rate,
            floor: 1.0,
        }
    }
}

impl Default for LearningRate {
    fn default() -> Self {
        Self {
            initial: 3e-3,
            floor: 0.0,
        }
    }
}

impl LearningRate {
    /// The rate after this share of the run, in `[0, 1]`.
    pub fn at(&self, progress: f64) -> f64 {
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos());
        self.initial * (self.floor + (1.0 - self.floor) * cosine)
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), ConfigError> {
        positive(&format!("{field}.initial"), self.initial)?;
        not_negative(&format!("{field}.floor"), self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_falls_along_half_a_cosine() {
        let rate = LearningRate {
            initial: 2.0,
            floor: 0.1,
        };
        assert!((rate.at(0.0) - 2.0).abs() < 1e-12);
        assert!((rate.at(0.5) - 1.1).abs() < 1e-12);
        assert!((rate.at(1.0) - 0.2).abs() < 1e-12);
        assert!((rate.at(7.0) - 0.2).abs() < 1e-12);
    }
}
