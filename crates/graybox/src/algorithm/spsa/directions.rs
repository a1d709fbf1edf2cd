//! Random directions of the action.

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// How directions are drawn. All have `E[v vᵀ] = I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directions {
    /// A fair sign for every action.
    #[default]
    Signs,
    /// Of length √d_u, uniform on the sphere, every d_u of them orthogonal: with k = d_u they are a basis,
    /// and the estimate is exact where F is linear.
    Orthogonal,
}

pub(super) fn signs(n: usize, d_u: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
    let mut sign = || if rng.random::<bool>() { 1.0 } else { -1.0 };
    (0..n).map(|_| (0..d_u).map(|_| sign()).collect()).collect()
}

/// Blocks of d_u orthogonal directions of length √d_u, by Gram–Schmidt on normal vectors.
pub(super) fn orthogonal(n: usize, d_u: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
    let mut directions: Vec<Vec<f64>> = Vec::with_capacity(n);
    let length = (d_u as f64).sqrt();
    while directions.len() < n {
        let block = directions.len() % d_u;
        let mut v: Vec<f64> = (0..d_u).map(|_| StandardNormal.sample(rng)).collect();
        for earlier in &directions[directions.len() - block..] {
            let along: f64 = v.iter().zip(earlier).map(|(v, e)| v * e).sum();
            for (v, e) in v.iter_mut().zip(earlier) {
                *v -= along / d_u as f64 * e;
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        // The chance that a normal vector lies in the span of the others is nil; rounding is not.
        if norm > 1e-6 {
            directions.push(v.iter().map(|v| v * length / norm).collect());
        }
    }
    directions
}
