//! Policy gradients with parameter-based exploration, stepped by ClipUp.
//!
//! Approximates  ∇_{μ, σ} E[L(w)],  w_i ~ N(μ_i, σ_i²),  L the mean loss of a batch under the policy with weights w
//! With          antithetic pairs μ ± ε on the same rows: ½ (L⁺ − L⁻) ε for μ, (½ (L⁺ + L⁻) − b)(ε² − σ²)/σ for σ, where
//!               L⁺ and L⁻ are centred ranks and b is their mean
//! Requires      nothing: neither F nor the policy need be differentiable
//! Oracle rows   2 k n per step, k pairs
//! Failed rows   leave the pair on both sides
//! Source        Sehnke et al., Neural Networks 23 (2010); ClipUp: Toklu, Liskowski & Srivastava, PPSN 2020

use graybox_model::Policy;
use serde::{Deserialize, Serialize};

use super::population::{self, Pair};
use super::{Algorithm, Facts};
use crate::error::{at_least_one, not_negative, positive};
use crate::snapshot::Snapshot;
use crate::{
    Batch, ConfigError, LearningRate, Probe, RoundReport, SnapshotError, StepError, Student,
};

pub(super) const NAME: &str = "pgpe";

/// The most that σ changes in a step, as a share of itself.
const MOST_CHANGE: f64 = 0.2;

/// Settings of [`Pgpe`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PgpeConfig {
    /// Antithetic pairs per step.
    pub pairs: usize,
    /// Standard deviation of every weight at the start.
    pub sigma: f64,
    /// Learning rate of σ; 0 keeps it.
    pub sigma_rate: f64,
    /// The longest step of the weights, in the Euclidean norm; a step of the gradient's is half as long.
    pub speed: LearningRate,
    /// Share of the last step that is kept, in `[0, 1)`.
    pub momentum: f64,
}

impl Default for PgpeConfig {
    fn default() -> Self {
        Self {
            pairs: 4,
            sigma: 0.05,
            sigma_rate: 0.1,
            speed: LearningRate {
                initial: 0.105,
                floor: 0.0,
            },
            momentum: 0.9,
        }
    }
}

impl PgpeConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_least_one("pgpe.pairs", self.pairs)?;
        positive("pgpe.sigma", self.sigma)?;
        not_negative("pgpe.sigma_rate", self.sigma_rate)?;
        self.speed.check("pgpe.speed")?;
        if !(0.0..1.0).contains(&self.momentum) {
            let expected = "at least 0 and less than 1";
            return Err(ConfigError::new("pgpe.momentum", self.momentum, expected));
        }
        Ok(())
    }
}

/// Trains a policy by antithetic pairs of its weights.
#[derive(Debug, Clone)]
pub struct Pgpe {
    config: PgpeConfig,
    /// Of every weight.
    sigma: Vec<f64>,
    /// ClipUp's last step.
    velocity: Vec<f64>,
}

impl Pgpe {
    /// Takes checked settings.
    pub fn new(config: PgpeConfig) -> Self {
        Self {
            config,
            sigma: Vec::new(),
            velocity: Vec::new(),
        }
    }

