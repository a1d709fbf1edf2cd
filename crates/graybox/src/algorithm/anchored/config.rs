//! What can be chosen of [`Anchored`](super::Anchored), each part with the value that switches it off.

use graybox_model::MlpConfig;
use graybox_oracle::Dims;
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::error::{at_least_one, not_negative, positive, units};
use crate::exploration::Annealed;

/// Settings of [`Anchored`](super::Anchored).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnchoredConfig {
    /// Inner steps per call: the dial to turn before buying more calls. By default 10,000 in all for 2,000
    /// calls, and as the root of the calls for other budgets.
    pub steps_per_call: Option<f64>,
    /// Policies at the start.
    pub population: usize,
    /// How many of them start with one action for all contexts: contexts that start in different branches of
    /// an inverse never meet again. The others start as they were initialised, different from context to context:
    /// where the oracle is flat, some contexts start beyond it. 0 for none.
    pub constant: usize,
    /// Standard deviation of the actions that constant policies start at, in units of the actions' scale.
    pub start: f64,
    /// Share of the budget that is spent all over the actions before any policy starts: from these calls the last
    /// policy takes its first actions. 0 for none.
    pub survey: f64,
    /// Share of the budget over which a policy's targets move from what its first actions bring to what is wanted,
    /// so that residuals stay small and every context stays in its branch; 0 for the targets as they are, which
    /// the policy that starts from the survey has in any case: it starts in the branch that is best.
    pub ramp: f64,
    /// When policies are cut, add one that gets past the best one's walls and out of the actions it is stuck at, as far
    /// as the surrogate can tell.
    pub mend: bool,
    /// Noise on the actions asked.
    pub exploration: Annealed,
    /// Weight of the penalty on leaving the trust region, 0 for none.
    pub trust: f64,
    /// Weight of the penalty on actions whose calls often fail, learned from the first failure on; 0, the default,
    /// for none. A policy ends within the edge where the best action lies beyond it; where the best lies just
    /// inside, it may be kept off it.
    pub feasibility: f64,
    /// Share of a policy's batch that are rows already measured; 0 trains on the surrogate alone.
    pub anchored: f64,
    /// Policies learn between the training rows as well, where those are few (below 500) and the targets an affine
    /// function of the context, as when they are a part of it.
    pub between: bool,
    /// Share of the calls that are made between the training rows, where policies learn there: the surrogate gets to
    /// know more contexts than there are rows. 0 for an oracle that only knows the contexts of the data; none are made
    /// either if a column of the context holds nothing but whole numbers.
    pub asked_between: f64,
    /// Targets that are a part of the context are hidden from the surrogate, if up to six pairs of calls show that
    /// the oracle does not read them: it would foretell that what is wanted will happen. These calls join a context
    /// with another one's targets; an oracle that only knows the contexts of the data needs this off.
    pub blind: bool,
    /// Rows of a policy's batch.
    pub policy_batch: usize,
    /// Rows of the surrogate's batch.
    pub surrogate_batch: usize,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// Number of surrogates whose mean is the prediction.
    pub ensemble: usize,
    /// The surrogate's learning rate at the start.
    pub learning_rate: f64,
    /// The surrogate's weight decay before the closing phase, with SOAP, where calls are few: of the functions that
    /// fit them the plainer one is the better guess of what lies between. Beyond 100 calls for each context and action
    /// it falls as the square of their number, since it biases the fit.
    pub decay: f64,
    /// Steps of the closing phase for each network, as a share of the inner steps before it; 0 for no such
    /// phase.
    pub closing: f64,
    /// L2 penalty of the surrogate's weights in that phase, in units of the mean square by which it is more wrong about
    /// the calls kept back than about others, over the number of all calls; 0 for none. Without calls kept back there
    /// is none either.
    pub penalty: f64,
    /// Share of the budget that is kept back to compare the policies before and after the closing phase,
    /// 128 calls at most.
    pub guard: f64,
}

impl Default for AnchoredConfig {
    fn default() -> Self {
        Self {
            steps_per_call: None,
            population: 4,
            constant: 2,
            start: 0.5,
            survey: 0.04,
            ramp: 0.2,
            mend: true,
            exploration: Annealed::default(),
            trust: 3.0,
            feasibility: 0.0,
            anchored: 0.5,
            between: true,
            asked_between: 0.5,
            blind: true,
            policy_batch: 32,
            surrogate_batch: 64,
            surrogate: MlpConfig::default(),
            ensemble: 1,
            learning_rate: 3e-3,
            decay: 0.1,
            closing: 1.0,
            penalty: 40.0,
            guard: 0.04,
        }
    }
}

/// Calls for each context and action up to which they are few.
const FEW_CALLS: f64 = 100.0;

impl AnchoredConfig {
    pub(in crate::algorithm) fn check(&self) -> Result<(), ConfigError> {
        if let Some(steps) = self.steps_per_call {
            positive("anchored.steps_per_call", steps)?;
        }
        at_least_one("anchored.population", self.population)?;
        not_negative("anchored.start", self.start)?;
        share("anchored.survey", self.survey)?;
        share("anchored.ramp", self.ramp)?;
        self.exploration.check("anchored.exploration")?;
        not_negative("anchored.trust", self.trust)?;
        not_negative("anchored.feasibility", self.feasibility)?;
        share("anchored.anchored", self.anchored)?;
        share("anchored.asked_between", self.asked_between)?;
        at_least_one("anchored.policy_batch", self.policy_batch)?;
        at_least_one("anchored.surrogate_batch", self.surrogate_batch)?;
        at_least_one("anchored.ensemble", self.ensemble)?;
        positive("anchored.learning_rate", self.learning_rate)?;
        not_negative("anchored.decay", self.decay)?;
        not_negative("anchored.closing", self.closing)?;
        not_negative("anchored.penalty", self.penalty)?;
        share("anchored.guard", self.guard)?;
        units("anchored.surrogate", &self.surrogate)
    }

    /// Inner steps per call under a budget.
    pub fn steps_per_call(&self, budget: u64) -> f64 {
        self.steps_per_call.unwrap_or_else(|| {
            let budget = budget as f64;
            10_000.0 * (budget / 2_000.0).sqrt() / budget
        })
    }

    /// The surrogate's weight decay under a budget.
    pub(super) fn decay(&self, dims: Dims, budget: u64) -> f64 {
        let few = FEW_CALLS * (dims.x + dims.u) as f64 / budget as f64;
        self.decay * few.powi(2).min(1.0)
    }

    /// Steps of each network in the closing phase.
    pub(super) fn closing_steps(&self, budget: u64) -> usize {
        (self.steps_per_call(budget) * budget as f64 * self.closing).round() as usize
    }

    /// Share of the way to the targets after this share of the run.
    pub(super) fn ramp_at(&self, progress: f64) -> f64 {
        if progress < self.ramp {
            progress / self.ramp
        } else {
            1.0
        }
    }
}

fn share(field: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, "a share between 0 and 1"))
}
