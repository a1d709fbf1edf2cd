//! The joint step on L*, by hand.

use pulp::{Simd, WithSimd};
use rand::rngs::StdRng;

use super::network::Network;
use super::tile::BLOCK;
use super::vectorize;

/// The joint step on L*, by hand.
pub(crate) struct Joint {
    policy: Network,
    surrogate: Network,
    /// `[n, 2]`
    x: Vec<f32>,
    target: Vec<f32>,
    /// A block of contexts and actions side by side.
    both: Vec<f32>,
    pub(crate) loss: f32,
}

impl Joint {
    pub(crate) fn new(width: [usize; 2], x: Vec<f32>, target: Vec<f32>, rng: &mut StdRng) -> Self {
        let mut joint = Self {
            policy: Network::new(&[2, width[0], width[0], 1], rng),
            surrogate: Network::new(&[3, width[1], width[1], 2], rng),
            x,
            target,
            both: vec![0.0; BLOCK * 3],
            loss: 0.0,
        };
        joint.policy.transpose();
        joint.surrogate.transpose();
        joint
    }

    pub(crate) fn step(&mut self) {
        vectorize(JointStep(self));
    }
}

struct JointStep<'a>(&'a mut Joint);

impl WithSimd for JointStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Joint {
            policy,
            surrogate,
            x,
            target,
            both,
            loss,
        } = self.0;
        let n = x.len() / 2;
        let share = 1.0 / n as f32;
        *loss = 0.0;
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let x = &x[first * 2..(first + rows) * 2];
            let target = &target[first * 2..(first + rows) * 2];
            policy.forward(simd, rows, x, 2);
            let (u, stride) = policy.output();
            let actions = u.chunks_exact(stride).map(|u| u[0]);
            for ((both, x), u) in both.chunks_exact_mut(3).zip(x.chunks_exact(2)).zip(actions) {
                both.copy_from_slice(&[x[0], x[1], u]);
            }
            surrogate.forward(simd, rows, both, 3);
            let mut outcomes = [[0.0f32; 2]; BLOCK];
            for (y, both) in outcomes.iter_mut().zip(both.chunks_exact(3)).take(rows) {
                *y = crate::joint::oracle([both[0], both[1]], both[2]);
            }
            let (_, stride) = surrogate.output();
            for row in 0..rows {
                let mut at = [0.0; 2];
                for j in 0..2 {
                    let y_hat = surrogate.output().0[row * stride + j];
                    let fit = y_hat - target[row * 2 + j];
                    let mismatch = y_hat - outcomes[row][j];
                    let lambda = crate::joint::LAMBDA;
                    *loss += 0.5 * share * (fit * fit + lambda * mismatch * mismatch);
                    at[j] = share * (fit + lambda * mismatch);
                }
                let (to, stride) = surrogate.at_output();
                let to = &mut to[row * stride..(row + 1) * stride];
                to.fill(0.0);
                to[..2].copy_from_slice(&at);
            }
            let (at_input, width) = surrogate.backward(simd, rows, both, 3, true);
            let (to, stride) = policy.at_output();
            for (to, at) in to
                .chunks_exact_mut(stride)
                .zip(at_input.chunks_exact(width))
                .take(rows)
            {
                to.fill(0.0);
                to[0] = at[2];
            }
            policy.backward(simd, rows, x, 2, false);
        }
        policy.step(simd, crate::joint::RATE);
        surrogate.step(simd, crate::joint::RATE);
    }
}
