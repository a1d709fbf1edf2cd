//! REINFORCE over the actions: draw some for every row, and make those that did better more probable.
//!
//! Approximates  ∇_{θ, σ} E[ℓ(F(x, u), Y)],  u ~ N(π_θ(x), σ²)
//! With          (ℓ − b) ∇ log p(u | x), draws in pairs on either side of π_θ(x), b the mean loss of other pairs
//! Requires      nothing of F, not even continuity; of the policy its gradient
//! Oracle rows   k n per step, k draws per row
//! Failed rows   a failed draw counts as absent
//! Source        Williams, Machine Learning 8 (1992); leave-one-out: Kool, van Hoof & Welling, ICLR 2019 workshop;
//!               pairs: Hammersley & Morton, Math. Proc. Cambridge Phil. Soc. 52 (1956)
//!
//! Of a pair's two losses only the difference moves π and only the mean moves σ: what is even in u − π, curvature
//! first of all, adds no variance to the former.
//!
//! Bounds belong to the oracle: a draw beyond them is asked at the bound, and its density stays that of the
//! draw, so that the estimate is unbiased for F as it is.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox_model::{GaussianHead, GaussianHeadConfig, HeadConfig, Policy};
use graybox_oracle::Rows;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Facts, baseline, population, rows};
use crate::error::{at_least_one, positive};
use crate::snapshot::Snapshot;
use crate::{
    Adam, Batch, ConfigError, LearningRate, Probe, Problem, RoundReport, SnapshotError, StepError,
    Student,
};

pub(super) const NAME: &str = "reinforce";

/// Draws on either side of the mean.
const PAIR: usize = 2;

/// What the mean loss of earlier rounds keeps of itself in a round.
const MEMORY: f64 = 0.95;

/// Settings of [`Reinforce`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReinforceConfig {
    /// Draws per row, the second on the other side of the mean from the first, and so on. Up to two, the baseline is the
    /// mean of the other rows, or of earlier rounds if there are none.
    pub draws: usize,
    /// Standard deviation at the start, in units of each action's scale.
    pub sigma: f64,
    /// It never falls to this.
    pub sigma_floor: f64,
    /// Learning rate of log σ; the policy's own is that of the run.
    pub sigma_rate: LearningRate,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        Self {
            draws: 2,
            sigma: 0.4,
            sigma_floor: 0.03,
            sigma_rate: LearningRate {
                initial: 0.015,
                ..LearningRate::default()
            },
        }
    }
}

impl ReinforceConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_least_one("reinforce.draws", self.draws)?;
        positive("reinforce.sigma", self.sigma)?;
        positive("reinforce.sigma_floor", self.sigma_floor)?;
        if self.sigma_floor >= self.sigma {
            let field = "reinforce.sigma_floor";
            return Err(ConfigError::new(field, self.sigma_floor, "less than sigma"));
        }
        self.sigma_rate.check("reinforce.sigma_rate")
    }
}

/// Trains a policy on the losses of actions drawn around its own.
pub struct Reinforce {
    config: ReinforceConfig,
    head: GaussianHead,
    optimizer: ModuleOptimizer,
    actions: HeadConfig,
    /// The mean loss of earlier rounds, for rows with nothing else to be compared with.
    earlier: Option<f64>,
}

impl Reinforce {
    /// Takes checked settings.
    pub fn new(config: ReinforceConfig, problem: &Problem) -> Self {
        let head = GaussianHeadConfig {
            scale: problem.actions().affine().scale().to_vec(),
            sigma: config.sigma,
            floor: config.sigma_floor,
        };
        Self {
            config,
            head: head.init(problem.device()).train(),
            optimizer: Adam.into(),
            actions: problem.actions().clone(),
            earlier: None,
        }
    }

