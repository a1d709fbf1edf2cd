//! The settings of a run.

use graybox_model::MlpConfig;
use serde::{Deserialize, Serialize};

use crate::error::{at_least_one, units};
use crate::{AlgorithmConfig, ConfigError, FailureLimit, LearningRate, OptimizerKind};

/// How a policy is trained. Everything here can stand in a config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Oracle calls that may be made.
    pub calls: u64,
    /// Decides every random choice of the run.
    pub seed: u64,
    /// Training rows per round; as many as suit the algorithm, if not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Hidden layers of the policy.
    pub policy: MlpConfig,
    /// What turns gradients into steps, of the policy and of every network that is trained beside it. Methods that
    /// search among weights have steps of their own.
    pub optimizer: OptimizerKind,
    /// The policy's learning rate; one that suits the algorithm, if not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<LearningRate>,
    /// What trains it.
    pub algorithm: AlgorithmConfig,
    /// How often the held-out rows are scored during the run, beside before and after. A score calls the
    /// oracle once per held-out row; these calls are counted apart and not charged.
    pub scores: u64,
    /// When the run gives up on an oracle that fails.
    pub failures: FailureLimit,
    /// Whether the networks train while calls are on their way, and learn from each answer when it comes, so that
    /// neither waits for the other or for the slowest call: for oracles that are slow. What a run comes to then
    /// depends on when answers came, and not on the seed alone. For an oracle without
    /// [lanes](graybox_oracle::Lanes) one call is on its way at a time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub asynchronous: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            calls: 2_000,
            seed: 1,
            batch: None,
            policy: MlpConfig::default(),
            optimizer: OptimizerKind::default(),
            learning_rate: None,
            algorithm: AlgorithmConfig::default(),
            scores: 0,
            failures: FailureLimit::default(),
            asynchronous: false,
        }
    }
}

impl TrainConfig {
    /// Whether every setting is within its meaning.
    ///
    /// # Errors
    /// Names the setting that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.calls == 0 {
            return Err(ConfigError::new("calls", 0, "at least 1 oracle call"));
        }
        at_least_one("batch", self.rows_per_round())?;
        self.policy_rate().check("learning_rate")?;
        self.failures.check()?;
        units("policy", &self.policy)?;
        self.algorithm.check()
    }

    /// Training rows per round, stated or not.
    pub fn rows_per_round(&self) -> usize {
        self.batch.unwrap_or_else(|| self.algorithm.batch())
    }

    /// The policy's learning rate, stated or not.
    pub fn policy_rate(&self) -> LearningRate {
        self.learning_rate
            .unwrap_or_else(|| self.algorithm.policy_rate())
    }
}
