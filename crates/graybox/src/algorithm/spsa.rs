//! Differences along random directions: two calls, whatever the number of actions.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          g = (ℓ(u + h v) − ℓ(u − h v)) / 2h · v, the mean over k directions v with E[v vᵀ] = I
//! Requires      ℓ∘F smooth in u at scale h; nothing of the policy
//! Oracle rows   2 k n per step
//! Failed rows   a row with a failed probe leaves the batch
//! Source        Spall, IEEE Trans. Automatic Control 37 (1992), for signs; orthogonal directions: Choromanski et al.,
//!               ICML 2018
//!
//! A pair of calls estimates all d_u slopes at once, with a variance that grows with d_u. For the squared
//! error the pair's difference of losses is `∂ℓ/∂y` at the pair's mean outcome times its difference of
//! outcomes, so noise of the oracle that is independent from call to call adds no bias.
//!
//! The step falls over the run, as Spall's does: a long one sees across flat regions while the policy is far
//! off, a short one has little bias when it is near.

use graybox_model::{HeadConfig, Policy};
use graybox_oracle::{Outcome, Rows};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::rows::{self, RowGradient};
use super::{Algorithm, Facts};
use crate::error::{at_least_one, positive};
use crate::snapshot::Snapshot;
use crate::{Batch, ConfigError, Probe, Problem, RoundReport, SnapshotError, StepError, Student};

pub(super) const NAME: &str = "spsa";

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

/// Settings of [`Spsa`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpsaConfig {
    /// The step h at the start, in units of each action's scale, at most 0.5.
    pub step: f64,
    /// The step when the calls are spent; it falls geometrically, or stays if it is not longer than this.
    pub last_step: f64,
    /// How directions are drawn.
    pub directions: Directions,
    /// Antithetic pairs per row.
    pub pairs: usize,
}

impl Default for SpsaConfig {
    fn default() -> Self {
        Self {
            step: 0.16,
            last_step: 0.05,
            directions: Directions::Signs,
            pairs: 1,
        }
    }
}

impl SpsaConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(self.step > 0.0 && self.step <= 0.5) {
            let expected = "a positive number of at most 0.5, in units of the action's scale";
            return Err(ConfigError::new("spsa.step", self.step, expected));
        }
        positive("spsa.last_step", self.last_step)?;
        at_least_one("spsa.pairs", self.pairs)
    }

    /// The step after this share of the run, in `[0, 1]`.
    fn step_at(&self, progress: f64) -> f64 {
        let last = self.last_step.min(self.step);
        self.step * (last / self.step).powf(progress)
    }
}

/// Trains a policy on differences along random directions.
#[derive(Debug, Clone)]
pub struct Spsa {
    config: SpsaConfig,
    /// Of each action.
    scale: Vec<f64>,
    actions: HeadConfig,
}

impl Spsa {
    /// Takes checked settings.
    pub fn new(config: SpsaConfig, problem: &Problem) -> Self {
        let actions = problem.actions();
        Self {
            config,
            scale: actions.affine().scale().to_vec(),
            actions: actions.clone(),
        }
    }

    /// `h v` in the user's units, for every pair of one row.
    fn offsets(&self, step: f64, rng: &mut StdRng) -> Vec<Vec<f64>> {
        let directions = match self.config.directions {
            Directions::Signs => signs(self.config.pairs, self.scale.len(), rng),
            Directions::Orthogonal => orthogonal(self.config.pairs, self.scale.len(), rng),
        };
        let scaled = |v: Vec<f64>| {
            let scaled = v.iter().zip(&self.scale);
            scaled.map(|(v, scale)| step * scale * v).collect()
        };
        directions.into_iter().map(scaled).collect()
    }

    /// The middle of a pair: u, moved inwards just as far as keeps both ends within the bounds.
    fn center(&self, u: &[f64], offset: &[f64]) -> Vec<f64> {
        let Some((low, high)) = self.actions.bounds() else {
            return u.to_vec();
        };
        let bounds = low.iter().zip(&high);
        (u.iter().zip(offset).zip(bounds))
            .map(|((u, offset), (low, high))| {
                // A long direction may be wider than the bounds: then its middle is theirs.
                let reach = offset.abs().min(0.5 * (high - low));
                u.clamp(low + reach, high - reach)
            })
            .collect()
    }