    /// Draws around each row's mean, `[draws · n, d_u]`, row by row.
    fn draw(
        &self,
        batch: &Batch,
        mean: Tensor<2>,
        probe: &mut Probe<'_>,
    ) -> Result<Rows, StepError> {
        let both = Tensor::cat(vec![mean, self.head.valid().sigma()], 0);
        let both = probe.download_actions(batch, both)?;
        let sigma = both.row(batch.len());
        let mut u = Rows::with_capacity(sigma.len(), self.config.draws * batch.len());
        for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
            let mut z = Vec::new();
            for draw in 0..self.config.draws {
                z = match draw % 2 {
                    0 => population::normal(sigma.len(), &mut rng),
                    _ => z.iter().map(|z| -z).collect(),
                };
                let parts = both.row(row_idx).iter().zip(sigma).zip(&z);
                let drawn: Vec<f64> = parts.map(|((mean, s), z)| mean + s * z).collect();
                u.push(&drawn)?;
            }
        }
        Ok(u)
    }

    fn within_bounds(&self, u: &Rows) -> Rows {
        let mut u = u.clone();
        for row_idx in 0..u.len() {
            self.actions.clamp(u.row_mut(row_idx));
        }
        u
    }
}

/// The losses of `draws` actions for every row of the batch.
pub(super) fn losses(
    batch: &Batch,
    draws: usize,
    u: &Rows,
    probe: &mut Probe<'_>,
) -> Result<Vec<Vec<Option<f64>>>, StepError> {
    let index: Vec<usize> = (0..batch.len() * draws).map(|i| i / draws).collect();
    let outcomes = probe.ask_rows(&batch.x_rows.select(&index), u)?;
    let rows = outcomes.chunks_exact(draws).zip(batch.target_rows.iter());
    let loss = |(outcomes, target): (&[graybox_oracle::Outcome], &[f64])| {
        let value =
            |y: &graybox_oracle::Outcome| Some(probe.objective().value(y.as_ref().ok()?, target));
        outcomes.iter().map(value).collect()
    };
    Ok(rows.map(loss).collect())
}

/// A weight for every draw, `[draws · n]`.
pub(super) fn upload_weights(weights: &[Vec<f64>], probe: &Probe<'_>) -> Tensor<1> {
    let mut column = Rows::new(1);
    for weight in weights.iter().flatten() {
        column.push(&[*weight]).expect("a row of one value");
    }
    probe.upload(&column).squeeze_dim(1)
}

/// `[n, d]` → `[draws · n, d]`, every row `draws` times in succession.
pub(super) fn repeat_rows(rows: Tensor<2>, draws: usize) -> Tensor<2> {
    let [n, d] = rows.dims();
    let rows: Tensor<3> = rows.unsqueeze_dim(1);
    rows.expand([n, draws, d]).reshape([n * draws, d])
}

impl<P: Policy> Algorithm<P> for Reinforce {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: self.config.draws as u64,
            estimates: "the gradient of the loss averaged over actions drawn around the policy's",
            bias: "O(σ²) from the averaging, none beside it; the variance grows with d_u",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        (n * self.config.draws) as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let progress = probe.progress();
        let u = self.draw(batch, student.act(batch.x.clone()), probe)?;
        let losses = losses(batch, self.config.draws, &self.within_bounds(&u), probe)?;
        let loss = baseline::mean_loss(&losses);
        let Some(mean_loss) = loss else {
            return Ok(RoundReport::new(None));
        };
        let earlier = self.earlier.unwrap_or(mean_loss);
        self.earlier = Some(MEMORY * earlier + (1.0 - MEMORY) * mean_loss);
        let weights = upload_weights(&baseline::leave_one_out(&losses, PAIR, earlier), probe);
        let mean = repeat_rows(student.policy().forward(batch.x.clone()), self.config.draws);
        let log_prob = self.head.log_prob(mean, probe.upload(&u));
        let mut gradients = (log_prob * weights).sum().backward();
        let for_head = GradientsParams::from_module(&mut gradients, &self.head);
        let for_policy = GradientsParams::from_module(&mut gradients, student.policy());
        student.apply(for_policy, progress);
        let rate = self.config.sigma_rate.at(progress);
        self.head = self.optimizer.step(rate, self.head.clone(), for_head);
        Ok(RoundReport::new(loss))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("reinforce.earlier", &self.earlier)?;
        snapshot.put_module("reinforce.head", &self.head)?;
        snapshot.put_optimizer("reinforce.optimizer", &self.optimizer)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.earlier = snapshot.get("reinforce.earlier")?;
        self.head = snapshot.get_module("reinforce.head", self.head.clone())?;
        self.optimizer = snapshot.get_optimizer("reinforce.optimizer", Adam.into())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge;
    use crate::testing::{Line, Spread};

