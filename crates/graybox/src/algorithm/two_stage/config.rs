//! What can be chosen of [`TwoStage`](super::TwoStage).

use graybox_model::MlpConfig;
use serde::{Deserialize, Serialize};

use super::Sampling;
use crate::error::{at_least_one, positive, units};
use crate::{ConfigError, LearningRate};

/// Settings of [`TwoStage`](super::TwoStage).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoStageConfig {
    /// Which actions are asked in the first cycle.
    pub sampling: Sampling,
    /// Where actions have no bounds, how far from their centre they are sampled, in units of their scale.
    pub reach: f64,
    /// Standard deviation of actions sampled around a policy, in units of their scale.
    pub spread: f64,
    /// Times that calls are collected, the surrogate is fitted and the policy trained.
    pub cycles: usize,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// The surrogate's learning rate, over one fit.
    pub learning_rate: LearningRate,
    /// Most updates of one fit.
    pub fit_updates: usize,
    /// Share of the calls set aside to tell when a fit should end, less than 1.
    pub validation: f64,
    /// Updates of the policy through one frozen surrogate.
    pub policy_updates: usize,
    /// Rows of an update of either network.
    pub rows: usize,
}

impl Default for TwoStageConfig {
    fn default() -> Self {
        Self {
            sampling: Sampling::Sobol,
            reach: 3.0,
            spread: 0.2,
            cycles: 1,
            surrogate: MlpConfig::default(),
            learning_rate: LearningRate {
                initial: 3e-3,
                floor: 0.01,
            },
            fit_updates: 10_000,
            validation: 0.1,
            policy_updates: 6_000,
            rows: 64,
        }
    }
}

impl TwoStageConfig {
    pub(in crate::algorithm) fn check(&self) -> Result<(), ConfigError> {
        positive("two_stage.reach", self.reach)?;
        positive("two_stage.spread", self.spread)?;
        at_least_one("two_stage.cycles", self.cycles)?;
        at_least_one("two_stage.fit_updates", self.fit_updates)?;
        at_least_one("two_stage.policy_updates", self.policy_updates)?;
        at_least_one("two_stage.rows", self.rows)?;
        self.learning_rate.check("two_stage.learning_rate")?;
        if !(self.validation > 0.0 && self.validation < 1.0) {
            let expected = "a share between 0 and 1";
            return Err(ConfigError::new(
                "two_stage.validation",
                self.validation,
                expected,
            ));
        }
        units("two_stage.surrogate", &self.surrogate)
    }
}
