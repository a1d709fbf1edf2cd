//! Which network learns from which term, and all that goes with it.

use graybox_model::MlpConfig;
use serde::{Deserialize, Serialize};

use crate::error::{at_least_one, not_negative, positive, units};
use crate::{ConfigError, LearningRate};

/// Which network learns from which term of L*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Both terms reach both networks, as the formula stands. It cannot learn, and says why.
    Literal,
    /// The fit trains the policy alone and the mismatch the surrogate alone. λ has no effect then beyond
    /// the surrogate's step size.
    #[default]
    Split,
    /// The fit trains both and the mismatch the surrogate alone: the surrogate leans towards Y by
    /// `1/(1 + λ)`, which shortens the policy's steps. The one form in which λ means something.
    Biased,
}

/// Settings of [`Joint`](super::Joint).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JointConfig {
    /// Weight of the mismatch.
    pub lambda: f64,
    /// Which network learns from which term.
    pub routing: Routing,
    /// Standard deviation of the noise on the actions asked, in units of their scale; up to three times as
    /// much while the surrogate knows little.
    pub exploration: f64,
    /// Let the policy take no more than the share of its updates that the surrogate's `R²` on fresh rows
    /// allows. Without it, a surrogate that knows nothing yet can send the policy to the far end of its bounds,
    /// from where it does not return.
    pub patient: bool,
    /// Take `∂ℓ/∂y` at the oracle's outcome instead of the surrogate's. Not with the literal routing.
    pub value_correction: bool,
    /// Updates of both networks per round; all but the first on replayed rows. 1 with the literal routing.
    pub updates: usize,
    /// Rows of a replayed batch for the surrogate.
    pub replay_batch: usize,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// Number of surrogates whose mean is the prediction.
    pub ensemble: usize,
    /// The surrogate's learning rate.
    pub learning_rate: LearningRate,
}

impl Default for JointConfig {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            routing: Routing::Split,
            exploration: 0.1,
            patient: true,
            value_correction: true,
            updates: 16,
            replay_batch: 64,
            surrogate: MlpConfig::default(),
            ensemble: 1,
            learning_rate: LearningRate {
                initial: 3e-3,
                floor: 0.03,
            },
        }
    }
}

impl JointConfig {
    /// The settings that suit a routing.
    pub fn new(routing: Routing) -> Self {
        let literal = Self {
            routing: Routing::Literal,
            exploration: 0.0,
            value_correction: false,
            updates: 1,
            ..Self::default()
        };
        match routing {
            Routing::Literal => literal,
            Routing::Split => Self::default(),
            Routing::Biased => Self {
                routing,
                value_correction: false,
                ..Self::default()
            },
        }
    }

    pub(in crate::algorithm) fn check(&self) -> Result<(), ConfigError> {
        positive("joint.lambda", self.lambda)?;
        not_negative("joint.exploration", self.exploration)?;
        at_least_one("joint.updates", self.updates)?;
        at_least_one("joint.replay_batch", self.replay_batch)?;
        at_least_one("joint.ensemble", self.ensemble)?;
        self.learning_rate.check("joint.learning_rate")?;
        units("joint.surrogate", &self.surrogate)?;
        if self.routing == Routing::Literal && self.updates > 1 {
            let expected = "1 with the literal routing: every update of it needs fresh outcomes";
            return Err(ConfigError::new("joint.updates", self.updates, expected));
        }
        if self.routing == Routing::Literal && self.value_correction {
            let expected = "false with the literal routing, which has no term for it";
            return Err(ConfigError::new("joint.value_correction", true, expected));
        }
        Ok(())
    }
}
