//! Known gradients, the orders of bias and variance, bounds, and what is paid.

use super::*;
use crate::testing::{Harness, Spread};
use crate::{Dataset, SquaredError};
use burn::prelude::*;
use graybox_model::HeadConfig;
use graybox_oracle::{Dims, FnOracle};

const U: [f64; 3] = [0.3, -0.4, 0.8];

/// ℓ = y² with y = sin u₁ + u₁ u₂ + u₃.
fn outcome(u: &[f64]) -> f64 {
    u[0].sin() + u[0] * u[1] + u[2]
}

fn exact() -> [f64; 3] {
    let slope = 2.0 * outcome(&U);
    [slope * (U[0].cos() + U[1]), slope * U[0], slope]
}

fn problem(actions: HeadConfig) -> Problem {
    let x = Rows::from_vec(1, vec![1.0]).unwrap();
    let target = Rows::from_vec(1, vec![0.0]).unwrap();
    let problem = Problem::new(Dataset::new(x, target).unwrap(), actions, &Device::flex());
    problem
        .unwrap()
        .with_objective(SquaredError::scaled(&[1.0]).unwrap())
}

fn spread(config: SpsaConfig, n: usize) -> Spread {
    let problem = problem(HeadConfig::scaled(vec![0.0; 3], vec![1.0, 2.0, 0.5]).unwrap());
    let oracle = FnOracle::new(Dims::new(1, 3, 1), |_, u| [outcome(u)]);
    let mut harness = Harness::new(problem.clone(), oracle, 1);
    let method = Spsa::new(config, &problem);
    let batch = problem.data().batch(vec![0]);
    let u = Rows::from_vec(3, U.to_vec()).unwrap();
    let mut spread = Spread::new(3);
    for _ in 0..n {
        let (gradient, _) = method
            .gradient(config.step, &batch, &u, &mut harness.probe())
            .unwrap();
        spread.add(gradient.as_slice());
    }
    spread
}

#[test]
fn the_estimate_is_unbiased_within_its_own_error() {
    for directions in [Directions::Signs, Directions::Orthogonal] {
        let config = SpsaConfig {
            step: 1e-3,
            directions,
            ..SpsaConfig::default()
        };
        spread(config, 20_000).assert_unbiased(&exact());
    }
}

#[test]
fn the_bias_falls_fourfold_when_the_step_halves() {
    // With a basis of directions nothing is left to chance but the basis.
    let error = |step| {
        let config = SpsaConfig {
            step,
            directions: Directions::Orthogonal,
            pairs: 3,
            ..SpsaConfig::default()
        };
        spread(config, 2_000).bias(&exact())
    };
    let ratio = error(0.2) / error(0.1);
    assert!((3.6..4.4).contains(&ratio), "{ratio}");
}

#[test]
fn the_variance_falls_with_the_pairs_and_faster_where_they_are_orthogonal() {
    let variance = |directions, pairs| {
        let config = SpsaConfig {
            step: 1e-3,
            directions,
            pairs,
            ..SpsaConfig::default()
        };
        spread(config, 2_000).squared_error()
    };
    let one = variance(Directions::Signs, 1);
    let two = variance(Directions::Signs, 2);
    assert!((1.7..2.3).contains(&(one / two)), "{}", one / two);
    let basis = variance(Directions::Orthogonal, 3);
    assert!(basis < 1e-6 * one, "{basis:e} {one:e}");
}

#[test]
fn the_step_falls_from_the_first_to_the_last() {
    let config = SpsaConfig {
        step: 0.4,
        last_step: 0.1,
        ..SpsaConfig::default()
    };
    for (progress, step) in [(0.0, 0.4), (0.5, 0.2), (1.0, 0.1)] {
        assert!((config.step_at(progress) - step).abs() < 1e-12);
    }
    // One that is short from the start stays.
    let short = SpsaConfig {
        step: 0.05,
        ..config
    };
    assert!((short.step_at(1.0) - 0.05).abs() < 1e-12);
}

#[test]
fn no_probe_leaves_the_bounds() {
    let problem = problem(HeadConfig::bounded(vec![-1.0; 3], vec![1.0; 3]).unwrap());
    for directions in [Directions::Signs, Directions::Orthogonal] {
        let strict = FnOracle::new(Dims::new(1, 3, 1), |_, u| {
            assert!(u.iter().all(|u| (-1.0..=1.0).contains(u)), "asked at {u:?}");
            [outcome(u)]
        });
        let mut harness = Harness::new(problem.clone(), strict, 1);
        let config = SpsaConfig {
            step: 0.5,
            directions,
            pairs: 40,
            ..SpsaConfig::default()
        };
        let u = Rows::from_vec(3, vec![0.99, -1.0, 0.2]).unwrap();
        let batch = problem.data().batch(vec![0]);
        Spsa::new(config, &problem)
            .gradient(config.step, &batch, &u, &mut harness.probe())
            .unwrap();
    }
}

#[test]
fn settings_outside_their_meaning_are_refused_by_name() {
    for step in [0.0, -0.1, 0.6, f64::NAN] {
        let config = SpsaConfig {
            step,
            ..SpsaConfig::default()
        };
        assert_eq!(config.check().unwrap_err().field, "spsa.step");
    }
    let last_step = 0.0;
    let config = SpsaConfig {
        last_step,
        ..SpsaConfig::default()
    };
    assert_eq!(config.check().unwrap_err().field, "spsa.last_step");
    let config = SpsaConfig {
        pairs: 0,
        ..SpsaConfig::default()
    };
    assert_eq!(config.check().unwrap_err().field, "spsa.pairs");
}
