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
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::difference_step;
use super::rows::{self, RowGradient};
use super::{Algorithm, Facts};
use crate::snapshot::Snapshot;
use crate::{
    Batch, ConfigError, DeviceData, Probe, Problem, RoundReport, SnapshotError, StepError, Student,
};

pub(super) const NAME: &str = "finite_difference";

/// Which differences are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `(F(u + h) − F(u − h)) / 2h`, error O(h²).
    #[default]
    Central,
    /// `(F(u + h) − F(u)) / h`, error O(h).
    Forward,
    /// Central differences at h and h/2, extrapolated to h = 0, error O(h⁴).
    Richardson,
}

impl Scheme {
    /// Where F is asked, in units of the step.
    pub(super) fn points(self) -> &'static [f64] {
        match self {
            Self::Central => &[1.0, -1.0],
            Self::Forward => &[0.0, 1.0],
            Self::Richardson => &[1.0, -1.0, 0.5, -0.5],
        }
    }

    /// As many points on the one side, with the same order of error.
    fn one_sided(self) -> &'static [f64] {
        match self {
            Self::Central => &[0.0, 1.0, 2.0],
            Self::Forward => &[0.0, 1.0],
            Self::Richardson => &[0.0, 0.5, 1.0, 1.5, 2.0],
        }
    }
}

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
}

/// Points of one action, as offsets from `u_k`, and what they say together.
struct Stencil {
    offsets: Vec<f64>,
    /// Weights of the slope at offset 0.
    slope: Vec<f64>,
    /// Weights of the value at offset 0.
    value: Vec<f64>,
}

impl Stencil {
    /// The polynomial through the points, by Lagrange's basis.
    fn new(offsets: Vec<f64>) -> Self {
        let others = |i: usize| (0..offsets.len()).filter(move |j| *j != i);
        let factor = |i: usize, j: usize| -offsets[j] / (offsets[i] - offsets[j]);
        let value = |i: usize| others(i).map(|j| factor(i, j)).product();
        let slope = |i: usize| {
            let term = |m: usize| {
                let rest: f64 = others(i)
                    .filter(|j| *j != m)
                    .map(|j| factor(i, j))
                    .product();
                rest / (offsets[i] - offsets[m])
            };
            others(i).map(term).sum()
        };
        Self {
            slope: (0..offsets.len()).map(slope).collect(),
            value: (0..offsets.len()).map(value).collect(),
            offsets,
        }
    }

