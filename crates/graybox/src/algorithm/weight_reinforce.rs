//! REINFORCE over the weights: draw all of them, and move towards the draw if it did better than usual.
//!
//! Approximates  ∇_μ E[L(w)],  w_i ~ N(μ_i, σ²),  L the mean loss of a batch under the policy with weights w
//! With          Δμ_i = α (b − L)(w_i − μ_i), one draw per step
//! Requires      nothing: neither F nor the policy need be differentiable
//! Oracle rows   n per step
//! Failed rows   leave the batch
//! Source        Williams, Machine Learning 8 (1992), with the Gaussian unit's σ²-scaled rate
//!
//! E[Δμ] = −α σ² ∇_μ E[L] whatever b is, as long as b does not depend on the draw; b sets the variance, which
//! grows with the number of weights. It is a baseline to be beaten: [`Pgpe`](super::Pgpe) and
//! [`OpenEs`](super::OpenEs) follow the same gradient with pairs instead of b.

use graybox_model::Policy;
use graybox_oracle::Rows;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Facts, population};
use crate::error::positive;
use crate::snapshot::Snapshot;
use crate::{
    Batch, ConfigError, LearningRate, Probe, RoundReport, SnapshotError, StepError, Student,
};

pub(super) const NAME: &str = "weight_reinforce";

/// What a loss is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Always this loss.
    Fixed(f64),
    /// The mean of earlier losses, each weighing this much of the one after it; in `[0, 1)`.
    RunningMean(f64),
}

/// How σ is learned, one for every weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedSigma {
    /// Learning rate of log σ.
    pub rate: f64,
    /// σ stays above this.
    pub floor: f64,
    /// σ stays below this.
    pub ceiling: f64,
}

/// Settings of [`WeightReinforce`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightReinforceConfig {
    /// Standard deviation of the weights.
    pub sigma: f64,
    /// Learns σ, starting from there; fixed if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_sigma: Option<LearnedSigma>,
    /// What a loss is compared with.
    pub baseline: Baseline,
    /// α. The edge of divergence is within a factor of three of the best: halve it if training diverges.
    pub learning_rate: LearningRate,
}

impl Default for WeightReinforceConfig {
    fn default() -> Self {
        Self {
            sigma: 0.06,
            learned_sigma: None,
            baseline: Baseline::RunningMean(0.95),
            learning_rate: LearningRate {
                initial: 0.18,
                floor: 0.0,
            },
        }
    }
}

impl WeightReinforceConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("weight_reinforce.sigma", self.sigma)?;
        self.learning_rate.check("weight_reinforce.learning_rate")?;
        match self.baseline {
            Baseline::Fixed(value) if !value.is_finite() => {
                let field = "weight_reinforce.baseline.fixed";
                return Err(ConfigError::new(field, value, "a finite loss"));
            }
            Baseline::RunningMean(decay) if !(0.0..1.0).contains(&decay) => {
                let field = "weight_reinforce.baseline.running_mean";
                return Err(ConfigError::new(field, decay, "at least 0 and less than 1"));
            }
            _ => {}
        }
        if let Some(learned) = self.learned_sigma {
            let field = |name: &str| format!("weight_reinforce.learned_sigma.{name}");
            positive(&field("rate"), learned.rate)?;
            positive(&field("floor"), learned.floor)?;
            if !(learned.ceiling.is_finite() && learned.ceiling >= self.sigma) {
                let expected = "a finite number of at least sigma";
                return Err(ConfigError::new(
                    field("ceiling"),
                    learned.ceiling,
                    expected,
                ));
            }
            if learned.floor > self.sigma {
                return Err(ConfigError::new(
                    field("floor"),
                    learned.floor,
                    "at most sigma",
                ));
            }
        }
        Ok(())
    }
}

/// Trains a policy by drawing its weights.
#[derive(Debug, Clone)]
pub struct WeightReinforce {
    config: WeightReinforceConfig,
    /// b; none before the first loss of a running mean.
    baseline: Option<f64>,
    /// Of every weight, once it is learned.
    log_sigma: Vec<f64>,
}

