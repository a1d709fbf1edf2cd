//! What trains a policy, and the registry of what there is.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use graybox_model::{HeadConfig, Layout, ModelError, Policy, Surrogate};
use graybox_oracle::Answered;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;
use crate::{
    Batch, ConfigError, LearningRate, Probe, Problem, RoundReport, SnapshotError, StepError,
    Student, TrainError,
};

mod adjoint;
mod anchored;
mod asynchronous;
mod baseline;
mod difference_step;
mod discrete_reinforce;
mod finite_difference;
mod joint;
mod open_es;
mod pgpe;
mod population;
mod reinforce;
mod rows;
mod skill;
mod spsa;
mod two_stage;
mod weight_reinforce;

pub use adjoint::Adjoint;
pub use anchored::{Anchored, AnchoredConfig};
pub use asynchronous::{Asynchronous, Proposal};
pub use discrete_reinforce::DiscreteReinforce;
pub use finite_difference::{Auto, FiniteDifference, FiniteDifferenceConfig, Scheme, Step};
pub use joint::{Joint, JointConfig, Routing};
pub use open_es::{OpenEs, OpenEsConfig};
pub use pgpe::{Pgpe, PgpeConfig};
pub use reinforce::{Reinforce, ReinforceConfig};
pub use spsa::{Directions, Spsa, SpsaConfig};
pub use two_stage::{Sampling, TwoStage, TwoStageConfig};
pub use weight_reinforce::{Baseline, LearnedSigma, WeightReinforce, WeightReinforceConfig};

/// A way to train a policy through an oracle.
pub trait Algorithm<P: Policy>: Send {
    /// What it costs and what it promises.
    fn facts(&self) -> Facts;

    /// Calls that a round on `n` rows makes at most. The trainer shrinks the last batch to what is left.
    fn calls(&self, n: usize) -> u64;

    /// One round: ask the oracle through the probe, then improve the student. One update or many is the
    /// algorithm's choice.
    ///
    /// # Errors
    /// If the oracle could not be asked or training has diverged.
    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError>;

    /// The halves of its rounds, if they can be taken apart, as an asynchronous run needs it.
    fn asynchronous(&mut self) -> Option<&mut dyn Asynchronous<P>> {
        None
    }

    /// Takes in calls that another run has paid for, before the first round. False if it learns nothing from calls
    /// but its own.
    fn recall(&mut self, answered: &Answered) -> bool {
        let _ = answered;
        false
    }

    /// Calls of a budget that are kept back from the rounds for [`finish`](Self::finish).
    fn reserve(&self, budget: u64) -> u64 {
        let _ = budget;
        0
    }

    /// Called when the calls that rounds may make are spent: what can still be made of what was learned. None if
    /// there is nothing to be done, or the run was asked to stop before it was done: a resumed run then calls
    /// it again.
    ///
    /// # Errors
    /// As [`round`](Self::round).
    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        let _ = (student, probe);
        Ok(None)
    }

    /// The surrogate it has trained, if it trains one.
    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        None
    }

    /// Saves everything that a resumed run needs to go on as if it had never stopped.
    ///
    /// # Errors
    /// If something cannot be encoded.
    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError>;

    /// Restores what [`save`](Self::save) saved.
    ///
    /// # Errors
    /// If the snapshot is of another configuration.
    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError>;
}

/// A surrogate of any kind, as an algorithm left it.
pub trait TrainedSurrogate {
    /// Predicts outcomes, without gradients.
    ///
    /// # Shapes
    /// `[batch, d_x]`, `[batch, d_u]` → `[batch, d_y]`
    fn predict(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2>;

    /// Writes its weights as safetensors.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save_weights(&self, path: &Path, layout: Layout) -> Result<(), ModelError>;
}

impl<S: Surrogate> TrainedSurrogate for S {
    fn predict(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        self.valid().forward(x, u)
    }

    fn save_weights(&self, path: &Path, layout: Layout) -> Result<(), ModelError> {
        graybox_model::save_weights(self, path, layout)
    }
}

/// Makes policies of one kind with different weights.
pub type PolicyFactory<P> = Arc<dyn Fn(&mut StdRng) -> P + Send + Sync>;

/// What an algorithm costs and what it promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The name it is chosen by.
    pub name: &'static str,
    /// Oracle calls for each row of a batch.
    pub calls_per_row: u64,
    /// What its steps follow.
    pub estimates: &'static str,
    /// How that differs from the gradient of the true loss.
    pub bias: &'static str,
}

