//! OpenAI's evolution strategy: antithetic pairs of weights, centred ranks, Adam.
//!
//! Approximates  ∇_μ E[L(w)],  w_i ~ N(μ_i, σ²),  L the mean loss of a batch under the policy with weights w
//! With          the mean over antithetic pairs μ ± σ z on the same rows of ½ (L⁺ − L⁻) z / σ, where L⁺ and L⁻ are
//!               centred ranks
//! Requires      nothing: neither F nor the policy need be differentiable
//! Oracle rows   2 k n per step, k pairs
//! Failed rows   leave the pair on both sides
//! Source        Salimans et al., arXiv:1703.03864 (2017)

use burn::optim::ModuleOptimizer;
use graybox_model::Policy;
use serde::{Deserialize, Serialize};

use super::population::{self, Pair};
use super::{Algorithm, Facts};
use crate::error::{at_least_one, positive};
use crate::snapshot::Snapshot;
use crate::{
    Adam, Batch, ConfigError, LearningRate, Probe, RoundReport, SnapshotError, StepError, Student,
};

pub(super) const NAME: &str = "open_es";

/// Settings of [`OpenEs`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenEsConfig {
    /// Antithetic pairs per step. Few rows per member and many members serve best.
    pub pairs: usize,
    /// Standard deviation of the weights.
    pub sigma: f64,
    /// Adam's learning rate.
    pub learning_rate: LearningRate,
}

impl Default for OpenEsConfig {
    fn default() -> Self {
        Self {
            pairs: 8,
            sigma: 0.02,
            learning_rate: LearningRate {
                initial: 1e-2,
                floor: 0.0,
            },
        }
    }
}

impl OpenEsConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_least_one("open_es.pairs", self.pairs)?;
        positive("open_es.sigma", self.sigma)?;
        self.learning_rate.check("open_es.learning_rate")
    }
}

/// Trains a policy by antithetic pairs of its weights.
#[derive(Clone)]
pub struct OpenEs {
    config: OpenEsConfig,
    optimizer: ModuleOptimizer,
}

impl OpenEs {
    /// Takes checked settings.
    pub fn new(config: OpenEsConfig) -> Self {
        Self {
            config,
            optimizer: Adam.into(),
        }
    }

    fn ask<P: Policy>(
        &self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Vec<Pair>, StepError> {
        let sigma = vec![self.config.sigma; population::weights(student)];
        population::ask_pairs(student, batch, self.config.pairs, &sigma, probe)
    }

    fn gradient(&self, pairs: &[Pair]) -> Vec<f64> {
        let mut gradient = population::slope(pairs);
        for slope in &mut gradient {
            *slope /= self.config.sigma.powi(2);
        }
        gradient
    }
}

impl<P: Policy> Algorithm<P> for OpenEs {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 2 * self.config.pairs as u64,
            estimates: "the gradient of the loss averaged over Gaussian weights, up to its length",
            bias: "O(σ²) from the averaging; ranks drop the length and flatten outliers",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        2 * (n * self.config.pairs) as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let rate = self.config.learning_rate.at(probe.progress());
        let mut pairs = self.ask(student, batch, probe)?;
        let loss = population::mean_loss(&pairs);
        if loss.is_some() {
            population::rank(&mut pairs);
            let gradients = population::gradients(student, &self.gradient(&pairs), probe);
            student.apply_by(&mut self.optimizer, gradients, rate);
        }
        Ok(RoundReport::new(loss))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_optimizer("open_es.optimizer", &self.optimizer)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.optimizer = snapshot.get_optimizer("open_es.optimizer", Adam.into())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, Spread};

    fn spread(config: OpenEsConfig, line: &mut Line, n: usize) -> Spread {
        let method = OpenEs::new(config);
        let mut spread = Spread::new(2);
        for _ in 0..n {
            let (student, batch, mut probe) = line.parts();
            let pairs = method.ask(student, &batch, &mut probe).unwrap();
            spread.add(&method.gradient(&pairs));
        }
        spread
    }

    #[test]
    fn without_ranks_the_estimate_is_unbiased_within_its_own_error() {
        let config = OpenEsConfig {
            pairs: 1,
            ..OpenEsConfig::default()
        };
        let mut line = Line::squared(1);
        let truth = line.gradient();
        spread(config, &mut line, 10_000).assert_unbiased(&truth);
    }

    #[test]
    fn the_bias_falls_fourfold_when_sigma_halves() {
        let error = |sigma| {
            let config = OpenEsConfig {
                pairs: 400,
                sigma,
                ..OpenEsConfig::default()
            };
            let mut line = Line::quartic(1);
            let truth = line.gradient();
            spread(config, &mut line, 400).bias(&truth)
        };
        let ratio = error(0.4) / error(0.2);
        assert!((3.3..4.8).contains(&ratio), "{ratio}");
    }

    #[test]
    fn more_pairs_lower_the_variance_in_proportion() {
        let error = |pairs| {
            let config = OpenEsConfig {
                pairs,
                ..OpenEsConfig::default()
            };
            spread(config, &mut Line::squared(1), 2_000).squared_error()
        };
        let ratio = error(1) / error(4);
        assert!((3.4..4.6).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_first_step_goes_downhill_in_every_weight() {
        // Adam's first step has the gradient's signs and the learning rate's length.
        let config = OpenEsConfig {
            pairs: 500,
            learning_rate: LearningRate::constant(0.01),
            ..OpenEsConfig::default()
        };
        let mut line = Line::squared(1);
        let (before, truth) = (line.weights(), line.gradient());
        let (student, batch, mut probe) = line.parts();
        OpenEs::new(config)
            .round(student, &batch, &mut probe)
            .unwrap();
        let after = line.weights();
        for i in 0..2 {
            let step = after[i] - before[i];
            assert!((step + 0.01 * truth[i].signum()).abs() < 1e-4, "{step}");
        }
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let refused = |config: OpenEsConfig| config.check().unwrap_err().field;
        let config = OpenEsConfig::default();
        assert_eq!(
            refused(OpenEsConfig { pairs: 0, ..config }),
            "open_es.pairs"
        );
        assert_eq!(
            refused(OpenEsConfig {
                sigma: 0.0,
                ..config
            }),
            "open_es.sigma"
        );
    }
}
