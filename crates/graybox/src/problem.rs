//! What is to be solved, apart from how.

use std::sync::Arc;

use burn::prelude::*;
use graybox_model::{Affine, HeadConfig, MlpConfig, MlpPolicyConfig, MlpSurrogateConfig};
use graybox_oracle::{Description, Dims, Quantity};

use crate::{Dataset, DeviceData, Objective, OptimizerKind, SquaredError, TrainConfig, TrainError};

/// Data, actions and objective, on a device: everything an algorithm may know besides the oracle.
#[derive(Debug, Clone)]
pub struct Problem {
    dims: Dims,
    data: DeviceData,
    actions: HeadConfig,
    objective: Arc<dyn Objective>,
    outcome: Affine,
    names: Names,
    device: Device,
    seed: u64,
    optimizer: OptimizerKind,
}

/// What the numbers are called, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The context's.
    pub x: Vec<String>,
    /// The action's.
    pub u: Vec<String>,
    /// The outcome's.
    pub y: Vec<String>,
}

impl Names {
    /// Letters and numbers, from zero: `x0`, `u0`, `y0`.
    fn of(dims: Dims) -> Self {
        let numbered = |letter: &str, n: usize| (0..n).map(|k| format!("{letter}{k}")).collect();
        Self {
            x: numbered("x", dims.x),
            u: numbered("u", dims.u),
            y: numbered("y", dims.y),
        }
    }
}

impl Problem {
    /// The objective is the mean over outcomes of the squared error, each in units of its targets' standard
    /// deviation, until [`with_objective`](Self::with_objective) says otherwise.
    ///
    /// # Errors
    /// If the actions' bounds or scales make no sense.
    pub fn new(data: Dataset, actions: HeadConfig, device: &Device) -> Result<Self, TrainError> {
        actions.check()?;
        let target = data.target();
        let outcome = Affine::standardise(target.width(), target.as_slice());
        let objective = SquaredError::scaled(outcome.scale())?;
        let dims = Dims::new(data.x().width(), actions.width(), target.width());
        Ok(Self {
            dims,
            names: Names::of(dims),
            actions,
            objective: Arc::new(objective),
            outcome,
            data: DeviceData::new(data, device),
            device: device.clone().without_autodiff(),
            seed: 0,
            optimizer: OptimizerKind::default(),
        })
    }

    /// A problem as its oracle describes it: actions within the stated bounds, errors in units of the stated
    /// scales, weighted as stated.
    ///
    /// # Errors
    /// If an action has no bounds, or a bound or scale makes no sense.
    pub fn described(
        data: Dataset,
        description: &Description,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let unbounded = |quantity: &&Quantity| quantity.lo.is_none() || quantity.hi.is_none();
        if let Some(quantity) = description.u.iter().find(unbounded) {
            return Err(TrainError::Unbounded(quantity.name.clone()));
        }
        let (low, high) = description.action_bounds().unwrap_or_default();
        let objective = SquaredError::weighted(&description.scales(), &description.weights())?;
        let actions = HeadConfig::bounded(low, high)?;
        let mut problem = Self::new(data, actions, device)?.with_objective(objective);
        let names = |of: &[Quantity]| of.iter().map(|quantity| quantity.name.clone()).collect();
        problem.names = Names {
            x: names(&description.x),
            u: names(&description.u),
            y: names(&description.y),
        };
        Ok(problem)
    }

    /// Another objective than the mean squared error.
    #[must_use]
    pub fn with_objective(mut self, objective: impl Objective + 'static) -> Self {
        self.objective = Arc::new(objective);
        self
    }

    /// Where outcomes lie and how far they spread, if the targets do not tell.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Affine) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same problem with only these of its training rows.
    #[must_use]
    pub(crate) fn with_rows(&self, index: &[usize]) -> Self {
        let data = self.data.host().select(index);
        Self {
            data: DeviceData::new(data, &self.device),
            ..self.clone()
        }
    }

    /// Another optimizer than the default, for the networks of an algorithm that is used without a trainer, which
    /// sets its own.
    #[must_use]
    pub fn with_optimizer(mut self, optimizer: OptimizerKind) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// The problem as a run with these settings has it.
    pub(crate) fn in_run(mut self, config: &TrainConfig) -> Self {
        self.seed = config.seed;
        self.with_optimizer(config.optimizer)
    }

    /// The widths `d_x`, `d_u`, `d_y`.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// What the numbers are called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The training rows.
    pub fn data(&self) -> &DeviceData {
        &self.data
    }

    /// Whether what is wanted is known between the training rows as well, as far as the objective asks for it.
    pub(crate) fn is_known_between(&self) -> bool {
        let weights = self.objective.least_squares();
        let matters = |dim: usize| weights.is_none_or(|weights| weights[dim] > 0.0);
        let known = self.data.known_between().iter().enumerate();
        known
            .into_iter()
            .all(|(dim, known)| *known || !matters(dim))
    }

    /// What actions may be, and the scale on which they matter.
    pub fn actions(&self) -> &HeadConfig {
        &self.actions
    }

    /// The loss to be minimised.
    pub fn objective(&self) -> &Arc<dyn Objective> {
        &self.objective
    }

    /// Where outcomes lie and how far they spread.
    pub fn outcome(&self) -> &Affine {
        &self.outcome
    }

    /// The plain device; networks that are trained live on its autodiff side.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What the run's networks are trained by.
    pub fn optimizer(&self) -> OptimizerKind {
        self.optimizer
    }

    /// A fully connected policy for this problem's contexts and actions.
    pub fn policy(&self, body: &MlpConfig) -> MlpPolicyConfig {
        MlpPolicyConfig {
            body: body.clone(),
            context: self.context(),
            head: self.actions.clone(),
        }
    }

    /// A fully connected surrogate for this problem's oracle.
    pub fn surrogate(&self, body: &MlpConfig) -> MlpSurrogateConfig {
        MlpSurrogateConfig {
            body: body.clone(),
            context: self.context(),
            action: self.actions.affine(),
            outcome: self.outcome.clone(),
        }
    }

    /// Where contexts lie and how far they spread.
    pub(crate) fn context(&self) -> Affine {
        let x = self.data.host().x();
        Affine::standardise(x.width(), x.as_slice())
    }
}
