//! Finite differences through the oracle.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          ∂F/∂u_k ≈ (F(x, u + h e_k) − F(x, u − h e_k)) / 2h, then the chain rule
//! Requires      F smooth in u at scale h; nothing of the policy
//! Oracle rows   2 n d_u per step, n d_u for forward and 4 n d_u for Richardson differences; n more for F at u itself
//!               with forward differences and where actions have bounds; 52 once for an automatic step
//! Failed rows   a row with a failed probe leaves the batch
//! Source        Nocedal & Wright, Numerical Optimization, 2nd ed., section 8.1
//!
//! Every scheme is a set of points per action; the polynomial through them gives the slope at u, and F(u)
//! where u itself was not asked. Near a bound the points turn inwards, and the order stays.

use graybox_model::Policy;
use graybox_oracle::{Outcome, Rows};
use serde::{Deserialize, Serialize};

use super::difference_step;
use super::rows::{self, RowGradient};
use super::{Algorithm, Facts};
use crate::snapshot::Snapshot;
use crate::{
    Batch, ConfigError, DeviceData, Probe, Problem, RoundReport, SnapshotError, StepError, Student,
};

mod stencil;
#[cfg(test)]
mod tests;

pub use stencil::Scheme;
use stencil::Stencil;

pub(super) const NAME: &str = "finite_difference";

/// The step `h`, in units of each action's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// This step, at most 0.5.
    Fixed(f64),
    /// `"auto"`: where truncation and noise are equal. Both are measured once, by calls that are charged.
    Auto(Auto),
}

/// The word `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auto {
    /// Written `"auto"`.
    #[serde(rename = "auto")]
    Auto,
}

impl Step {
    /// Chosen from what the oracle shows.
    pub const AUTO: Self = Self::Auto(Auto::Auto);
}

/// Settings of [`FiniteDifference`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiniteDifferenceConfig {
    /// Which differences are taken.
    pub scheme: Scheme,
    /// The step: a number in units of each action's scale, or `"auto"`.
    pub step: Step,
}

impl Default for FiniteDifferenceConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::Central,
            step: Step::AUTO,
        }
    }
}

impl FiniteDifferenceConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.step {
            Step::Fixed(step) if !(step > 0.0 && step <= 0.5) => Err(ConfigError::new(
                "finite_difference.step",
                step,
                "a positive number of at most 0.5, in units of the action's scale, or \"auto\"",
            )),
            _ => Ok(()),
        }
    }
}

/// Trains a policy on differences of the oracle.
#[derive(Debug, Clone)]
pub struct FiniteDifference {
    scheme: Scheme,
    /// In units of the scale; none until an automatic step was chosen.
    step: Option<f64>,
    /// Of each action.
    scale: Vec<f64>,
    bounds: Option<(Vec<f64>, Vec<f64>)>,
    /// Of each outcome.
    outcome_scale: Vec<f64>,
    data: DeviceData,
    /// Room for the contexts and actions of a round's probes, which are many where actions are: written where the last
    /// round's were, a round of 64 actions takes about a quarter less time.
    room: (Rows, Rows),
}

impl FiniteDifference {
    /// Takes checked settings.
    pub fn new(config: FiniteDifferenceConfig, problem: &Problem) -> Self {
        let actions = problem.actions();
        Self {
            scheme: config.scheme,
            step: match config.step {
                Step::Fixed(step) => Some(step),
                Step::Auto(_) => None,
            },
            scale: actions.affine().scale().to_vec(),
            bounds: actions.bounds(),
            outcome_scale: problem.outcome().scale().to_vec(),
            data: problem.data().clone(),
            room: (Rows::new(problem.dims().x), Rows::new(problem.dims().u)),
        }
    }

