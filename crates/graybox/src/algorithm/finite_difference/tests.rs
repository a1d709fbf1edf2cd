//! Gradients against the chain rule, their order in h, and probes at the bounds.

use super::*;
use crate::testing::Harness;
use crate::{Dataset, SquaredError};
use burn::prelude::*;
use graybox_model::HeadConfig;
use graybox_oracle::{Dims, FnOracle, Oracle, RowError};

const SCHEMES: [Scheme; 3] = [Scheme::Central, Scheme::Forward, Scheme::Richardson];

/// y = (sin u₁ + x u₂², u₁ u₂), and its Jacobian.
fn smooth(x: f64, u: &[f64]) -> [f64; 2] {
    [u[0].sin() + x * u[1] * u[1], u[0] * u[1]]
}

fn slopes(x: f64, u: &[f64]) -> [[f64; 2]; 2] {
    [[u[0].cos(), 2.0 * x * u[1]], [u[1], u[0]]]
}

fn problem(actions: HeadConfig) -> Problem {
    let x = Rows::from_vec(1, vec![0.5, -1.0, 2.0]).unwrap();
    let target = Rows::from_vec(2, vec![0.0, 1.0, 0.3, -0.2, 1.0, 1.0]).unwrap();
    let problem = Problem::new(Dataset::new(x, target).unwrap(), actions, &Device::flex());
    let objective = SquaredError::scaled(&[1.0, 2.0]).unwrap();
    problem.unwrap().with_objective(objective)
}

/// In the third row both actions are so close to the bounds ±1 that the probes turn inwards.
fn actions() -> Rows {
    Rows::from_vec(2, vec![0.2, 0.9, -0.4, 0.1, 0.99995, -0.99995]).unwrap()
}

fn bounded() -> HeadConfig {
    HeadConfig::bounded(vec![-1.0; 2], vec![1.0; 2]).unwrap()
}

/// `∂L/∂u` by the chain rule, over the rows that count.
fn exact(problem: &Problem, u: &Rows, counts: &[bool]) -> Vec<f64> {
    let data = problem.data().host();
    let n = counts.iter().filter(|counts| **counts).count() as f64;
    let mut gradient = Vec::new();
    for (row_idx, counts) in counts.iter().enumerate() {
        let (x, u) = (data.x().row(row_idx)[0], u.row(row_idx));
        let y = smooth(x, u);
        let dloss_dy = problem.objective().gradient(&y, data.target().row(row_idx));
        for k in 0..2 {
            let column: f64 = (0..2).map(|j| dloss_dy[j] * slopes(x, u)[j][k]).sum();
            gradient.push(if *counts { column / n } else { 0.0 });
        }
    }
    gradient
}

fn estimate(problem: &Problem, scheme: Scheme, step: f64, harness: &mut Harness) -> Vec<f64> {
    let config = FiniteDifferenceConfig {
        scheme,
        step: Step::Fixed(step),
    };
    let mut method = FiniteDifference::new(config, problem);
    let batch = problem.data().batch(vec![0, 1, 2]);
    let (gradient, _) = method
        .gradient(step, &batch, &actions(), &mut harness.probe())
        .unwrap();
    gradient.as_slice().to_vec()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

fn oracle() -> impl Oracle {
    FnOracle::new(Dims::new(1, 2, 2), |x, u| smooth(x[0], u))
}

#[test]
fn central_differences_meet_the_true_gradient_to_1e_6() {
    for actions_config in [HeadConfig::identity(2), bounded()] {
        let problem = problem(actions_config);
        let mut harness = Harness::new(problem.clone(), oracle(), 1);
        let gradient = estimate(&problem, Scheme::Central, 1e-4, &mut harness);
        let error = worst(&gradient, &exact(&problem, &actions(), &[true; 3]));
        assert!(error < 1e-6, "off by {error:e}");
    }
}

#[test]
fn the_error_falls_with_the_order_of_the_scheme_also_at_the_bounds() {
    for (scheme, order) in SCHEMES.into_iter().zip([2, 1, 4]) {
        for actions_config in [HeadConfig::identity(2), bounded()] {
            let problem = problem(actions_config);
            let truth = exact(&problem, &actions(), &[true; 3]);
            let error = |step| {
                let mut harness = Harness::new(problem.clone(), oracle(), 1);
                worst(&estimate(&problem, scheme, step, &mut harness), &truth)
            };
            let (h, expected) = (0.08, f64::from(1 << order));
            let ratio = error(h) / error(h / 2.0);
            assert!((ratio / expected - 1.0).abs() < 0.1, "{scheme:?}: {ratio}");
        }
    }
}

#[test]
fn no_probe_leaves_the_bounds() {
    let problem = problem(bounded());
    for scheme in SCHEMES {
        let strict = FnOracle::new(Dims::new(1, 2, 2), |x, u| {
            assert!(u.iter().all(|u| (-1.0..=1.0).contains(u)), "asked at {u:?}");
            smooth(x[0], u)
        });
        let mut harness = Harness::new(problem.clone(), strict, 1);
        estimate(&problem, scheme, 0.5, &mut harness);
    }
}

#[test]
fn a_step_pays_what_it_says() {
    for scheme in SCHEMES {
        for actions_config in [HeadConfig::identity(2), bounded()] {
            let problem = problem(actions_config);
            let mut harness = Harness::new(problem.clone(), oracle(), 1);
            estimate(&problem, scheme, 0.1, &mut harness);
            let config = FiniteDifferenceConfig {
                scheme,
                ..FiniteDifferenceConfig::default()
            };
            let per_row = FiniteDifference::new(config, &problem).calls_per_row();
            assert_eq!(harness.metered.calls(), 3 * per_row as u64, "{scheme:?}");
        }
    }
}

#[test]
fn a_row_with_a_failed_probe_counts_as_absent() {
    let problem = problem(HeadConfig::identity(2));
    let picky = FnOracle::new(Dims::new(1, 2, 2), |x, u| {
        // Only one probe of the second row fails.
        if u[0] < -0.4 - 1e-9 {
            Err(RowError::Invalid)
        } else {
            Ok(smooth(x[0], u))
        }
    });
    let mut harness = Harness::new(problem.clone(), picky, 1);
    let gradient = estimate(&problem, Scheme::Central, 1e-4, &mut harness);
    let truth = exact(&problem, &actions(), &[true, false, true]);
    let error = worst(&gradient, &truth);
    assert!(error < 1e-6, "off by {error:e}");
}

#[test]
fn a_step_is_a_number_or_the_word_auto() {
    let read = |text: &str| serde_json::from_str::<FiniteDifferenceConfig>(text);
    assert_eq!(read(r#"{"step": "auto"}"#).unwrap().step, Step::AUTO);
    assert_eq!(read(r#"{"step": 0.1}"#).unwrap().step, Step::Fixed(0.1));
    assert!(read(r#"{"step": "large"}"#).is_err());
    for step in [0.0, -0.1, 0.6, f64::NAN] {
        let config = FiniteDifferenceConfig {
            step: Step::Fixed(step),
            ..FiniteDifferenceConfig::default()
        };
        assert_eq!(config.check().unwrap_err().field, "finite_difference.step");
    }
}
