//! Every diagnosis provoked, and none on a healthy run.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::algorithm::{FiniteDifferenceConfig, JointConfig, Routing};
use crate::{
    AlgorithmConfig, Dataset, LearningRate, Silent, SquaredError, TrainConfig, Trainer, seed,
};
use graybox_model::{HeadConfig, MlpConfig};
use graybox_oracle::{Dims, FnOracle, IntoOutcome, Outcome, Queries, RowError, Rows};
use rand::RngExt;

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
        learning_rate: Some(learning_rate),
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
fn looked_at(problem: &Problem, losses: &[f64], calls: &[(f64, f64, Outcome)]) -> Vec<Diagnosis> {
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
        AlgorithmConfig::default(),
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
    let beyond =
        |found: &Diagnosis| matches!(found, Diagnosis::OutOfReach { share, .. } if *share > 0.9);
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
    let [Diagnosis::Noise { noise, pairs, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert!((noise - 0.5).abs() < 1e-9, "{noise}");
    assert_eq!(pairs, 30);
    // The same noise under a loss it does not explain.
    let found = looked_at(&problem, &[6.0; 32], &calls);
    assert!(
        !found
            .iter()
            .any(|found| matches!(found, Diagnosis::Noise { .. })),
        "{found:?}"
    );
}

/// A number from [−1, 1], another one at every call.
fn drawn(counter: &AtomicU64) -> f64 {
    let k = counter.fetch_add(1, Ordering::Relaxed);
    seed::stream(1, "noise", k).random_range(-1.0..1.0)
}

#[test]
fn a_run_through_a_noisy_oracle_is_told_what_is_left() {
    for algorithm in [
        AlgorithmConfig::Joint(JointConfig {
            exploration: 0.01,
            ..joint()
        }),
        AlgorithmConfig::default(),
    ] {
        let name = algorithm.name();
        let counter = AtomicU64::new(0);
        let found = told(problem(|x| 0.8 * x), algorithm, usual(), move |x, u| {
            [u + 0.3 * x + 0.2 * drawn(&counter)]
        });
        let noise = found.iter().find_map(|found| match found {
            Diagnosis::Noise { noise, .. } => Some(*noise),
            _ => None,
        });
        // The variance of 0.2 times a number drawn from [−1, 1].
        let truth = 0.04 / 3.0;
        let ratio = noise.unwrap_or(0.0) / truth;
        assert!((0.5..2.0).contains(&ratio), "{name}: {ratio} {found:?}");
    }
}

#[test]
fn a_run_that_never_leaves_its_policy_is_told_so() {
    // The surrogate makes nothing of the context, so nothing moves the policy, and without exploration no other
    // action is ever asked for.
    let algorithm = AlgorithmConfig::Joint(JointConfig {
        exploration: 0.0,
        ..joint()
    });
    let found = told(problem(|_| 2.0), algorithm, usual(), |x, u| {
        [(50.0 * x).sin() + u]
    });
    let unidentified = |found: &Diagnosis| matches!(found, Diagnosis::Unidentified { .. });
    assert!(found.iter().any(unidentified), "{found:?}");
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
    let wild = LearningRate::constant(5.0);
    let joint = AlgorithmConfig::Joint(joint());
    let found = told(problem(|x| 0.8 * x), joint, wild, |x, u| [u + 0.3 * x]);
    let rising = |found: &Diagnosis| matches!(found, Diagnosis::LearningRateTooHigh { .. });
    assert!(found.iter().any(rising), "{found:?}");
}

#[test]
fn every_diagnosis_says_what_was_seen_and_what_to_try() {
    let collusion = Diagnosis::Collusion {
        apparent: 0.01,
        measured: 0.5,
        balance: 0.02,
    };
    let region = Region {
        name: "pressure".into(),
        threshold: 3.5,
        above: true,
        inside: 0.9,
        outside: 0.05,
    };
    let failing = Diagnosis::Failing {
        failed: 30,
        calls: 60,
        region: Some(region),
    };
    let unidentified = Diagnosis::Unidentified {
        variation: 1e-7,
        calls: 60,
    };
    let pinned = Diagnosis::Pinned {
        action: "valve".into(),
        bound: 2.5,
        share: 0.7,
    };
    let noise = Diagnosis::Noise {
        noise: 0.02,
        remaining: 0.021,
        pairs: 12,
        apart: 1e-3,
    };
    let quantised = Diagnosis::Quantised {
        outcome: "bytes".into(),
        values: 4,
        calls: 60,
        step: Some(0.25),
    };
    let out_of_reach = Diagnosis::OutOfReach {
        outcome: "range".into(),
        share: 0.4,
        reached: [1.0, 2.0],
        wanted: [1.5, 9.0],
    };
    let too_small = Diagnosis::SurrogateTooSmall {
        error: 0.4,
        spread: 0.9,
    };
    let rising = Diagnosis::LearningRateTooHigh {
        best: 0.01,
        last: 0.5,
    };
    for (diagnosis, seen, try_next) in [
        (
            collusion,
            "1.000e-2 where the oracle says 5.000e-1",
            "split routing",
        ),
        (
            failing,
            "90 % of those with pressure above 3.5",
            "bounds of the actions",
        ),
        (unidentified, "latest 60 calls", "exploration"),
        (pinned, "valve", "Widen the bounds"),
        (noise, "2.000e-2", "quieter oracle"),
        (quantised, "bytes", "wider than a step"),
        (out_of_reach, "range", "units of the targets"),
        (too_small, "4.000e-1", "hidden units"),
        (
            rising,
            "1.000e-2 at its best",
            "Lower learning_rate.initial",
        ),
    ] {
        assert!(diagnosis.evidence().contains(seen), "{diagnosis}");
        assert!(diagnosis.advice().contains(try_next), "{diagnosis}");
        assert_eq!(
            diagnosis.to_string(),
            format!("{}. {}", diagnosis.evidence(), diagnosis.advice())
        );
    }
}