    /// Estimates of the gradient in (w, b), from how far plain descent moves them.
    fn spread(config: ReinforceConfig, line: &mut Line, n: usize) -> Spread {
        let mut method = Reinforce::new(config, line.problem());
        let start = line.weights();
        let mut spread = Spread::new(2);
        for _ in 0..n {
            line.set_weights(start);
            let (student, batch, mut probe) = line.parts();
            method.round(student, &batch, &mut probe).unwrap();
            let moved = line.weights();
            spread.add(&[start[0] - moved[0], start[1] - moved[1]]);
        }
        spread
    }

    fn fixed_sigma(draws: usize, sigma: f64) -> ReinforceConfig {
        ReinforceConfig {
            draws,
            sigma,
            sigma_floor: 0.5 * sigma,
            sigma_rate: LearningRate::constant(1e-12),
        }
    }

    #[test]
    fn the_estimate_is_unbiased_within_its_own_error() {
        for draws in [1, 2, 3] {
            let mut line = Line::squared(1).with_plain_descent();
            let truth = line.gradient();
            spread(fixed_sigma(draws, 0.2), &mut line, 12_000).assert_unbiased(&truth);
        }
    }

    #[test]
    fn more_pairs_lower_the_variance() {
        let variance = |draws| {
            let mut line = Line::squared(1).with_plain_descent();
            spread(fixed_sigma(draws, 0.2), &mut line, 1_000).squared_error()
        };
        let (pair, pairs) = (variance(2), variance(8));
        assert!(pairs < 0.4 * pair, "{pairs} {pair}");
    }

    #[test]
    fn curvature_adds_no_variance_to_a_pair() {
        let variance = |draws| {
            let mut line = Line::squared(1).with_plain_descent();
            line.set_weights(line.optimum());
            spread(fixed_sigma(draws, 0.2), &mut line, 1_000).squared_error()
        };
        let (single, pair) = (variance(1), variance(2));
        assert!(pair < 1e-4 * single, "{pair} {single}");
    }

    #[test]
    fn the_bias_falls_fourfold_when_sigma_halves() {
        let error = |sigma| {
            let mut line = Line::quartic(1).with_plain_descent();
            let truth = line.gradient();
            spread(fixed_sigma(4_000, sigma), &mut line, 100).bias(&truth)
        };
        let ratio = error(0.4) / error(0.2);
        assert!((3.3..4.8).contains(&ratio), "{ratio}");
    }

    #[test]
    fn sigma_falls_where_every_deviation_costs() {
        let mut line = Line::squared(1);
        line.set_weights(line.optimum());
        let config = ReinforceConfig {
            sigma: 0.3,
            sigma_rate: LearningRate::constant(0.02),
            ..ReinforceConfig::default()
        };
        let mut method = Reinforce::new(config, line.problem());
        for _ in 0..600 {
            let (student, batch, mut probe) = line.parts();
            method.round(student, &batch, &mut probe).unwrap();
        }
        let sigma = bridge::download(method.head.valid().sigma());
        let sigma = sigma.row(0)[0];
        assert!((0.03..0.05).contains(&sigma), "{sigma}");
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let refused = |config: ReinforceConfig| config.check().unwrap_err().field;
        let config = ReinforceConfig::default();
        assert_eq!(
            refused(ReinforceConfig { draws: 0, ..config }),
            "reinforce.draws"
        );
        let sigma = -0.1;
        assert_eq!(
            refused(ReinforceConfig { sigma, ..config }),
            "reinforce.sigma"
        );
        let sigma_floor = 0.4;
        let config = ReinforceConfig {
            sigma_floor,
            ..config
        };
        assert_eq!(refused(config), "reinforce.sigma_floor");
    }
}
