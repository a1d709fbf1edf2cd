//! What a diagnosis says.

use std::fmt;

use super::Diagnosis;

impl Diagnosis {
    /// The short name, for headings.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Collusion { .. } => "The surrogate follows the target, not the oracle",
            Self::Failing { .. } => "Calls keep failing",
            Self::Unidentified { .. } => "The surrogate cannot tell what an action does",
            Self::Pinned { .. } => "An action is pinned at its bound",
            Self::Noise { .. } => "What is left is the oracle's noise",
            Self::Quantised { .. } => "An outcome moves in steps",
            Self::OutOfReach { .. } => "Targets out of reach",
            Self::SurrogateTooSmall { .. } => "The surrogate is too small",
            Self::LearningRateTooHigh { .. } => "The learning rate is too high",
        }
    }

    /// What was seen.
    pub fn evidence(&self) -> String {
        match self {
            Self::Collusion {
                apparent,
                measured,
                balance,
            } => format!(
                "the surrogate moves towards the target instead of the oracle: it reports a loss of \
                 {apparent:.3e} where the oracle says {measured:.3e} (collusion gap {:.1}x). With both terms of \
                 L* reaching both networks, the surrogate settles where they cancel ({:.0} % of the residual is \
                 left), and there the policy's gradient vanishes whatever the policy does, for every lambda",
                measured / apparent,
                100.0 * balance
            ),
            Self::Failing {
                failed,
                calls,
                region,
            } => {
                let place = region.as_ref().map_or(String::new(), |region| {
                    format!(
                        ": {:.0} % of those with {} {} {:.4}, and {:.0} % elsewhere",
                        100.0 * region.inside,
                        region.name,
                        if region.above { "above" } else { "below" },
                        region.threshold,
                        100.0 * region.outside
                    )
                });
                format!("{failed} of the latest {calls} oracle calls failed{place}")
            }
            Self::Unidentified { variation, calls } => format!(
                "the latest {calls} calls asked for the policy's own actions and little else (they differ from \
                 them by {variation:.1e} of their scale), so the surrogate never saw what another action would \
                 have done, and its derivative in the action is a guess"
            ),
            Self::Pinned {
                action,
                bound,
                share,
            } => format!(
                "the policy puts {action} at its bound {bound} in {:.0} % of the contexts, where its gradient vanishes",
                100.0 * share
            ),
            Self::Noise {
                noise,
                remaining,
                pairs,
                apart,
            } => format!(
                "{pairs} pairs of calls that asked for the same, or for {apart:.0e} of an action's scale beside it, \
                 got answers that no slope explains; that alone makes a loss of {noise:.3e}, and the loss measured \
                 last is {remaining:.3e}"
            ),
            Self::Quantised {
                outcome,
                values,
                calls,
                step,
            } => match step {
                Some(step) => format!(
                    "{outcome} took {values} different values in {calls} different calls, {step:.2e} apart at the \
                     least: within a step the oracle is flat"
                ),
                None => format!("{outcome} was the same in all of {calls} different calls"),
            },
            Self::OutOfReach {
                outcome,
                share,
                reached: [low, high],
                wanted: [wanted_low, wanted_high],
            } => format!(
                "{:.0} % of the targets of {outcome} lie outside all that calls have given so far: from {low:.4} \
                 to {high:.4}, wanted from {wanted_low:.4} to {wanted_high:.4}",
                100.0 * share
            ),
            Self::SurrogateTooSmall { error, spread } => format!(
                "the surrogate's error on calls it has learned from is {error:.3e}, {:.0} % of what predicting \
                 their mean would give",
                100.0 * error / spread
            ),
            Self::LearningRateTooHigh { best, last } => {
                format!("the loss was {best:.3e} at its best and is {last:.3e} at the end")
            }
        }
    }

    /// What to try next.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Collusion { .. } => {
                "Use the split routing: the fit trains the policy alone, the mismatch the surrogate alone"
            }
            Self::Failing { .. } => {
                "Check that the bounds of the actions keep to where the oracle is defined, and narrow them if not"
            }
            Self::Unidentified { .. } => {
                "Turn exploration on, 0.1 for a start, so that calls also ask for actions beside the policy's"
            }
            Self::Pinned { .. } => {
                "Widen the bounds if the oracle allows it; if the targets do not need that bound, lower the \
                 learning rate, which may have thrown the policy there"
            }
            Self::Noise { .. } => {
                "More calls average it out slowly; a quieter oracle (a fixed seed, more samples inside, a finer \
                 mesh) helps more. Below this the loss says nothing about the policy"
            }
            Self::Quantised { .. } => {
                "Take steps and exploration wider than a step of the outcome, or a method with a surrogate, which \
                 smooths over them; check that the action reaches the oracle at all if nothing moves"
            }
            Self::OutOfReach { .. } => {
                "Check the units of the targets and the bounds of the actions; rows that cannot be reached pull \
                 the policy away from those that can"
            }
            Self::SurrogateTooSmall { .. } => {
                "Give it more hidden units or more updates per call, or use a method without a surrogate"
            }
            Self::LearningRateTooHigh { .. } => {
                "Lower learning_rate.initial by three, and the surrogate's if there is one"
            }
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.evidence(), self.advice())
    }
}
