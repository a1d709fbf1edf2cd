//! The joint step: policy, oracle, surrogate, loss, gradient, optimizer.

use anyhow::{Context, Result};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox::model::{
    Affine, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, MlpSurrogate, MlpSurrogateConfig,
    Policy, Surrogate, Term,
};
use graybox::{Adam, Objective, SquaredError};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::bound;
use crate::contest::{Case, Contender};

pub(crate) const LAMBDA: f32 = 0.5;
pub(crate) const RATE: f32 = 1e-3;

/// A closure like any user's, cheap so that it hides nothing.
pub(crate) fn oracle(x: [f32; 2], u: f32) -> [f32; 2] {
    [x[0] * u + 0.3 * u * u, x[1] - u]
}

/// Contexts and targets of `n` rows.
pub(crate) fn rows(n: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    (draw(2 * n), draw(2 * n))
}

/// The step on this many rows, with these widths of policy and surrogate.
pub(crate) fn case(n: usize, width: [usize; 2]) -> Case {
    let (x, target) = rows(n, 1);
    let mut by_hand = bound::Joint::new(
        width,
        x.clone(),
        target.clone(),
        &mut StdRng::seed_from_u64(2),
    );
    let mut ours = Joint::new(width, x, target);
    let size = match width {
        [32, 64] => String::new(),
        [policy, _] => format!(" width {policy}"),
    };
    Case {
        name: format!("joint step{size} batch {n}"),
        ours: Contender::native("graybox", move || {
            ours.step().expect("the step has worked before");
        }),
        bound: Some(Contender::native("bound", move || by_hand.step())),
        peers: ["jax", "jax-callback", "torch", "torch-compile"]
            .into_iter()
            .map(|name| (name, format!("joint {n} {} {}", width[0], width[1])))
            .collect(),
        calls: n,
    }
}

#[derive(Module, Debug)]
struct Networks {
    policy: MlpPolicy,
    surrogate: MlpSurrogate,
}

pub(crate) struct Joint {
    networks: Option<Networks>,
    optimizer: ModuleOptimizer,
    objective: SquaredError,
    x_rows: Vec<f32>,
    x: Tensor<2>,
    target: Tensor<2>,
    weight: Tensor<1>,
}

impl Joint {
    pub(crate) fn new(width: [usize; 2], x: Vec<f32>, target: Vec<f32>) -> Self {
        let device = Device::flex();
        let mut rng = StdRng::seed_from_u64(2);
        let n = x.len() / 2;
        let policy = MlpPolicyConfig {
            body: MlpConfig::new([width[0], width[0]]),
            context: Affine::identity(2),
            head: HeadConfig::identity(1),
        };
        let surrogate = MlpSurrogateConfig {
            body: MlpConfig::new([width[1], width[1]]),
            context: Affine::identity(2),
            action: Affine::identity(1),
            outcome: Affine::identity(2),
        };
        let networks = Networks {
            policy: policy.init(&mut rng, &device),
            surrogate: surrogate.init(&mut rng, &device),
        };
        Self {
            networks: Some(networks.train()),
            optimizer: Adam.into(),
            objective: SquaredError::scaled(&[1.0, 1.0]).expect("positive scales"),
            x: Tensor::from_data(TensorData::new(x.clone(), [n, 2]), &device),
            x_rows: x,
            target: Tensor::from_data(TensorData::new(target, [n, 2]), &device),
            weight: Tensor::full([n], 1.0 / n as f64, &device),
        }
    }

    /// Returns the loss as a tensor: reading it is no part of the step.
    pub(crate) fn step(&mut self) -> Result<Tensor<1>> {
        let networks = self.networks.take().context("a step was interrupted")?;
        let (u, to_policy) = networks.policy.linked(self.x.clone());
        let y = self.ask(u.clone())?;
        let (y_hat, to_both) = networks.surrogate.linked_to_both(self.x.clone(), u);
        let fit = Term {
            target: self.target.clone(),
            weight: self.weight.clone(),
        };
        let mismatch = Term {
            target: y,
            weight: self.weight.clone() * LAMBDA,
        };
        let terms = [fit, mismatch];
        let value = self.objective.total(y_hat.clone(), &terms);
        let mut gradients = GradientsParams::new();
        let dloss_dy = self.objective.total_gradient(y_hat, &terms);
        let dloss_du = to_both(dloss_dy, &mut gradients);
        to_policy(dloss_du, &mut gradients);
        self.networks = Some(self.optimizer.step(f64::from(RATE), networks, gradients));
        Ok(value)
    }

    fn ask(&self, u: Tensor<2>) -> Result<Tensor<2>> {
        let n = self.x_rows.len() / 2;
        let data = u.into_data();
        let u = data.as_slice::<f32>()?;
        let mut y = Vec::with_capacity(2 * n);
        for (x, u) in self.x_rows.chunks_exact(2).zip(u) {
            y.extend(oracle([x[0], x[1]], *u));
        }
        Ok(Tensor::from_data(
            TensorData::new(y, [n, 2]),
            &Device::flex(),
        ))
    }
}
