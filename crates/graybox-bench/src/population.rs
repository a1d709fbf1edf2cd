//! One step of antithetic evolution strategies on the policy's weights.

use anyhow::Result;
use burn::prelude::*;
use graybox::model::{
    AdamStep, Affine, FlatLayout, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, Policy,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::bound;
use crate::contest::{Case, Contender};
use crate::joint::{RATE, oracle, rows};

pub(crate) const SIGMA: f32 = 0.05;

/// This many perturbed policies on `n` rows. The perturbations are drawn once, before the clock starts, for
/// every contender.
pub(crate) fn case(members: usize, n: usize) -> Case {
    let (x, target) = rows(n, 1);
    let rng = &mut StdRng::seed_from_u64(3);
    let mut by_hand = bound::Population::new(members / 2, x.clone(), target.clone(), rng);
    let mut ours = Population::new(members / 2, x, target);
    Case {
        name: format!("population {members} x {n}"),
        ours: Contender::native("graybox", move || {
            ours.step().expect("the step has worked before");
        }),
        bound: Some(Contender::native("bound", move || by_hand.step())),
        peers: ["jax", "torch", "torch-compile"]
            .into_iter()
            .map(|name| (name, format!("population {members} {n}")))
            .collect(),
        calls: members * n,
    }
}

struct Population {
    policy: MlpPolicy,
    layout: FlatLayout,
    weights: Tensor<1>,
    moments: Option<[Tensor<1>; 2]>,
    time: usize,
    /// `[pairs, weights]`
    noise: Tensor<2>,
    x_rows: Vec<f32>,
    target_rows: Vec<f32>,
    x: Tensor<2>,
}

impl Population {
    fn new(pairs: usize, x: Vec<f32>, target: Vec<f32>) -> Self {
        let device = Device::flex();
        let mut rng = StdRng::seed_from_u64(2);
        let config = MlpPolicyConfig {
            body: MlpConfig::new([32, 32]),
            context: Affine::identity(2),
            head: HeadConfig::identity(1),
        };
        let policy = config.init(&mut rng, &device);
        let layout = FlatLayout::of(&policy.clone().train());
        let noise = (0..pairs * layout.len()).map(|_| rng.random_range(-1.7..1.7));
        let noise: Vec<f32> = noise.collect();
        Self {
            weights: layout.flatten(&policy),
            noise: Tensor::from_data(TensorData::new(noise, [pairs, layout.len()]), &device),
            x: Tensor::from_data(TensorData::new(x.clone(), [x.len() / 2, 2]), &device),
            x_rows: x,
            target_rows: target,
            policy,
            layout,
            moments: None,
            time: 0,
        }
    }

    fn step(&mut self) -> Result<()> {
        let [pairs, _] = self.noise.dims();
        let offsets = self.noise.clone() * SIGMA;
        let center = self.weights.clone().unsqueeze::<2>();
        let members = Tensor::cat(vec![center.clone() + offsets.clone(), center - offsets], 0);
        let u = self
            .policy
            .forward_population(&self.layout, members, self.x.clone());
        let data = u.into_data();
        let n = self.x_rows.len() / 2;
        let losses = data.as_slice::<f32>()?.chunks_exact(n).map(|u| {
            let rows = self
                .x_rows
                .chunks_exact(2)
                .zip(self.target_rows.chunks_exact(2));
            let loss = rows.zip(u).map(|((x, target), u)| {
                let y = oracle([x[0], x[1]], *u);
                (y[0] - target[0]).powi(2) + (y[1] - target[1]).powi(2)
            });
            loss.sum::<f32>() / n as f32
        });
        let losses: Vec<f32> = losses.collect();
        let (plus, minus) = losses.split_at(pairs);
        let scale = 1.0 / (2.0 * SIGMA * pairs as f32);
        let differences = plus
            .iter()
            .zip(minus)
            .map(|(plus, minus)| (plus - minus) * scale);
        let differences = TensorData::new(differences.collect::<Vec<_>>(), [1, pairs]);
        let differences = Tensor::<2>::from_data(differences, &Device::flex());
        let gradient = differences.matmul(self.noise.clone()).squeeze_dim(0);
        self.time += 1;
        let adam = AdamStep {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            rate: f64::from(RATE),
            time: self.time,
        };
        let (weights, moments) = adam.apply(self.weights.clone(), gradient, self.moments.take());
        (self.weights, self.moments) = (weights, Some(moments));
        Ok(())
    }
}
