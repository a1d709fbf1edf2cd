//! What is charged, what is chosen, and what is refused.

use super::*;
use crate::algorithm::{JointConfig, Routing, SpsaConfig};
use crate::{AlgorithmConfig, Dataset, LearningRate, OptimizerKind};
use burn::prelude::*;
use graybox_model::{HeadConfig, MlpConfig};
use graybox_oracle::{Dims, Outcome, RowError, Rows};
use std::sync::atomic::AtomicU64;

/// Two contexts, one action, two outcomes, a target that can be reached.
fn outcome(x: &[f64], u: f64) -> [f64; 2] {
    [
        u + 0.3 * (3.0 * u).sin() + 0.5 * x[0],
        0.5 * u * u + x[1] * u,
    ]
}

fn problem(rows: usize) -> Problem {
    let actions = HeadConfig::bounded(vec![-2.0], vec![2.0]).unwrap();
    let (mut x, mut target) = (Rows::new(2), Rows::new(2));
    for i in 0..rows {
        let row = [
            (i as f64 * 0.754).fract() * 2.0 - 1.0,
            (i as f64 * 0.569).fract() * 2.0 - 1.0,
        ];
        x.push(&row).unwrap();
        let best = 0.8 * (2.0 * row[0]).sin() + 0.5 * row[1] * row[1];
        target.push(&outcome(&row, best)).unwrap();
    }
    let data = Dataset::new(x, target).unwrap();
    Problem::new(data, actions, &Device::flex()).unwrap()
}

struct Counting(AtomicU64);

impl Oracle for Counting {
    fn dims(&self) -> Dims {
        Dims::new(2, 1, 2)
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        self.0.fetch_add(queries.len() as u64, Ordering::Relaxed);
        let answer = |(x, u): (&[f64], &[f64])| Ok(outcome(x, u[0]).to_vec());
        queries.iter().map(answer).collect()
    }
}

fn spsa() -> TrainConfig {
    TrainConfig {
        algorithm: AlgorithmConfig::Spsa(SpsaConfig::default()),
        policy: MlpConfig::new([8]),
        ..TrainConfig::default()
    }
}

const SELECTION: Selection = Selection {
    validation: Validation::Folds(3),
    calls: 200,
    rows: 64,
    threads: 1,
};

#[test]
fn any_setting_of_any_algorithm_can_be_varied() {
    for path in ["algorithm.step", "learning_rate.initial"] {
        let candidates = vary(&spsa(), path, &[0.1, 0.2]).unwrap();
        assert_ne!(candidates[0].config, candidates[1].config);
        assert_eq!(candidates[1].label, format!("{path} = 0.2"));
    }
    assert_eq!(
        vary(&spsa(), "batch", &[3]).unwrap()[0].config.batch,
        Some(3)
    );
    let error = vary(&spsa(), "algorithm.stepp", &[0.1]).unwrap_err();
    assert_eq!(error.field, "algorithm.stepp");
    let error = vary(&spsa(), "algorithm.step", &[-0.1]).unwrap_err();
    assert_eq!(error.field, "spsa.step");
}

#[test]
fn calls_for_training_and_for_measuring_are_charged() {
    let oracle = Arc::new(Counting(AtomicU64::new(0)));
    let candidates = vary(&spsa(), "algorithm.step", &[0.05, 0.1]).unwrap();
    for validation in [Validation::Folds(3), Validation::Progressive(3)] {
        let selection = Selection {
            validation,
            ..SELECTION
        };
        let before = oracle.0.load(Ordering::Relaxed);
        let selected = selection
            .run(&candidates, &problem(100), oracle.clone())
            .unwrap();
        let seen = oracle.0.load(Ordering::Relaxed) - before;
        assert_eq!(selected.calls, seen);
        assert_eq!(seen, selection.cost(2, 100));
    }
}

#[test]
fn a_lost_oracle_is_blamed_on_no_candidate() {
    struct Gone;
    impl Oracle for Gone {
        fn dims(&self) -> Dims {
            Dims::new(2, 1, 2)
        }

        fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
            let error = RowError::Unavailable("nobody is left".into());
            vec![Err(error); queries.len()]
        }
    }
    let candidates = vary(&spsa(), "algorithm.step", &[0.05, 0.1]).unwrap();
    let error = SELECTION.run(&candidates, &problem(60), Arc::new(Gone));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("nobody is left"), "{error}");
}

#[test]
fn threads_change_nothing_but_the_time() {
    let candidates = vary(&spsa(), "algorithm.step", &[0.05, 0.1]).unwrap();
    let run = |threads| {
        let selection = Selection {
            threads,
            ..SELECTION
        };
        let oracle = Arc::new(Counting(AtomicU64::new(0)));
        selection.run(&candidates, &problem(60), oracle).unwrap()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_learning_rate_that_learns_is_chosen_over_one_that_does_not() {
    let rates = [1e-7, 1e-2].map(LearningRate::constant);
    let candidates = vary(&spsa(), "learning_rate", &rates).unwrap();
    let oracle = Arc::new(Counting(AtomicU64::new(0)));
    let selected = SELECTION.run(&candidates, &problem(60), oracle).unwrap();
    assert_eq!(selected.best, Some(1));
}

#[test]
fn choosing_by_l_star_rewards_the_surrogate_that_lies() {
    let biased = JointConfig {
        exploration: 0.05,
        surrogate: MlpConfig::new([32, 32]),
        ..JointConfig::new(Routing::Biased)
    };
    let config = TrainConfig {
        algorithm: AlgorithmConfig::Joint(biased),
        policy: MlpConfig::new([16, 16]),
        optimizer: OptimizerKind::Adam,
        ..TrainConfig::default()
    };
    let candidates = vary(&config, "algorithm.lambda", &[0.01, 3.0]).unwrap();
    let selection = Selection {
        validation: Validation::Folds(2),
        calls: 1_200,
        ..SELECTION
    };
    let oracle = Arc::new(Counting(AtomicU64::new(0)));
    let selected = selection.run(&candidates, &problem(200), oracle).unwrap();
    let [lying, honest] = &selected.tried[..] else {
        panic!("two candidates");
    };
    // What it says of itself: the smaller λ is better.
    assert!(lying.claimed < honest.claimed, "{selected:?}");
    // What the oracle says: it is far worse.
    assert!(
        lying.loss > honest.loss.map(|loss| 3.0 * loss),
        "{selected:?}"
    );
    assert_eq!(selected.best, Some(1));
}

#[test]
fn settings_outside_their_meaning_are_refused_before_any_call() {
    let oracle = Arc::new(Counting(AtomicU64::new(0)));
    let candidates = vary(&spsa(), "algorithm.step", &[0.1]).unwrap();
    let refused = |selection: Selection, rows: usize| match selection.run(
        &candidates,
        &problem(rows),
        oracle.clone(),
    ) {
        Err(TrainError::Config(error)) => error.field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(SELECTION, 2), "select.validation.folds");
    let validation = Validation::Progressive(1);
    let selection = Selection {
        validation,
        ..SELECTION
    };
    assert_eq!(refused(selection, 10), "select.validation.progressive");
    let calls = 0;
    assert_eq!(
        refused(Selection { calls, ..SELECTION }, 10),
        "select.calls"
    );
    assert_eq!(oracle.0.load(Ordering::Relaxed), 0);
}
