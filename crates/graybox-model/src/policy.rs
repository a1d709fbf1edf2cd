//! Networks that choose actions.

use burn::module::ModuleDisplay;
use burn::prelude::*;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{Affine, Head, HeadConfig, Mlp, MlpConfig, ModelError, Scaler};

/// A network `π_θ` from contexts to actions, both in the user's units.
///
/// Any burn module can be one; everything that trains policies asks for no more than this.
pub trait Policy: Module + ModuleDisplay + 'static {
    /// `[batch, d_x]` → `[batch, d_u]`
    fn forward(&self, x: Tensor<2>) -> Tensor<2>;
}

/// What an [`MlpPolicy`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpPolicyConfig {
    /// Hidden layers.
    pub body: MlpConfig,
    /// Units of the contexts.
    pub context: Affine,
    /// Units and bounds of the actions.
    pub head: HeadConfig,
}

impl MlpPolicyConfig {
    /// Whether the policy can be built.
    ///
    /// # Errors
    /// If a hidden layer has no units or the head's bounds or scales make no sense.
    pub fn check(&self) -> Result<(), ModelError> {
        self.body.check()?;
        self.head.check()
    }

    /// A policy with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> MlpPolicy {
        let (d_x, d_u) = (self.context.width(), self.head.width());
        MlpPolicy {
            context: self.context.init(device),
            body: self.body.init(d_x, d_u, rng, device),
            head: self.head.init(device),
        }
    }
}

/// A fully connected policy.
#[derive(Module, Debug)]
pub struct MlpPolicy {
    /// Units of the contexts.
    pub context: Scaler,
    /// The network itself.
    pub body: Mlp,
    /// Units and bounds of the actions.
    pub head: Head,
}

impl Policy for MlpPolicy {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head
            .forward(self.body.forward(self.context.forward(x)))
    }
}
