//! Actions all over their bounds.

use graybox_model::HeadConfig;
use serde::{Deserialize, Serialize};
use sobol_burley::sample as sobol;

/// Which actions are asked in the first cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Evenly over the bounds, by a scrambled Sobol sequence (Burley, JCGT 9, 2020).
    #[default]
    Sobol,
    /// Uniformly over the bounds, each apart.
    Uniform,
    /// Normally around the policy as it is before training.
    AroundPolicy,
}

/// Fills the space of actions.
pub(super) struct Design {
    pub(super) actions: HeadConfig,
    /// Where actions have no bounds, how far from their centre it goes, in units of their scale.
    pub(super) reach: f64,
    /// Scrambles the Sobol sequence.
    pub(super) scramble: u32,
}

impl Design {
    /// A point of the Sobol sequence in the unit cube.
    pub(super) fn sobol(&self, index: usize) -> Vec<f64> {
        // The sequence has 2^16 points of 256 numbers; beyond either another one begins.
        let (point, again) = ((index & 0xffff) as u32, (index >> 16) as u32);
        (0..self.actions.width() as u32)
            .map(|k| {
                let seed = self.scramble.wrapping_add(again << 8).wrapping_add(k >> 8);
                f64::from(sobol(point, k & 0xff, seed))
            })
            .collect()
    }

    /// From the unit cube to actions.
    pub(super) fn spread_out(&self, shares: &[f64]) -> Vec<f64> {
        if let HeadConfig::Simplex { .. } = self.actions {
            // Exponential gaps are uniform on the simplex.
            let gaps: Vec<f64> = shares.iter().map(|s| -(1.0 - s).ln() + 1e-12).collect();
            let total: f64 = gaps.iter().sum();
            return gaps.iter().map(|gap| gap / total).collect();
        }
        let reach = match self.actions.bounds() {
            Some(_) => 1.0,
            None => self.reach,
        };
        let units = self.actions.affine();
        let parts = shares.iter().zip(units.shift()).zip(units.scale());
        parts
            .map(|((share, center), scale)| center + (2.0 * share - 1.0) * reach * scale)
            .collect()
    }
}
