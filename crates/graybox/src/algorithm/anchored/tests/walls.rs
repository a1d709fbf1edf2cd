//! A wall that ends in the midst of the contexts.

use burn::prelude::*;
use graybox_model::{HeadConfig, Surrogate};
use graybox_oracle::{Dims, FnOracle, Rows};

use super::super::continuation::Graph;
use super::super::outlook::Outlook;
use crate::testing::Harness;
use crate::{Dataset, Problem, SquaredError};

/// `sin(u₁ + x₂) + cos u₂`, of which `x₁` is wanted.
#[derive(Module, Debug)]
struct Wave;

impl Surrogate for Wave {
    fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        let phase = x.narrow(1, 1, 1);
        (u.clone().narrow(1, 0, 1) + phase).sin() + u.narrow(1, 1, 1).cos()
    }
}

#[test]
fn a_wall_that_ends_among_the_contexts_is_gone_round() {
    let side = |k: usize| k as f64 / 10.0 - 0.95;
    let grid = (0..400).map(|k| (2.0 * side(k / 20), side(k % 20)));
    let (mut x, mut target, mut leader) = (Rows::new(2), Rows::new(1), Rows::new(2));
    for (wanted, phase) in grid {
        x.push(&[wanted, phase]).unwrap();
        target.push(&[wanted]).unwrap();
        // Either sign of the second action will do, and far down they are far apart.
        let second = f64::acos(wanted / 2.0);
        let second = if phase > 0.0 { second } else { -second };
        leader
            .push(&[f64::asin(wanted / 2.0) - phase, second])
            .unwrap();
    }
    let problem = Problem::new(
        Dataset::new(x.clone(), target).unwrap(),
        HeadConfig::identity(2),
        &Device::flex(),
    );
    let problem = problem.unwrap();
    let oracle = FnOracle::new(Dims::new(2, 2, 1), |_, _| [0.0]);
    let mut harness = Harness::new(problem.clone(), oracle, 0);
    let probe = harness.probe();
    let scale = Tensor::ones([1, 2], &Device::flex());
    let outlook = Outlook {
        surrogate: Wave,
        x: problem.data().x().clone(),
        target: problem.data().target().clone(),
        objective: &SquaredError::scaled(&[1.0]).unwrap(),
        weights: vec![1.0],
        scale: &scale,
        graph: Graph::new(&x),
    };
    let walled = outlook.cost(&leader, &probe);
    assert!(walled > 1e-2, "{walled}");
    // Every row is right where it is: only what lies between them shows the wall.
    let worst = outlook.losses(&leader).into_iter().fold(0.0, f64::max);
    assert!(worst < 1e-9, "{worst}");
    let refine = |wave: &[usize], starts: Rows| outlook.refined(wave, starts, &probe);
    let round = outlook.graph.continued(&leader, 15, refine);
    assert!(outlook.cost(&round, &probe) < 0.05 * walled);
    assert!(round.iter().all(|u| u[1] > 0.0), "{round:?}");
}
