//! One step of antithetic evolution strategies, by hand.

use pulp::{Simd, WithSimd};
use rand::{RngExt, rngs::StdRng};

use super::network::Network;
use super::tile::BLOCK;
use super::vectorize;

/// One step of antithetic evolution strategies, by hand.
pub(crate) struct Population {
    policy: Network,
    member: Network,
    x: Vec<f32>,
    target: Vec<f32>,
    /// One row of padded weights per pair.
    noise: Vec<f32>,
}

impl Population {
    pub(crate) fn new(pairs: usize, x: Vec<f32>, target: Vec<f32>, rng: &mut StdRng) -> Self {
        let policy = Network::new(&[2, 32, 32, 1], rng);
        let noise = (0..pairs * policy.len()).map(|_| rng.random_range(-1.7..1.7));
        Self {
            member: policy.clone(),
            noise: noise.collect(),
            policy,
            x,
            target,
        }
    }

    pub(crate) fn step(&mut self) {
        vectorize(PopulationStep(self));
    }
}

struct PopulationStep<'a>(&'a mut Population);

impl WithSimd for PopulationStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Population {
            policy,
            member,
            x,
            target,
            noise,
        } = self.0;
        let sigma = crate::population::SIGMA;
        let n = x.len() / 2;
        let pairs = noise.len() / policy.len();
        for noise in noise.chunks_exact(policy.len()) {
            let mut difference = 0.0;
            for sign in [1.0, -1.0] {
                member.perturb(simd, policy, noise, sign * sigma);
                let mut loss = 0.0f32;
                for first in (0..n).step_by(BLOCK) {
                    let rows = BLOCK.min(n - first);
                    let x = &x[first * 2..(first + rows) * 2];
                    let target = &target[first * 2..(first + rows) * 2];
                    member.forward(simd, rows, x, 2);
                    let (u, stride) = member.output();
                    let rows = x.chunks_exact(2).zip(target.chunks_exact(2));
                    for ((x, target), u) in rows.zip(u.chunks_exact(stride)) {
                        let y = crate::joint::oracle([x[0], x[1]], u[0]);
                        loss += (y[0] - target[0]).powi(2) + (y[1] - target[1]).powi(2);
                    }
                }
                difference += sign * loss / n as f32;
            }
            let weight = difference / (2.0 * sigma * pairs as f32);
            policy.add_to_gradient(simd, noise, weight);
        }
        policy.step(simd, crate::joint::RATE);
    }
}