    fn ends(&self, u: &[f64], offset: &[f64]) -> [Vec<f64>; 2] {
        let center = self.center(u, offset);
        [1.0, -1.0].map(|sign| {
            let moved = center.iter().zip(offset).map(|(u, o)| u + sign * o);
            let mut moved: Vec<f64> = moved.collect();
            self.actions.clamp(&mut moved);
            moved
        })
    }

    /// What one row says, from the outcomes at both ends of every pair.
    fn row(
        &self,
        step: f64,
        offsets: &[Vec<f64>],
        outcomes: &[Outcome],
        target: &[f64],
        probe: &Probe<'_>,
    ) -> Option<RowGradient> {
        let mut gradient = vec![0.0; self.scale.len()];
        let mut sum = 0.0;
        let share = 1.0 / offsets.len() as f64;
        for (offset, pair) in offsets.iter().zip(outcomes.chunks_exact(2)) {
            let [plus, minus] = pair else {
                return None;
            };
            let loss = |y: &Outcome| Some(probe.objective().value(y.as_ref().ok()?, target));
            let (plus, minus) = (loss(plus)?, loss(minus)?);
            sum += 0.5 * (plus + minus);
            let slope = 0.5 * (plus - minus) * share;
            // g = Δℓ/2h · v in units of the scale; in the user's units both v and g carry the scale once.
            for ((g, offset), scale) in gradient.iter_mut().zip(offset).zip(&self.scale) {
                let h = step * scale;
                *g += slope * offset / (h * h);
            }
        }
        Some(RowGradient {
            loss: sum * share,
            dloss_du: gradient,
        })
    }

    /// `∂L/∂u`, `[batch, d_u]`, of the mean loss over rows whose every probe was answered; zero for the
    /// others. And that mean loss.
    fn gradient(
        &self,
        step: f64,
        batch: &Batch,
        u: &Rows,
        probe: &mut Probe<'_>,
    ) -> Result<(Rows, Option<f64>), StepError> {
        let per_row = 2 * self.config.pairs;
        let mut x_asked = Rows::with_capacity(batch.x_rows.width(), per_row * u.len());
        let mut u_asked = Rows::with_capacity(u.width(), per_row * u.len());
        let mut offsets = Vec::with_capacity(u.len());
        let streams = rows::streams(batch, probe);
        for ((x, u), mut rng) in batch.x_rows.iter().zip(u.iter()).zip(streams) {
            let row = self.offsets(step, &mut rng);
            for end in row.iter().flat_map(|offset| self.ends(u, offset)) {
                x_asked.push(x)?;
                u_asked.push(&end)?;
            }
            offsets.push(row);
        }
        let outcomes = probe.ask_rows(&x_asked, &u_asked)?;
        let parts = offsets.iter().zip(batch.target_rows.iter());
        let rows: Vec<_> = parts
            .zip(outcomes.chunks_exact(per_row))
            .map(|((offsets, target), outcomes)| self.row(step, offsets, outcomes, target, probe))
            .collect();
        Ok(rows::mean(&rows, u.width())?)
    }
}

fn signs(n: usize, d_u: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
    let mut sign = || if rng.random::<bool>() { 1.0 } else { -1.0 };
    (0..n).map(|_| (0..d_u).map(|_| sign()).collect()).collect()
}

/// Blocks of d_u orthogonal directions of length √d_u, by Gram–Schmidt on normal vectors.
fn orthogonal(n: usize, d_u: usize, rng: &mut StdRng) -> Vec<Vec<f64>> {
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

impl<P: Policy> Algorithm<P> for Spsa {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 2 * self.config.pairs as u64,
            estimates: "the gradient of the true loss, along random directions of the action",
            bias: "O(h²), from the third derivative of the loss; the variance grows with d_u",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        2 * (n * self.config.pairs) as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = probe.download_actions(batch, student.act(batch.x.clone()))?;
        let progress = probe.progress();
        let step = self.config.step_at(progress);
        let (dloss_du, loss) = self.gradient(step, batch, &u, probe)?;
        if loss.is_some() {
            student.follow(batch.x.clone(), probe.upload(&dloss_du), progress);
        }
        Ok(RoundReport::new(loss).with("step", step))
    }

    fn save(&self, _: &mut Snapshot) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn load(&mut self, _: &Snapshot) -> Result<(), SnapshotError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
}
