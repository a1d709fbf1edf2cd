//! Finite differences through the oracle.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          ∂F/∂u_k ≈ (F(x, u + h e_k) − F(x, u − h e_k)) / 2h, then the chain rule
//! Requires      F smooth in u at scale h; nothing of the policy
//! Oracle rows   n (1 + 2 d_u) per step, n (1 + d_u) for forward differences
//! Failed rows   a row with a failed probe leaves the batch
//! Source        Nocedal & Wright, Numerical Optimization, 2nd ed., section 8.1

use graybox_model::Policy;
use graybox_oracle::{Outcome, Rows};
use serde::{Deserialize, Serialize};

use super::{Algorithm, Facts};
use crate::error::positive;
use crate::snapshot::Snapshot;
use crate::{Batch, ConfigError, Probe, Problem, RoundReport, SnapshotError, StepError, Student};

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
}

/// Settings of [`FiniteDifference`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiniteDifferenceConfig {
    /// Which differences are taken.
    pub scheme: Scheme,
    /// The step `h`, in units of each action's scale.
    pub step: f64,
}

impl Default for FiniteDifferenceConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::Central,
            step: 0.01,
        }
    }
}

impl FiniteDifferenceConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("finite_difference.step", self.step)
    }
}

/// Trains a policy on differences of the oracle.
#[derive(Debug, Clone)]
pub struct FiniteDifference {
    config: FiniteDifferenceConfig,
    /// Absolute step of each action.
    steps: Vec<f64>,
    bounds: Option<(Vec<f64>, Vec<f64>)>,
}

impl FiniteDifference {
    /// Takes checked settings.
    pub fn new(config: FiniteDifferenceConfig, problem: &Problem) -> Self {
        let actions = problem.actions();
        let scales = actions.affine();
        Self {
            config,
            steps: scales.scale().iter().map(|s| config.step * s).collect(),
            bounds: actions.bounds(),
        }
    }

    fn probes_per_action(&self) -> usize {
        match self.config.scheme {
            Scheme::Central => 2,
            Scheme::Forward => 1,
        }
    }

    /// Where the probes of action `k` lie, as offsets from `u_k`. Central probes that would leave the
    /// bounds become two on the inner side; a forward probe is mirrored.
    fn offsets(&self, k: usize, u: f64) -> Vec<f64> {
        let h = self.steps[k];
        let (low, high) = match &self.bounds {
            Some((low, high)) => (low[k], high[k]),
            None => (f64::NEG_INFINITY, f64::INFINITY),
        };
        match self.config.scheme {
            Scheme::Central if u + h > high => vec![-h, -2.0 * h],
            Scheme::Central if u - h < low => vec![h, 2.0 * h],
            Scheme::Central => vec![h, -h],
            Scheme::Forward if u + h > high => vec![-h],
            Scheme::Forward => vec![h],
        }
    }

    /// `∂ℓ/∂u` of one row from the outcomes at `u` and at its probes, in the order they were asked.
    fn chain(
        &self,
        u: &[f64],
        y: &[f64],
        probes: &[Outcome],
        dloss_dy: &[f64],
    ) -> Option<Vec<f64>> {
        let per_action = self.probes_per_action();
        let mut gradient = Vec::with_capacity(u.len());
        for (k, probes) in probes.chunks_exact(per_action).enumerate() {
            let offsets = self.offsets(k, u[k]);
            let probes: Vec<&Vec<f64>> = probes.iter().flatten().collect();
            if probes.len() < per_action {
                return None;
            }
            let slope = |dim: usize| match *offsets.as_slice() {
                // Three points on one side: exact for quadratics, like the central pair.
                [h, far] if h * far > 0.0 => {
                    (4.0 * probes[0][dim] - 3.0 * y[dim] - probes[1][dim]) / far
                }
                [h, back] => (probes[0][dim] - probes[1][dim]) / (h - back),
                _ => (probes[0][dim] - y[dim]) / offsets[0],
            };
            gradient.push((0..y.len()).map(|dim| dloss_dy[dim] * slope(dim)).sum());
        }
        Some(gradient)
    }

