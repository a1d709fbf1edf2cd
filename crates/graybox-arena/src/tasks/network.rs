//! A fixed random network as the oracle: any number of contexts, actions and outcomes.
//!
//! y = W₂ tanh(W₁ (x, u) + b), 48 hidden units, W₁ ~ N(0, 1.5² / (d_x + d_u)), b ~ U[−1, 1], W₂ ~ N(0, 2² / 48), the
//! same for every seed of a run; x ~ U[−1.5, 1.5], Y = F(x, u*), u*_k = tanh(A_k x), A ~ N(0, 1). With many
//! actions and few outcomes, a call tells little of what most of the actions do.

use graybox::model::HeadConfig;
use graybox::oracle::{Dims, Outcome};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::dual::{Real, jacobian};
use crate::task::{Task, normal, uniform};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Network {
    name: &'static str,
    about: &'static str,
    dims: Dims,
    /// `[HIDDEN, d_x + d_u]`
    first: Vec<f64>,
    /// `[HIDDEN]`
    bias: Vec<f64>,
    /// `[d_y, HIDDEN]`
    second: Vec<f64>,
    /// `[d_u, d_x]`
    best: Vec<f64>,
}

const HIDDEN: usize = 48;

impl Network {
    pub(crate) fn new(name: &'static str, about: &'static str, dims: Dims) -> Self {
        let mut rng = StdRng::seed_from_u64(48);
        let inputs = dims.x + dims.u;
        Self {
            name,
            about,
            dims,
            first: normal(&mut rng, HIDDEN * inputs, 1.5 / (inputs as f64).sqrt()),
            bias: uniform(&mut rng, HIDDEN, -1.0, 1.0),
            second: normal(&mut rng, dims.y * HIDDEN, 2.0 / (HIDDEN as f64).sqrt()),
            best: normal(&mut rng, dims.u * dims.x, 1.0),
        }
    }

    fn outcome<T: Real>(&self, x: &[f64], u: &[T]) -> Vec<T> {
        let units = self.first.chunks_exact(x.len() + u.len()).zip(&self.bias);
        let hidden: Vec<T> = units
            .map(|(weights, bias)| {
                let (of_x, of_u) = weights.split_at(x.len());
                let mut sum = T::from(*bias + dot(of_x, x));
                for (value, weight) in u.iter().zip(of_u) {
                    sum = sum + *value * *weight;
                }
                sum.tanh()
            })
            .collect();
        let weighted = |weights: &[f64]| {
            let products = hidden.iter().zip(weights).map(|(unit, w)| *unit * *w);
            products.fold(T::from(0.0), |sum, product| sum + product)
        };
        self.second.chunks_exact(HIDDEN).map(weighted).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Task for Network {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn dims(&self) -> Dims {
        self.dims
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(self.dims.u)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        let x = uniform(rng, self.dims.x, -1.5, 1.5);
        let rows = self.best.chunks_exact(self.dims.x);
        let best: Vec<f64> = rows.map(|row| dot(row, &x).tanh()).collect();
        let target = self.outcome(&x, &best);
        (x, target)
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(self.outcome(x, u))
    }

    fn jacobian(&self, x: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| self.outcome(x, u)))
    }
}
