//! Rosenbrock's function under noise far above its signal: one action for all, to minimise E y.
//!
//! R(p) = Σ_{i<10} (p_{i+1} − p_i²)² + (1 − p_i)², x ~ U[−10, 10], z ~ N(x, 1), y ~ N(z + R, s²), s = 0.1 + 0.5 |z|, so
//! that E y = R while y spreads by 6; from p = 2, where R = 45. The simulator draws x itself. There is nothing to
//! see: the context is the constant 1, which a network needs and which tells it nothing. The loss is y
//! itself, and its noise-free value R is the score; the minimum is 0 at p = 1.
//!
//! Variant: p = Qᵀψ, ψ ∈ R¹⁰⁰, Q the orthogonal factor of a random `[100, 10]` matrix: a hundred actions of which
//! ten directions matter.
//!
//! Source: Shirobokov et al., Black-box optimization with local generative surrogates, NeurIPS 2020, which spends
//! 15 (variant: 20) × 3,000 draws a step.

use std::sync::Arc;

use graybox::model::{Affine, HeadConfig};
use graybox::oracle::{Dims, Outcome};
use graybox::{ConfigError, Objective};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::dual::{Real, jacobian};
use crate::objective::Minimise;
use crate::task::{Task, normal};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Rosenbrock {
    /// `[10, 100]`: rows are orthonormal; none where the actions are p itself.
    directions: Option<Vec<Vec<f64>>>,
}

const N: usize = 10;
const AMBIENT: usize = 100;
const START: f64 = 2.0;

impl Rosenbrock {
    pub(crate) fn plain() -> Self {
        Self { directions: None }
    }

    /// With a hundred actions.
    pub(crate) fn submanifold() -> Self {
        let mut rng = StdRng::seed_from_u64(100);
        let mut directions: Vec<Vec<f64>> = Vec::with_capacity(N);
        // Gram–Schmidt.
        for _ in 0..N {
            let mut direction = normal(&mut rng, AMBIENT, 1.0);
            for earlier in &directions {
                let along = dot(&direction, earlier);
                for (value, unit) in direction.iter_mut().zip(earlier) {
                    *value -= along * unit;
                }
            }
            let length = dot(&direction, &direction).sqrt();
            directions.push(direction.iter().map(|value| value / length).collect());
        }
        Self {
            directions: Some(directions),
        }
    }

    fn value<T: Real>(&self, u: &[T]) -> [T; 1] {
        let projected = |direction: &Vec<f64>| {
            let products = u.iter().zip(direction).map(|(value, unit)| *value * *unit);
            products.fold(T::from(0.0), |sum, product| sum + product)
        };
        let p: Vec<T> = match &self.directions {
            Some(directions) => directions.iter().map(projected).collect(),
            None => u.to_vec(),
        };
        let terms = p.windows(2).map(|pair| {
            let (valley, slope) = (pair[1] - pair[0] * pair[0], -pair[0] + 1.0);
            valley * valley + slope * slope
        });
        [terms.fold(T::from(0.0), |sum, term| sum + term)]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Task for Rosenbrock {
    fn name(&self) -> &'static str {
        match self.directions {
            None => "rosenbrock10",
            Some(_) => "submanifold100",
        }
    }

    fn about(&self) -> &'static str {
        match self.directions {
            None => "minimise a valley of ten actions under noise far above its signal",
            Some(_) => "the valley of rosenbrock10 in ten directions of a hundred actions",
        }
    }

    fn dims(&self) -> Dims {
        Dims::new(1, self.actions().width(), 1)
    }

    fn actions(&self) -> HeadConfig {
        let center = match &self.directions {
            None => vec![START; N],
            Some(directions) => (0..AMBIENT)
                .map(|k| directions.iter().map(|row| START * row[k]).sum())
                .collect(),
        };
        let scale = vec![1.0; center.len()];
        HeadConfig::Identity { center, scale }
    }

    fn draw(&self, _: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        (vec![1.0], vec![0.0])
    }

    fn evaluate(&self, _: &[f64], u: &[f64]) -> Outcome {
        Ok(self.value(u).to_vec())
    }

    fn call(&self, _: &[f64], u: &[f64], rng: &mut StdRng) -> Outcome {
        let z = rng.random_range(-10.0..10.0) + normal(rng, 1, 1.0)[0];
        let noise = normal(rng, 1, 0.1 + 0.5 * z.abs())[0];
        let [value] = self.value(u);
        Ok(vec![z + value + noise])
    }

    fn jacobian(&self, _: &[f64], u: &[f64]) -> Option<Vec<f64>> {
        Some(jacobian(u, |u| self.value(u)))
    }

    fn objective(&self) -> Result<Arc<dyn Objective>, ConfigError> {
        Ok(Arc::new(Minimise))
    }

    /// About what is seen around the start.
    fn outcome_spread(&self) -> Option<Affine> {
        Affine::new(vec![30.0], vec![20.0]).ok()
    }

    fn floor(&self) -> Option<f64> {
        Some(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_and_the_minimum_are_where_they_are_said_to_be() {
        for task in [Rosenbrock::plain(), Rosenbrock::submanifold()] {
            let start = task.actions().affine().shift().to_vec();
            let best: Vec<f64> = start.iter().map(|u| u / START).collect();
            assert!((task.value(&start)[0] - 45.0).abs() < 1e-9);
            assert!(task.value(&best)[0].abs() < 1e-9);
        }
    }
}
