//! Why a run is stuck, in words, with the evidence and the next thing to try.
//!
//! Every check looks at what a run has left behind: its history, its latest calls, its networks. None calls the
//! oracle. Most hold their tongue while the loss falls, since what looks odd there is not in the way.

mod actions;
mod calls;
mod failures;
mod losses;
mod outcomes;
mod surrogate;
mod words;

use burn::prelude::*;
use serde::Serialize;

use crate::algorithm::TrainedSurrogate;
use crate::{Objective, Problem, Progress, bridge};

pub use calls::{Call, Calls};
use losses::Losses;

/// Something that keeps a run from learning, and what to try next.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Diagnosis {
    /// The surrogate predicts the target instead of the oracle: the loss it reports is small and the
    /// measured one is not.
    Collusion {
        /// `‖Y − F̃‖²`, what training believes, mean over the last rounds.
        apparent: f64,
        /// `‖Y − F‖²`, what the oracle says on the same rows.
        measured: f64,
        /// `|r| / (|r₁| + |r₂|)` with `r = r₁ + r₂`, `r₁ = F̃ − Y`, `r₂ = λ(F̃ − F)`, the residual that
        /// drives policy and surrogate alike: 0 where the two terms of L* cancel.
        balance: f64,
    },
    /// Calls fail, and go on failing.
    Failing {
        /// Calls that failed, of the latest.
        failed: usize,
        /// The latest calls.
        calls: usize,
        /// Where they fail, if one number tells.
        region: Option<Region>,
    },
    /// The surrogate sees no other action than the policy's, so its `∂F̃/∂u` means nothing.
    Unidentified {
        /// Root mean square distance of the actions asked from the policy's, in units of the actions' scale.
        variation: f64,
        /// Calls looked at.
        calls: usize,
    },
    /// An action sits at one of its bounds.
    Pinned {
        /// The action.
        action: String,
        /// The bound.
        bound: f64,
        /// The share of the contexts of the latest calls in which the policy chooses it now.
        share: f64,
    },
    /// The oracle gives different answers to the same question, and that is most of what is left.
    Noise {
        /// The loss that comes of the oracle's noise alone.
        noise: f64,
        /// The loss measured last.
        remaining: f64,
        /// Pairs of calls in the same context with nearly the same action.
        pairs: usize,
        /// How far those actions are apart, root mean square, in units of their scale.
        apart: f64,
    },
    /// An outcome moves in steps, so that small differences of the action show none.
    Quantised {
        /// The outcome.
        outcome: String,
        /// Different values it took.
        values: usize,
        /// In this many different calls.
        calls: usize,
        /// The smallest step between two values; none if it never moved.
        step: Option<f64>,
    },
    /// Targets lie where no call has led.
    OutOfReach {
        /// The outcome.
        outcome: String,
        /// The share of the training rows whose target lies outside.
        share: f64,
        /// The least and the greatest outcome of all calls looked at.
        reached: [f64; 2],
        /// The least and the greatest target.
        wanted: [f64; 2],
    },
    /// The surrogate cannot even say what it has been told.
    SurrogateTooSmall {
        /// Mean error on calls it was trained on.
        error: f64,
        /// What predicting the mean of these calls would give.
        spread: f64,
    },
    /// The loss had been much lower before.
    LearningRateTooHigh {
        /// The loss at its best, over an eighth of the run.
        best: f64,
        /// The loss of the last eighth.
        last: f64,
    },
}

/// A side of a threshold on one number of the context or the action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    /// The number.
    pub name: String,
    /// Where it ends.
    pub threshold: f64,
    /// Whether it lies above the threshold.
    pub above: bool,
    /// The share of calls that fail in it.
    pub inside: f64,
    /// The share of calls that fail elsewhere.
    pub outside: f64,
}

/// What a run has left behind to be looked at.
pub struct Evidence<'a> {
    /// What was to be solved.
    pub problem: &'a Problem,
    /// What happened, round by round.
    pub history: &'a [Progress],
    /// The latest calls.
    pub calls: &'a Calls,
    /// What the policy does now in the contexts of these calls, `[calls, d_u]`.
    pub actions_now: &'a graybox_oracle::Rows,
    /// The surrogate, if there is one.
    pub surrogate: Option<&'a dyn TrainedSurrogate>,
}

impl Evidence<'_> {
    fn objective(&self) -> &dyn Objective {
        &**self.problem.objective()
    }

    /// Whether an error of this outcome is part of the loss.
    fn counts(&self, dim: usize) -> bool {
        self.objective()
            .least_squares()
            .is_none_or(|weights| weights[dim] > 0.0)
    }

    /// What the surrogate says of calls, one row each.
    fn predict(&self, surrogate: &dyn TrainedSurrogate, calls: &[&Call]) -> Vec<Vec<f64>> {
        let device = self.problem.device();
        let upload = |width: usize, of: fn(&Call) -> &Vec<f64>| -> Tensor<2> {
            let mut rows = graybox_oracle::Rows::with_capacity(width, calls.len());
            for call in calls {
                rows.push(of(call))
                    .expect("calls are as wide as the problem");
            }
            bridge::upload(&rows, device)
        };
        let dims = self.problem.dims();
        let y = surrogate.predict(
            upload(dims.x, |call| &call.x),
            upload(dims.u, |call| &call.u),
        );
        bridge::download(y).iter().map(<[f64]>::to_vec).collect()
    }
}

/// Says what stands out. Silent on a healthy run.
pub fn diagnose(evidence: &Evidence<'_>) -> Vec<Diagnosis> {
    let losses = Losses::new(evidence.history);
    let noise = outcomes::noise(evidence, &losses);
    let mut found = Vec::new();
    found.extend(failures::failing(evidence));
    found.extend(outcomes::quantised(evidence, &losses));
    if losses.stuck() {
        let collusion = losses::collusion(evidence.history);
        if collusion.is_none() && noise.is_none() {
            found.extend(actions::unidentified(evidence));
            found.extend(surrogate::too_small(evidence));
        }
        // A policy that is led nowhere gets lost at any rate.
        let rising = losses.rising().filter(|_| collusion.is_none());
        found.extend(collusion);
        found.extend(actions::pinned(evidence));
        found.extend(outcomes::out_of_reach(evidence));
        found.extend(rising);
    }
    found.extend(noise);
    found
}

#[cfg(test)]
mod tests;
