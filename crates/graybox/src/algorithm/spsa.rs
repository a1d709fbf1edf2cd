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
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::rows::{self, RowGradient};
use super::{Algorithm, Facts};
use crate::error::{at_least_one, positive};
use crate::snapshot::Snapshot;
use crate::{Batch, ConfigError, Probe, Problem, RoundReport, SnapshotError, StepError, Student};

mod directions;
#[cfg(test)]
mod tests;

pub use directions::Directions;
use directions::{orthogonal, signs};

pub(super) const NAME: &str = "spsa";

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