/// One draw and what came of it.
struct Draw {
    /// (w − μ)/σ.
    z: Vec<f64>,
    /// w − μ.
    offset: Vec<f64>,
    /// L.
    loss: f64,
    /// b − L; zero for the draw that a running mean starts from.
    advantage: f64,
}

impl WeightReinforce {
    /// Takes checked settings.
    pub fn new(config: WeightReinforceConfig) -> Self {
        Self {
            config,
            baseline: match config.baseline {
                Baseline::Fixed(value) => Some(value),
                Baseline::RunningMean(_) => None,
            },
            log_sigma: Vec::new(),
        }
    }

    fn draw<P: Policy>(
        &mut self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Option<Draw>, StepError> {
        let z = population::normal(population::weights(student), probe.rng());
        self.log_sigma.resize(z.len(), self.config.sigma.ln());
        let parts = z.iter().zip(&self.log_sigma);
        let offset: Vec<f64> = match self.config.learned_sigma {
            Some(_) => parts.map(|(z, log_sigma)| z * log_sigma.exp()).collect(),
            None => z.iter().map(|z| z * self.config.sigma).collect(),
        };
        let mut members = Rows::new(offset.len());
        members.push(&offset)?;
        let losses = population::ask(student, batch, &members, probe)?;
        let Some(loss) = losses.first().and_then(population::mean) else {
            return Ok(None);
        };
        let baseline = self.baseline.unwrap_or(loss);
        if let Baseline::RunningMean(decay) = self.config.baseline {
            self.baseline = Some(decay * baseline + (1.0 - decay) * loss);
        }
        Ok(Some(Draw {
            z,
            offset,
            loss,
            advantage: baseline - loss,
        }))
    }

    /// Δ log σ_i = α_σ (b − L) ∂ log p/∂ log σ_i.
    fn learn_sigma(&mut self, draw: &Draw) {
        let Some(learned) = self.config.learned_sigma else {
            return;
        };
        let (floor, ceiling) = (learned.floor.ln(), learned.ceiling.ln());
        for (log_sigma, z) in self.log_sigma.iter_mut().zip(&draw.z) {
            *log_sigma += learned.rate * draw.advantage * (z * z - 1.0);
            *log_sigma = log_sigma.clamp(floor, ceiling);
        }
    }
}

impl<P: Policy> Algorithm<P> for WeightReinforce {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates: "the gradient of the loss averaged over Gaussian weights, from one draw of them",
            bias: "O(σ²) from the averaging, none beside it; the variance grows with the number of weights",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let rate = self.config.learning_rate.at(probe.progress());
        let Some(draw) = self.draw(student, batch, probe)? else {
            return Ok(RoundReport::new(None));
        };
        let step: Vec<f64> = (draw.offset.iter())
            .map(|offset| rate * draw.advantage * offset)
            .collect();
        population::shift(student, &step, probe);
        self.learn_sigma(&draw);
        Ok(RoundReport::new(Some(draw.loss)).with("advantage", draw.advantage))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("weight_reinforce", &(self.baseline, &self.log_sigma))
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        (self.baseline, self.log_sigma) = snapshot.get("weight_reinforce")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, Spread};

    /// Estimates of ∇_μ E[L] by (L − b)(w − μ)/σ².
    fn spread(config: WeightReinforceConfig, line: &mut Line, n: usize) -> Spread {
        let mut spread = Spread::new(2);
        let mut method = WeightReinforce::new(config);
        for _ in 0..n {
            let (student, batch, mut probe) = line.parts();
            let draw = method.draw(student, &batch, &mut probe).unwrap().unwrap();
            let scale = -draw.advantage / config.sigma.powi(2);
            let gradient: Vec<f64> = draw.offset.iter().map(|offset| scale * offset).collect();
            spread.add(&gradient);
        }
        spread
    }