    /// The step, if it was not chosen yet: at rows drawn from all there are, since a round may have but one.
    fn choose_step<P: Policy>(
        &self,
        student: &Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<f64, StepError> {
        let among = self.data.host().len();
        let sample = rows::random_rows(probe, difference_step::PROBES, among);
        let sample = self.data.batch(sample);
        let u = probe.download_actions(&sample, student.act(sample.x.clone()))?;
        difference_step::choose(self.scheme, &sample, &u, &self.outcome_scale, probe)
    }

    /// Whether u itself is asked.
    fn asks_center(&self) -> bool {
        self.scheme == Scheme::Forward || self.bounds.is_some()
    }

    fn calls_per_row(&self) -> usize {
        let moved = self.scheme.points().iter().filter(|point| **point != 0.0);
        usize::from(self.asks_center()) + moved.count() * self.scale.len()
    }

    /// The points of each action: on both sides of it, or turned away from its lower or its upper bound.
    fn stencils(&self, step: f64) -> Vec<[Stencil; 3]> {
        let scaled = |points: &[f64], h: f64| {
            let offsets = points.iter().map(|point| point * h);
            Stencil::new(offsets.collect())
        };
        // As many calls on one side as on both, since u itself is asked where there are bounds.
        let of_action = |scale: &f64| {
            let h = step * scale;
            let one_sided = self.scheme.one_sided();
            [
                scaled(self.scheme.points(), h),
                scaled(one_sided, h),
                scaled(one_sided, -h),
            ]
        };
        self.scale.iter().map(of_action).collect()
    }

    /// Which of them are within the bounds of action `k`.
    fn within(&self, step: f64, k: usize, u: f64) -> usize {
        let Some((low, high)) = &self.bounds else {
            return 0;
        };
        let h = step * self.scale[k];
        if u + h > high[k] {
            2
        } else {
            usize::from(u - h < low[k])
        }
    }

    /// What one row says, from the outcome at u, if it was asked, and those at its points.
    fn row(
        u: &[f64],
        stencils: &[&Stencil],
        asks_center: bool,
        outcomes: &[Outcome],
        target: &[f64],
        probe: &Probe<'_>,
    ) -> Option<RowGradient> {
        let answers: Option<Vec<&Vec<f64>>> = outcomes.iter().map(|y| y.as_ref().ok()).collect();
        let mut answers = answers?.into_iter();
        let center = if asks_center { answers.next() } else { None };
        let d_y = target.len();
        // `[d_u, d_y]`
        let mut slopes = vec![0.0; u.len() * d_y];
        let mut value = vec![0.0; d_y];
        for (stencil, slope) in stencils.iter().zip(slopes.chunks_exact_mut(d_y)) {
            for (i, offset) in stencil.offsets.iter().enumerate() {
                let y = if *offset == 0.0 {
                    center.expect("stencils hold u itself only where it was asked")
                } else {
                    answers.next()?
                };
                for dim in 0..d_y {
                    slope[dim] += stencil.slope[i] * y[dim];
                    value[dim] += stencil.value[i] * y[dim] / u.len() as f64;
                }
            }
        }
        let y = center.unwrap_or(&value);
        let dloss_dy = probe.objective().gradient(y, target);
        let chain = |slope: &[f64]| slope.iter().zip(&dloss_dy).map(|(s, d)| s * d).sum();
        Some(RowGradient {
            loss: probe.objective().value(y, target),
            dloss_du: slopes.chunks_exact(d_y).map(chain).collect(),
        })
    }

    /// `∂L/∂u`, `[batch, d_u]`, of the mean loss over rows whose every probe was answered; zero for the
    /// others. And that mean loss.
    fn gradient(
        &mut self,
        step: f64,
        batch: &Batch,
        u: &Rows,
        probe: &mut Probe<'_>,
    ) -> Result<(Rows, Option<f64>), StepError> {
        let per_row = self.calls_per_row();
        let (mut x_asked, mut u_asked) = std::mem::take(&mut self.room);
        x_asked.clear();
        u_asked.clear();
        let stencils = self.stencils(step);
        let mut chosen = Vec::with_capacity(u.len() * u.width());
        for (x, u) in batch.x_rows.iter().zip(u.iter()) {
            if self.asks_center() {
                x_asked.push(x)?;
                u_asked.push(u)?;
            }
            for (k, stencils) in stencils.iter().enumerate() {
                let stencil = &stencils[self.within(step, k, u[k])];
                for offset in stencil.moved() {
                    x_asked.push(x)?;
                    u_asked.push(u)?;
                    u_asked.row_mut(u_asked.len() - 1)[k] += offset;
                }
                chosen.push(stencil);
            }
        }
        let outcomes = probe.ask_rows(&x_asked, &u_asked);
        self.room = (x_asked, u_asked);
        let outcomes = outcomes?;

        let stencils = chosen.chunks_exact(u.width());
        let parts = u.iter().zip(batch.target_rows.iter()).zip(stencils);
        let rows: Vec<_> = parts
            .zip(outcomes.chunks_exact(per_row))
            .map(|(((u, target), stencils), outcomes)| {
                Self::row(u, stencils, self.asks_center(), outcomes, target, probe)
            })
            .collect();
        Ok(rows::mean(&rows, u.width())?)
    }
}

impl<P: Policy> Algorithm<P> for FiniteDifference {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: self.calls_per_row() as u64,
            estimates: "the gradient of the true loss, by differences of the oracle",
            bias: match self.scheme {
                Scheme::Central => "O(h²), from the third derivative of F",
                Scheme::Forward => "O(h), from the second derivative of F",
                Scheme::Richardson => "O(h⁴), from the fifth derivative of F",
            },
        }
    }

    fn calls(&self, n: usize) -> u64 {
        let choice = if self.step.is_none() {
            difference_step::CALLS
        } else {
            0
        };
        (n * self.calls_per_row() + choice) as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = probe.download_actions(batch, student.act(batch.x.clone()))?;
        let progress = probe.progress();
        let step = match self.step {
            Some(step) => step,
            None => self.choose_step(student, probe)?,
        };
        self.step = Some(step);
        let (dloss_du, loss) = self.gradient(step, batch, &u, probe)?;
        if loss.is_some() {
            student.follow(batch.x.clone(), probe.upload(&dloss_du), progress);
        }
        Ok(RoundReport::new(loss).with("step", step))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("finite_difference.step", &self.step)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.step = snapshot.get("finite_difference.step")?;
        Ok(())
    }
}
