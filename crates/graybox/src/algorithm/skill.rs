//! How far a surrogate can be trusted: the share of the outcomes' spread that it foretells.

use serde::{Deserialize, Serialize};

use crate::{Measured, Probe};

/// `R² = 1 − E ℓ(y, ŷ) / E ℓ(y, ȳ)` on rows the surrogate had not seen when it was asked, averaged over the last
/// rounds; `ȳ` is the mean of all outcomes so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Skill {
    n: f64,
    sum: Vec<f64>,
    mismatch: f64,
    spread: f64,
}

impl Skill {
    /// How much of the average a round leaves to its successor.
    const DECAY: f64 = 0.9;

    /// Takes in a round's outcomes and the mean loss of their predictions.
    pub(crate) fn observe(&mut self, measured: &Measured, mismatch: f64, probe: &Probe<'_>) {
        for y in measured.outcomes.iter().flatten() {
            self.sum.resize(y.len(), 0.0);
            self.n += 1.0;
            for (sum, y) in self.sum.iter_mut().zip(y) {
                *sum += y;
            }
        }
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.n).collect();
        let losses = measured.outcomes.iter().flatten();
        let losses = losses.map(|y| probe.objective().value(y, &mean));
        let spread = losses.sum::<f64>() / measured.answered.max(1) as f64;
        let blend = |old: f64, new: f64| Self::DECAY * old + (1.0 - Self::DECAY) * new;
        self.mismatch = blend(self.mismatch, mismatch);
        self.spread = blend(self.spread, spread);
    }

    /// `R²`, no less than 0: a surrogate worse than the mean knows nothing.
    pub(crate) fn share(&self) -> f64 {
        if self.spread > 0.0 {
            (1.0 - self.mismatch / self.spread).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}
