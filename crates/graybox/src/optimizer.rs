//! The choice between optimizers.

use burn::optim::ModuleOptimizer;
use serde::{Deserialize, Serialize};

use crate::{Adam, Soap};

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// [`Adam`]: no products of matrices, for layers too wide for those.
    Adam,
    /// [`Soap`].
    #[default]
    Soap,
}

impl OptimizerKind {
    /// A fresh one.
    pub fn init(self) -> ModuleOptimizer {
        self.with_decay(0.0)
    }

    /// A fresh one that decays weights; Adam goes without the decay.
    pub fn with_decay(self, decay: f64) -> ModuleOptimizer {
        match self {
            Self::Adam => Adam.into(),
            Self::Soap => Soap { decay }.into(),
        }
    }
}
