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

use std::fmt;

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
        /// Calls that repeated another.
        repeats: usize,
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
                repeats,
            } => format!(
                "{repeats} repeated calls got different answers, which alone makes a loss of {noise:.3e}; the \
                 loss measured last is {remaining:.3e}"
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
        found.extend(collusion);
        found.extend(actions::pinned(evidence));
        found.extend(outcomes::out_of_reach(evidence));
        found.extend(losses.rising());
    }
    found.extend(noise);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{FiniteDifferenceConfig, JointConfig, Routing};
    use crate::{
        AlgorithmConfig, Dataset, LearningRate, Silent, SquaredError, TrainConfig, Trainer,
    };
    use graybox_model::{HeadConfig, MlpConfig};
    use graybox_oracle::{Dims, FnOracle, IntoOutcome, Outcome, Queries, RowError, Rows};

    /// One context in [−1, 1], one action in [−1, 1], one outcome, targets as given.
    fn problem(target: impl Fn(f64) -> f64) -> Problem {
        let x: Vec<f64> = (0..40).map(|k| f64::from(k) / 20.0 - 1.0).collect();
        let target = x.iter().map(|x| target(*x)).collect();
        let rows = |values| Rows::from_vec(1, values).unwrap();
        let data = Dataset::new(rows(x), rows(target)).unwrap();
        let actions = HeadConfig::bounded(vec![-1.0], vec![1.0]).unwrap();
        Problem::new(data, actions, &Device::flex())
            .unwrap()
            .with_objective(SquaredError::scaled(&[1.0]).unwrap())
    }

    fn joint() -> JointConfig {
        JointConfig {
            surrogate: MlpConfig::new([16]),
            ..JointConfig::default()
        }
    }

    /// What a run on this problem is told at its end.
    fn told<O: IntoOutcome>(
        problem: Problem,
        algorithm: AlgorithmConfig,
        learning_rate: LearningRate,
        oracle: impl Fn(f64, f64) -> O + Send + Sync + 'static,
    ) -> Vec<Diagnosis> {
        let config = TrainConfig {
            calls: 960,
            policy: MlpConfig::new([16]),
            learning_rate,
            algorithm,
            ..TrainConfig::default()
        };
        let oracle = FnOracle::new(Dims::new(1, 1, 1), move |x, u| oracle(x[0], u[0]));
        let mut trainer = Trainer::new(config, problem, oracle).unwrap();
        trainer.run(&mut Silent).unwrap().diagnoses
    }

    fn usual() -> LearningRate {
        LearningRate {
            initial: 1e-2,
            floor: 0.0,
        }
    }

    /// A run that was not made: these losses, these calls.
    fn looked_at(
        problem: &Problem,
        losses: &[f64],
        calls: &[(f64, f64, Outcome)],
    ) -> Vec<Diagnosis> {
        let history: Vec<Progress> = losses
            .iter()
            .map(|loss| Progress {
                loss: Some(*loss),
                ..Progress::default()
            })
            .collect();
        let column = |of: fn(&(f64, f64, Outcome)) -> f64| {
            Rows::from_vec(1, calls.iter().map(of).collect()).unwrap()
        };
        let (x, u) = (column(|call| call.0), column(|call| call.1));
        let outcomes: Vec<Outcome> = calls.iter().map(|call| call.2.clone()).collect();
        let mut log = Calls::default();
        log.push(Queries::new(&x, &u).unwrap(), &outcomes);
        let surrogate = problem.surrogate(&MlpConfig::new([4]));
        let surrogate = surrogate.init(&mut crate::seed::stream(1, "test", 0), &Device::flex());
        diagnose(&Evidence {
            problem,
            history: &history,
            calls: &log,
            actions_now: &u,
            surrogate: Some(&surrogate),
        })
    }

    #[test]
    fn nothing_is_said_of_healthy_runs() {
        for algorithm in [
            AlgorithmConfig::Joint(joint()),
            AlgorithmConfig::FiniteDifference(FiniteDifferenceConfig::default()),
        ] {
            let name = algorithm.name();
            let found = told(problem(|x| 0.8 * x), algorithm, usual(), |x, u| {
                [u + 0.3 * x]
            });
            assert_eq!(found, [], "{name}");
        }
    }

    #[test]
    fn a_literal_run_colludes() {
        let literal = AlgorithmConfig::Joint(JointConfig::new(Routing::Literal));
        let found = told(problem(|x| 0.8 * x), literal, usual(), |x, u| [u + 0.3 * x]);
        assert!(
            matches!(found[..], [Diagnosis::Collusion { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_region_where_calls_fail_is_named() {
        let oracle = |_, u| {
            if u > -0.5 {
                Err(RowError::Invalid)
            } else {
                Ok([u])
            }
        };
        let joint = AlgorithmConfig::Joint(joint());
        let found = told(problem(|x| 0.5 + 0.1 * x), joint, usual(), oracle);
        let Some(Diagnosis::Failing {
            region: Some(region),
            ..
        }) = found.first()
        else {
            panic!("{found:?}")
        };
        assert_eq!((region.name.as_str(), region.above), ("u0", true));
        assert!((region.threshold + 0.5).abs() < 0.1, "{region:?}");
    }

    #[test]
    fn targets_that_cannot_be_reached_pin_the_action() {
        let joint = AlgorithmConfig::Joint(joint());
        let eager = LearningRate::constant(0.03);
        let found = told(problem(|_| 2.0), joint, eager, |x, u| [u + 0.3 * x]);
        let pinned =
            |found: &Diagnosis| matches!(found, Diagnosis::Pinned { bound, .. } if *bound > 0.0);
        assert!(found.iter().any(pinned), "{found:?}");
        let beyond = |found: &Diagnosis| matches!(found, Diagnosis::OutOfReach { share, .. } if *share > 0.9);
        assert!(found.iter().any(beyond), "{found:?}");
    }

    #[test]
    fn steps_that_differences_do_not_see_are_named() {
        let differences = AlgorithmConfig::FiniteDifference(FiniteDifferenceConfig::default());
        let found = told(problem(|x| 0.8 * x), differences, usual(), |_, u| {
            [(4.0 * u).round() / 4.0]
        });
        let Some(Diagnosis::Quantised {
            step: Some(step), ..
        }) = found.first()
        else {
            panic!("{found:?}")
        };
        assert!((step - 0.25).abs() < 1e-9, "{step}");
    }

    #[test]
    fn steps_far_below_the_error_are_not_in_the_way() {
        let fine = |_, u: f64| [(1e3 * u).round() / 1e3];
        let joint = AlgorithmConfig::Joint(joint());
        assert_eq!(told(problem(|x| 0.8 * x), joint, usual(), fine), []);
    }

    #[test]
    fn a_surrogate_that_cannot_bend_is_too_small() {
        let linear = AlgorithmConfig::Joint(JointConfig {
            surrogate: MlpConfig::new([]),
            ..joint()
        });
        let found = told(problem(|x| 0.9 * x), linear, usual(), |_, u| {
            [(9.0 * u).sin()]
        });
        let small = |found: &Diagnosis| matches!(found, Diagnosis::SurrogateTooSmall { .. });
        assert!(found.iter().any(small), "{found:?}");
    }

    #[test]
    fn noise_above_the_remaining_error_is_named() {
        let problem = problem(|x| 0.5 + 0.4 * x);
        let calls: Vec<_> = (0..60)
            .map(|k| {
                // Every question twice, the answers one apart.
                let x = f64::from(k / 2) / 30.0;
                (x, x, Ok(vec![x + f64::from(k % 2)]))
            })
            .collect();
        let found = looked_at(&problem, &[0.6; 32], &calls);
        let [Diagnosis::Noise { noise, repeats, .. }] = found[..] else {
            panic!("{found:?}")
        };
        assert!((noise - 0.5).abs() < 1e-9, "{noise}");
        assert_eq!(repeats, 30);
        // The same noise under a loss it does not explain.
        let found = looked_at(&problem, &[6.0; 32], &calls);
        assert!(
            !found
                .iter()
                .any(|found| matches!(found, Diagnosis::Noise { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn calls_that_never_leave_the_policy_are_named() {
        let calls: Vec<_> = (0..60)
            .map(|k| (f64::from(k) / 60.0, 0.5, Ok(vec![f64::from(k)])))
            .collect();
        let found = looked_at(&problem(|x| 30.0 * x + 20.0), &[1.0; 32], &calls);
        assert!(
            matches!(found[0], Diagnosis::Unidentified { .. }),
            "{found:?}"
        );
    }

    #[test]
    fn a_loss_that_was_lower_before_is_named() {
        let wild = LearningRate::constant(0.5);
        let joint = AlgorithmConfig::Joint(joint());
        let found = told(problem(|x| 0.8 * x), joint, wild, |x, u| [u + 0.3 * x]);
        let rising = |found: &Diagnosis| {
            matches!(
                found,
                Diagnosis::LearningRateTooHigh { .. } | Diagnosis::Pinned { .. }
            )
        };
        assert!(found.iter().any(rising), "{found:?}");
    }

    #[test]
    fn every_diagnosis_says_what_was_seen_and_what_to_try() {
        let rising = Diagnosis::LearningRateTooHigh {
            best: 0.01,
            last: 0.5,
        };
        let message = rising.to_string();
        assert!(message.contains("1.000e-2 at its best"), "{message}");
        assert!(message.contains("Lower learning_rate.initial"), "{message}");
    }
}