    /// `∂L/∂u`, `[batch, d_u]`, of the mean loss over rows whose every probe was answered; zero for the
    /// others. And that mean loss.
    fn gradient(
        &self,
        batch: &Batch,
        u: &Rows,
        probe: &mut Probe<'_>,
    ) -> Result<(Rows, Option<f64>), StepError> {
        let per_row = 1 + self.probes_per_action() * u.width();
        let mut x_asked = Rows::with_capacity(batch.x_rows.width(), per_row * u.len());
        let mut u_asked = Rows::with_capacity(u.width(), per_row * u.len());
        for (x, u) in batch.x_rows.iter().zip(u.iter()) {
            x_asked.push(x)?;
            u_asked.push(u)?;
            for k in 0..u.len() {
                for offset in self.offsets(k, u[k]) {
                    let mut moved = u.to_vec();
                    moved[k] += offset;
                    x_asked.push(x)?;
                    u_asked.push(&moved)?;
                }
            }
        }
        let outcomes = probe.ask_rows(&x_asked, &u_asked)?;

        let mut losses = Vec::new();
        let mut gradients = Vec::new();
        let rows = u.iter().zip(batch.target_rows.iter());
        for ((u, target), outcomes) in rows.zip(outcomes.chunks_exact(per_row)) {
            let row = outcomes[0].as_ref().ok().and_then(|y| {
                let dloss_dy = probe.objective().gradient(y, target);
                let gradient = self.chain(u, y, &outcomes[1..], &dloss_dy)?;
                losses.push(probe.objective().value(y, target));
                Some(gradient)
            });
            gradients.push(row);
        }
        let n = losses.len().max(1) as f64;
        let mut dloss_du = Rows::with_capacity(u.width(), u.len());
        for gradient in gradients {
            let gradient = gradient.unwrap_or_else(|| vec![0.0; u.width()]);
            dloss_du.push(&gradient.iter().map(|g| g / n).collect::<Vec<_>>())?;
        }
        let loss = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / n);
        Ok((dloss_du, loss))
    }
}

impl<P: Policy> Algorithm<P> for FiniteDifference {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: (1 + self.probes_per_action() * self.steps.len()) as u64,
            estimates: "the gradient of the true loss, by differences of the oracle",
            bias: match self.config.scheme {
                Scheme::Central => "O(h²), from the third derivative of F",
                Scheme::Forward => "O(h), from the second derivative of F",
            },
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64 * Algorithm::<P>::facts(self).calls_per_row
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = probe.download_actions(batch, student.act(batch.x.clone()))?;
        let progress = probe.progress();
        let (dloss_du, loss) = self.gradient(batch, &u, probe)?;
        if loss.is_some() {
            student.follow(batch.x.clone(), probe.upload(&dloss_du), progress);
        }
        Ok(RoundReport::new(loss))
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
    use crate::testing::Harness;
    use crate::{Dataset, SquaredError};
    use burn::prelude::*;
    use graybox_model::HeadConfig;
    use graybox_oracle::{Dims, FnOracle, Oracle, RowError};

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

    fn actions() -> Rows {
        Rows::from_vec(2, vec![0.2, 0.9, -0.4, 0.1, 0.98, -0.97]).unwrap()
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

    fn estimate(
        problem: &Problem,
        config: FiniteDifferenceConfig,
        harness: &mut Harness,
    ) -> Vec<f64> {
        let method = FiniteDifference::new(config, problem);
        let batch = problem.data().batch(vec![0, 1, 2]);
        let (gradient, _) = method
            .gradient(&batch, &actions(), &mut harness.probe())
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
        // In the third row both actions are so close to the bounds that the probes turn inwards.
        let bounded = HeadConfig::bounded(vec![-1.0; 2], vec![1.0; 2]).unwrap();
        for actions_config in [HeadConfig::identity(2), bounded] {
            let problem = problem(actions_config);
            let mut harness = Harness::new(problem.clone(), oracle(), 1);
            let config = FiniteDifferenceConfig {
                step: 1e-4,
                ..FiniteDifferenceConfig::default()
            };
            let gradient = estimate(&problem, config, &mut harness);
            let error = worst(&gradient, &exact(&problem, &actions(), &[true; 3]));
            assert!(error < 1e-6, "off by {error:e}");
        }
    }

    #[test]
    fn the_error_falls_with_the_order_of_the_scheme() {
        for (scheme, order) in [(Scheme::Central, 2), (Scheme::Forward, 1)] {
            let problem = problem(HeadConfig::identity(2));
            let truth = exact(&problem, &actions(), &[true; 3]);
            let error = |step| {
                let config = FiniteDifferenceConfig { scheme, step };
                let mut harness = Harness::new(problem.clone(), oracle(), 1);
                worst(&estimate(&problem, config, &mut harness), &truth)
            };
            let ratio = error(0.02) / error(0.01);
            let expected = f64::from(1 << order);
            assert!((ratio / expected - 1.0).abs() < 0.05, "{scheme:?}: {ratio}");
        }
    }

    #[test]
    fn no_probe_leaves_the_bounds() {
        let problem = problem(HeadConfig::bounded(vec![-1.0; 2], vec![1.0; 2]).unwrap());
        for scheme in [Scheme::Central, Scheme::Forward] {
            let strict = FnOracle::new(Dims::new(1, 2, 2), |x, u| {
                assert!(u.iter().all(|u| (-1.0..=1.0).contains(u)), "asked at {u:?}");
                smooth(x[0], u)
            });
            let config = FiniteDifferenceConfig { scheme, step: 0.1 };
            estimate(
                &problem,
                config,
                &mut Harness::new(problem.clone(), strict, 1),
            );
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
        let config = FiniteDifferenceConfig {
            step: 1e-4,
            ..FiniteDifferenceConfig::default()
        };
        let gradient = estimate(
            &problem,
            config,
            &mut Harness::new(problem.clone(), picky, 1),
        );
        let error = worst(
            &gradient,
            &exact(&problem, &actions(), &[true, false, true]),
        );
        assert!(error < 1e-6, "off by {error:e}");
    }
}