    fn ask<P: Policy>(
        &mut self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Vec<Pair>, StepError> {
        let weights = population::weights(student);
        self.sigma.resize(weights, self.config.sigma);
        self.velocity.resize(weights, 0.0);
        population::ask_pairs(student, batch, self.config.pairs, &self.sigma, probe)
    }

    /// ClipUp: a step of fixed length along the gradient, momentum, and a limit on the sum.
    fn clip_up(&mut self, slope: &[f64], most: f64) {
        let norm = length(slope);
        if norm == 0.0 {
            return;
        }
        for (v, slope) in self.velocity.iter_mut().zip(slope) {
            *v = self.config.momentum * *v - 0.5 * most * slope / norm;
        }
        let speed = length(&self.velocity);
        if speed > most {
            for v in &mut self.velocity {
                *v *= most / speed;
            }
        }
    }

    fn learn_sigma(&mut self, pairs: &[Pair]) {
        let baseline = population::mean_loss(pairs).unwrap_or(0.0);
        for (i, sigma) in self.sigma.iter_mut().enumerate() {
            let mut slope = 0.0;
            for pair in pairs {
                let excess = 0.5 * (pair.plus + pair.minus) - baseline;
                slope += excess * (pair.offset[i].powi(2) - *sigma * *sigma) / *sigma;
            }
            let change = -self.config.sigma_rate * slope / pairs.len() as f64;
            *sigma += change.clamp(-MOST_CHANGE * *sigma, MOST_CHANGE * *sigma);
        }
    }
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

impl<P: Policy> Algorithm<P> for Pgpe {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 2 * self.config.pairs as u64,
            estimates: "the direction of the gradient of the loss averaged over Gaussian weights",
            bias: "O(σ²) from the averaging; ranks and ClipUp keep the direction and drop the length",
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
        let most = self.config.speed.at(probe.progress());
        let mut pairs = self.ask(student, batch, probe)?;
        let loss = population::mean_loss(&pairs);
        if loss.is_some() {
            population::rank(&mut pairs);
            self.clip_up(&population::slope(&pairs), most);
            population::shift(student, &self.velocity, probe);
            self.learn_sigma(&pairs);
        }
        Ok(RoundReport::new(loss))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("pgpe", &(&self.sigma, &self.velocity))
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        (self.sigma, self.velocity) = snapshot.get("pgpe")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, Spread};

    fn spread(pairs: usize, sigma: f64, line: &mut Line, n: usize) -> Spread {
        let config = PgpeConfig {
            pairs,
            sigma,
            ..PgpeConfig::default()
        };
        let mut method = Pgpe::new(config);
        let mut spread = Spread::new(2);
        for _ in 0..n {
            let (student, batch, mut probe) = line.parts();
            let pairs = method.ask(student, &batch, &mut probe).unwrap();
            let slope = population::slope(&pairs);
            let gradient: Vec<f64> = slope.iter().map(|s| s / sigma.powi(2)).collect();
            spread.add(&gradient);
        }
        spread
    }

    #[test]
    fn without_ranks_the_estimate_is_unbiased_within_its_own_error() {
        let mut line = Line::squared(1);
        let truth = line.gradient();
        spread(1, 0.1, &mut line, 10_000).assert_unbiased(&truth);
    }

    #[test]
    fn the_bias_falls_fourfold_when_sigma_halves() {
        // Of a quartic loss the average over N(μ, σ²) has a gradient that is off by σ² times its third
        // derivative over two; pairs make the estimate exact but for that.
        let error = |sigma| {
            let mut line = Line::quartic(1);
            let truth = line.gradient();
            spread(400, sigma, &mut line, 400).bias(&truth)
        };
        let ratio = error(0.4) / error(0.2);
        assert!((3.3..4.8).contains(&ratio), "{ratio}");
    }

    #[test]
    fn more_pairs_lower_the_variance_in_proportion() {
        let error = |pairs| spread(pairs, 0.1, &mut Line::squared(1), 2_000).squared_error();
        let ratio = error(1) / error(4);
        assert!((3.4..4.6).contains(&ratio), "{ratio}");
    }

    #[test]
    fn no_step_is_longer_than_its_limit() {
        let mut method = Pgpe::new(PgpeConfig::default());
        method.velocity = vec![0.0; 2];
        for _ in 0..100 {
            method.clip_up(&[3e9, 4e9], 0.05);
            assert!(length(&method.velocity) <= 0.05 * (1.0 + 1e-12));
        }
        // Along the gradient, downwards.
        assert!((method.velocity[0] + 0.03).abs() < 1e-9);
        assert!((method.velocity[1] + 0.04).abs() < 1e-9);
    }

    #[test]
    fn sigma_falls_where_every_deviation_costs() {
        let mut line = Line::squared(1);
        line.set_weights(line.optimum());
        let config = PgpeConfig {
            speed: LearningRate::constant(1e-9),
            ..PgpeConfig::default()
        };
        let mut method = Pgpe::new(config);
        for _ in 0..200 {
            let (student, batch, mut probe) = line.parts();
            method.round(student, &batch, &mut probe).unwrap();
        }
        assert!(method.sigma.iter().all(|sigma| *sigma < 0.5 * config.sigma));
        assert!(method.sigma.iter().all(|sigma| *sigma > 0.0));
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let refused = |config: PgpeConfig| config.check().unwrap_err().field;
        let config = PgpeConfig::default();
        assert_eq!(refused(PgpeConfig { pairs: 0, ..config }), "pgpe.pairs");
        assert_eq!(
            refused(PgpeConfig {
                sigma: -1.0,
                ..config
            }),
            "pgpe.sigma"
        );
        let momentum = 1.0;
        assert_eq!(refused(PgpeConfig { momentum, ..config }), "pgpe.momentum");
    }
}