    #[test]
    fn the_step_is_the_formula() {
        let config = WeightReinforceConfig {
            baseline: Baseline::Fixed(2.0),
            learning_rate: LearningRate::constant(0.5),
            ..WeightReinforceConfig::default()
        };
        let mut line = Line::squared(1);
        let before = line.weights();
        let (student, batch, mut probe) = line.parts();
        let mut method = WeightReinforce::new(config);
        let draw = method.draw(student, &batch, &mut probe).unwrap().unwrap();
        let drawn = [before[0] + draw.offset[0], before[1] + draw.offset[1]];
        assert!((draw.loss - line.loss(drawn)).abs() < 1e-6);

        // The same stream of numbers once more, through a round.
        let mut line = Line::squared(1);
        let (student, batch, mut probe) = line.parts();
        WeightReinforce::new(config)
            .round(student, &batch, &mut probe)
            .unwrap();
        let after = line.weights();
        for i in 0..2 {
            let expected = 0.5 * (2.0 - draw.loss) * draw.offset[i];
            assert!((after[i] - before[i] - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn the_estimate_is_unbiased_within_its_own_error_whatever_the_baseline() {
        for baseline in [Baseline::Fixed(0.5), Baseline::RunningMean(0.9)] {
            let config = WeightReinforceConfig {
                sigma: 0.1,
                baseline,
                ..WeightReinforceConfig::default()
            };
            let mut line = Line::squared(1);
            let truth = line.gradient();
            spread(config, &mut line, 20_000).assert_unbiased(&truth);
        }
    }

    #[test]
    fn the_bias_falls_fourfold_when_sigma_halves() {
        // Of a quartic loss the averaged gradient is off by σ² times the third derivative over two, exactly.
        let error = |sigma| {
            let config = WeightReinforceConfig {
                sigma,
                ..WeightReinforceConfig::default()
            };
            let mut line = Line::quartic(1);
            let truth = line.gradient();
            spread(config, &mut line, 40_000).bias(&truth)
        };
        let ratio = error(1.0) / error(0.5);
        assert!((3.3..4.8).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_baseline_near_the_loss_lowers_the_variance() {
        let error = |baseline| {
            let config = WeightReinforceConfig {
                baseline,
                ..WeightReinforceConfig::default()
            };
            spread(config, &mut Line::squared(1), 2_000).squared_error()
        };
        let (none, running) = (
            error(Baseline::Fixed(0.0)),
            error(Baseline::RunningMean(0.9)),
        );
        assert!(running < 0.5 * none, "{running:e} {none:e}");
    }

    #[test]
    fn sigma_is_learned_between_its_floor_and_its_ceiling() {
        let config = WeightReinforceConfig {
            learned_sigma: Some(LearnedSigma {
                rate: 0.05,
                floor: 0.03,
                ceiling: 0.3,
            }),
            learning_rate: LearningRate::constant(1e-9),
            ..WeightReinforceConfig::default()
        };
        // At the optimum every deviation costs, so σ falls to its floor.
        let mut line = Line::squared(1);
        line.set_weights(line.optimum());
        let mut method = WeightReinforce::new(config);
        for _ in 0..20_000 {
            let (student, batch, mut probe) = line.parts();
            method.round(student, &batch, &mut probe).unwrap();
        }
        for log_sigma in &method.log_sigma {
            let sigma = log_sigma.exp();
            assert!((0.03 - 1e-9..0.06).contains(&sigma), "{sigma}");
        }
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let refused = |config: WeightReinforceConfig| config.check().unwrap_err().field;
        for sigma in [0.0, -1.0, f64::NAN] {
            let config = WeightReinforceConfig {
                sigma,
                ..WeightReinforceConfig::default()
            };
            assert_eq!(refused(config), "weight_reinforce.sigma");
        }
        let config = WeightReinforceConfig {
            baseline: Baseline::RunningMean(1.0),
            ..WeightReinforceConfig::default()
        };
        assert_eq!(refused(config), "weight_reinforce.baseline.running_mean");
        let config = WeightReinforceConfig {
            learned_sigma: Some(LearnedSigma {
                rate: 0.1,
                floor: 0.2,
                ceiling: 0.3,
            }),
            ..WeightReinforceConfig::default()
        };
        assert_eq!(refused(config), "weight_reinforce.learned_sigma.floor");
    }
}