    /// Offsets that have to be asked beside u itself.
    fn moved(&self) -> impl Iterator<Item = f64> {
        self.offsets.iter().copied().filter(|offset| *offset != 0.0)
    }
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
        }
    }

    /// The step, if it was not chosen yet: at rows drawn from all there are, since a round may have but one.
    fn choose_step<P: Policy>(
        &self,
        student: &Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<f64, StepError> {
        let among = self.data.host().len();
        let draw = |_| probe.rng().random_range(0..among);
        let sample = self
            .data
            .batch((0..difference_step::PROBES).map(draw).collect());
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

    /// The points of action `k`, turned inwards where one would leave the bounds.
    fn stencil(&self, step: f64, k: usize, u: f64) -> Stencil {
        let h = step * self.scale[k];
        let (low, high) = match &self.bounds {
            Some((low, high)) => (low[k], high[k]),
            None => (f64::NEG_INFINITY, f64::INFINITY),
        };
        let scaled = |points: &[f64], h: f64| points.iter().map(|point| point * h).collect();
        Stencil::new(if u + h > high {
            // As many calls as the symmetric points, since u itself is asked where there are bounds.
            scaled(self.scheme.one_sided(), -h)
        } else if u - h < low {
            scaled(self.scheme.one_sided(), h)
        } else {
            scaled(self.scheme.points(), h)
        })
    }

    /// What one row says, from the outcome at u, if it was asked, and those at its points.
    fn row(
        u: &[f64],
        stencils: &[Stencil],
        asks_center: bool,
        outcomes: &[Outcome],
        target: &[f64],
        probe: &Probe<'_>,
    ) -> Option<RowGradient> {
        let answers: Option<Vec<&Vec<f64>>> = outcomes.iter().map(|y| y.as_ref().ok()).collect();
        let mut answers = answers?.into_iter();
        let center = if asks_center { answers.next() } else { None };
        let d_y = target.len();
        let mut slopes = Vec::with_capacity(u.len());
        let mut value = vec![0.0; d_y];
        for stencil in stencils {
            let mut slope = vec![0.0; d_y];
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
            slopes.push(slope);
        }
        let y = center.unwrap_or(&value);
        let dloss_dy = probe.objective().gradient(y, target);
        let chain = |slope: &Vec<f64>| slope.iter().zip(&dloss_dy).map(|(s, d)| s * d).sum();
        Some(RowGradient {
            loss: probe.objective().value(y, target),
            dloss_du: slopes.iter().map(chain).collect(),
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
        let per_row = self.calls_per_row();
        let mut x_asked = Rows::with_capacity(batch.x_rows.width(), per_row * u.len());
        let mut u_asked = Rows::with_capacity(u.width(), per_row * u.len());
        let mut stencils = Vec::with_capacity(u.len());
        for (x, u) in batch.x_rows.iter().zip(u.iter()) {
            if self.asks_center() {
                x_asked.push(x)?;
                u_asked.push(u)?;
            }
            let row: Vec<Stencil> = (0..u.len()).map(|k| self.stencil(step, k, u[k])).collect();
            for (k, stencil) in row.iter().enumerate() {
                for offset in stencil.moved() {
                    let mut moved = u.to_vec();
                    moved[k] += offset;
                    x_asked.push(x)?;
                    u_asked.push(&moved)?;
                }
            }
            stencils.push(row);
        }
        let outcomes = probe.ask_rows(&x_asked, &u_asked)?;

        let parts = u.iter().zip(batch.target_rows.iter()).zip(&stencils);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Harness;
    use crate::{Dataset, SquaredError};
    use burn::prelude::*;
    use graybox_model::HeadConfig;
    use graybox_oracle::{Dims, FnOracle, Oracle, RowError};

    const SCHEMES: [Scheme; 3] = [Scheme::Central, Scheme::Forward, Scheme::Richardson];

    /// y = (sin u₁ + x u₂², u₁ u₂), and its Jacobian.
    fn smooth(x: f64, u: &[f64]) -> [f64; 2] {
        [u[0].sin() + x * u[1] * u[1], u[0] * u[1]]
    }

    fn slopes(x: f64, u: &[f64]) -> [[f64; 2]; 2] {
        [[u[0].cos(), 2.0 * x * u[1]], [u[1], u[0]]]
    }

    fn problem(actions: HeadConfig) -> Problem {
        let x = Rows::from_vec(1, vec![0.5, -1.0, 2.0]).unwrap();
        let target = Rows::from_vec(2, vec![0.0, 1.0, 0.3, -0.2, 1.0, 1.0]).unwrap();
        let problem = Problem::new(Dataset::new(x, target).unwrap(), actions, &Device::flex());
        let objective = SquaredError::scaled(&[1.0, 2.0]).unwrap();
        problem.unwrap().with_objective(objective)
    }

    /// In the third row both actions are so close to the bounds ±1 that the probes turn inwards.
    fn actions() -> Rows {
        Rows::from_vec(2, vec![0.2, 0.9, -0.4, 0.1, 0.99995, -0.99995]).unwrap()
    }

    fn bounded() -> HeadConfig {
        HeadConfig::bounded(vec![-1.0; 2], vec![1.0; 2]).unwrap()
    }

    /// `∂L/∂u` by the chain rule, over the rows that count.
    fn exact(problem: &Problem, u: &Rows, counts: &[bool]) -> Vec<f64> {
        let data = problem.data().host();
        let n = counts.iter().filter(|counts| **counts).count() as f64;
        let mut gradient = Vec::new();
        for (row_idx, counts) in counts.iter().enumerate() {
            let (x, u) = (data.x().row(row_idx)[0], u.row(row_idx));
            let y = smooth(x, u);
            let dloss_dy = problem.objective().gradient(&y, data.target().row(row_idx));
            for k in 0..2 {
                let column: f64 = (0..2).map(|j| dloss_dy[j] * slopes(x, u)[j][k]).sum();
                gradient.push(if *counts { column / n } else { 0.0 });
            }
        }
        gradient
    }

    fn estimate(problem: &Problem, scheme: Scheme, step: f64, harness: &mut Harness) -> Vec<f64> {
        let config = FiniteDifferenceConfig {
            scheme,
            step: Step::Fixed(step),
        };
        let method = FiniteDifference::new(config, problem);
        let batch = problem.data().batch(vec![0, 1, 2]);
        let (gradient, _) = method
            .gradient(step, &batch, &actions(), &mut harness.probe())
            .unwrap();
        gradient.as_slice().to_vec()
    }

    fn worst(a: &[f64], b: &[f64]) -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    }

    fn oracle() -> impl Oracle {
        FnOracle::new(Dims::new(1, 2, 2), |x, u| smooth(x[0], u))
    }

    #[test]
    fn central_differences_meet_the_true_gradient_to_1e_6() {
        for actions_config in [HeadConfig::identity(2), bounded()] {
            let problem = problem(actions_config);
            let mut harness = Harness::new(problem.clone(), oracle(), 1);
            let gradient = estimate(&problem, Scheme::Central, 1e-4, &mut harness);
            let error = worst(&gradient, &exact(&problem, &actions(), &[true; 3]));
            assert!(error < 1e-6, "off by {error:e}");
        }
    }

    #[test]
    fn the_error_falls_with_the_order_of_the_scheme_also_at_the_bounds() {
        for (scheme, order) in SCHEMES.into_iter().zip([2, 1, 4]) {
            for actions_config in [HeadConfig::identity(2), bounded()] {
                let problem = problem(actions_config);
                let truth = exact(&problem, &actions(), &[true; 3]);
                let error = |step| {
                    let mut harness = Harness::new(problem.clone(), oracle(), 1);
                    worst(&estimate(&problem, scheme, step, &mut harness), &truth)
                };
                let (h, expected) = (0.08, f64::from(1 << order));
                let ratio = error(h) / error(h / 2.0);
                assert!((ratio / expected - 1.0).abs() < 0.1, "{scheme:?}: {ratio}");
            }
        }
    }

    #[test]
    fn no_probe_leaves_the_bounds() {
        let problem = problem(bounded());
        for scheme in SCHEMES {
            let strict = FnOracle::new(Dims::new(1, 2, 2), |x, u| {
                assert!(u.iter().all(|u| (-1.0..=1.0).contains(u)), "asked at {u:?}");
                smooth(x[0], u)
            });
            let mut harness = Harness::new(problem.clone(), strict, 1);
            estimate(&problem, scheme, 0.5, &mut harness);
        }
    }

    #[test]
    fn a_step_pays_what_it_says() {
        for scheme in SCHEMES {
            for actions_config in [HeadConfig::identity(2), bounded()] {
                let problem = problem(actions_config);
                let mut harness = Harness::new(problem.clone(), oracle(), 1);
                estimate(&problem, scheme, 0.1, &mut harness);
                let config = FiniteDifferenceConfig {
                    scheme,
                    ..FiniteDifferenceConfig::default()
                };
                let per_row = FiniteDifference::new(config, &problem).calls_per_row();
                assert_eq!(harness.metered.calls(), 3 * per_row as u64, "{scheme:?}");
            }
        }
    }

    #[test]
    fn a_row_with_a_failed_probe_counts_as_absent() {
        let problem = problem(HeadConfig::identity(2));
        let picky = FnOracle::new(Dims::new(1, 2, 2), |x, u| {
            // Only one probe of the second row fails.
            if u[0] < -0.4 - 1e-9 {
                Err(RowError::Invalid)
            } else {
                Ok(smooth(x[0], u))
            }
        });
        let mut harness = Harness::new(problem.clone(), picky, 1);
        let gradient = estimate(&problem, Scheme::Central, 1e-4, &mut harness);
        let truth = exact(&problem, &actions(), &[true, false, true]);
        let error = worst(&gradient, &truth);
        assert!(error < 1e-6, "off by {error:e}");
    }

    #[test]
    fn a_step_is_a_number_or_the_word_auto() {
        let read = |text: &str| serde_json::from_str::<FiniteDifferenceConfig>(text);
        assert_eq!(read(r#"{"step": "auto"}"#).unwrap().step, Step::AUTO);
        assert_eq!(read(r#"{"step": 0.1}"#).unwrap().step, Step::Fixed(0.1));
        assert!(read(r#"{"step": "large"}"#).is_err());
        for step in [0.0, -0.1, 0.6, f64::NAN] {
            let config = FiniteDifferenceConfig {
                step: Step::Fixed(step),
                ..FiniteDifferenceConfig::default()
            };
            assert_eq!(config.check().unwrap_err().field, "finite_difference.step");
        }
    }
}