/// Every algorithm by its name, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum AlgorithmConfig {
    /// Policies on a surrogate that is anchored at every call so far.
    Anchored(AnchoredConfig),
    /// Policy and surrogate trained at once.
    Joint(JointConfig),
    /// Differences of the oracle chained into backpropagation.
    FiniteDifference(FiniteDifferenceConfig),
    /// Differences along random directions.
    Spsa(SpsaConfig),
    /// A surrogate fitted first, then the policy trained through it.
    TwoStage(TwoStageConfig),
    /// Score function on actions drawn around the policy's.
    Reinforce(ReinforceConfig),
    /// REINFORCE over the weights, one draw of them a step.
    WeightReinforce(WeightReinforceConfig),
    /// Antithetic pairs of weights with a learned spread, stepped by ClipUp.
    Pgpe(PgpeConfig),
    /// Antithetic pairs of weights, stepped by Adam.
    OpenEs(OpenEsConfig),
}

impl Default for AlgorithmConfig {
    fn default() -> Self {
        Self::Anchored(AnchoredConfig::default())
    }
}

impl AlgorithmConfig {
    /// One of each, with its default settings.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Anchored(AnchoredConfig::default()),
            Self::Joint(JointConfig::default()),
            Self::FiniteDifference(FiniteDifferenceConfig::default()),
            Self::Spsa(SpsaConfig::default()),
            Self::TwoStage(TwoStageConfig::default()),
            Self::Reinforce(ReinforceConfig::default()),
            Self::WeightReinforce(WeightReinforceConfig::default()),
            Self::Pgpe(PgpeConfig::default()),
            Self::OpenEs(OpenEsConfig::default()),
        ]
    }

    /// The name it is chosen by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Anchored(_) => anchored::NAME,
            Self::Joint(_) => joint::NAME,
            Self::FiniteDifference(_) => finite_difference::NAME,
            Self::Spsa(_) => spsa::NAME,
            Self::TwoStage(_) => two_stage::NAME,
            Self::Reinforce(_) => reinforce::NAME,
            Self::WeightReinforce(_) => weight_reinforce::NAME,
            Self::Pgpe(_) => pgpe::NAME,
            Self::OpenEs(_) => open_es::NAME,
        }
    }

    /// Training rows per round that suit it. Few where every update costs calls, since it is then the number
    /// of updates that limits learning.
    pub fn batch(&self) -> usize {
        match self {
            Self::Anchored(_) | Self::Joint(_) => 16,
            Self::FiniteDifference(_) | Self::Spsa(_) | Self::WeightReinforce(_) => 2,
            Self::Reinforce(_) | Self::Pgpe(_) | Self::OpenEs(_) => 1,
            // It learns nothing before its calls are spent.
            Self::TwoStage(_) => 64,
        }
    }

    /// The policy's learning rate that suits it.
    pub fn policy_rate(&self) -> LearningRate {
        let initial = match self {
            Self::FiniteDifference(_) | Self::Spsa(_) => 6e-3,
            _ => LearningRate::default().initial,
        };
        LearningRate {
            initial,
            ..LearningRate::default()
        }
    }

    /// Whether every setting is within its meaning.
    ///
    /// # Errors
    /// Names the setting that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Anchored(config) => config.check(),
            Self::Joint(config) => config.check(),
            Self::FiniteDifference(config) => config.check(),
            Self::Spsa(config) => config.check(),
            Self::TwoStage(config) => config.check(),
            Self::Reinforce(config) => config.check(),
            Self::WeightReinforce(config) => config.check(),
            Self::Pgpe(config) => config.check(),
            Self::OpenEs(config) => config.check(),
        }
    }

    /// Builds the algorithm for a problem. `new_policy` makes further policies like the one trained, for
    /// algorithms that train several side by side.
    ///
    /// # Errors
    /// If a setting is outside its meaning, or the actions are none that the algorithm can move.
    pub fn init<P: Policy>(
        &self,
        problem: &Problem,
        new_policy: &PolicyFactory<P>,
    ) -> Result<Box<dyn Algorithm<P>>, TrainError> {
        self.check()?;
        let moves_single_actions = matches!(self, Self::FiniteDifference(_) | Self::Spsa(_));
        if moves_single_actions && matches!(problem.actions(), HeadConfig::Simplex { .. }) {
            let expected = "another method: this one moves each action by itself, and shares that sum to one cannot be";
            return Err(ConfigError::new("algorithm.name", self.name(), expected).into());
        }
        Ok(match self {
            Self::Anchored(config) => Box::new(Anchored::new(config.clone(), problem, new_policy)),
            Self::Joint(config) => Box::new(Joint::new(config.clone(), problem)),
            Self::FiniteDifference(config) => Box::new(FiniteDifference::new(*config, problem)),
            Self::Spsa(config) => Box::new(Spsa::new(*config, problem)),
            Self::TwoStage(config) => Box::new(TwoStage::new(config.clone(), problem)),
            Self::Reinforce(config) => Box::new(Reinforce::new(*config, problem)),
            Self::WeightReinforce(config) => Box::new(WeightReinforce::new(*config)),
            Self::Pgpe(config) => Box::new(Pgpe::new(*config)),
            Self::OpenEs(config) => Box::new(OpenEs::new(*config)),
        })
    }
}
