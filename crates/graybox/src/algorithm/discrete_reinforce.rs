//! REINFORCE for a policy that chooses one of a number of fixed actions.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u drawn from softmax of the policy's logits
//! With          (ℓ − b) ∇ log p(u | x), b the mean loss of the row's other draws
//! Requires      nothing of F; a [`DiscretePolicy`]
//! Oracle rows   k n per step, k draws per row
//! Failed rows   a failed draw counts as absent
//! Source        as [`Reinforce`](super::Reinforce)

use graybox_model::{DiscretePolicy, categorical_log_prob};
use graybox_oracle::Rows;
use rand::RngExt;

use super::{Algorithm, Facts, baseline, reinforce, rows};
use crate::error::at_least_one;
use crate::snapshot::Snapshot;
use crate::{Batch, ConfigError, Probe, RoundReport, SnapshotError, StepError, Student, bridge};

/// Trains a policy over fixed actions on the losses of actions drawn from it.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::prelude::*;
/// use graybox::algorithm::{DiscreteReinforce, PolicyFactory};
/// use graybox::model::{Affine, CategoricalPolicyConfig, HeadConfig, MlpConfig};
/// use graybox::oracle::{Dims, FnOracle, Rows};
/// use graybox::{Dataset, LearningRate, Problem, Silent, TrainConfig, Trainer};
///
/// // Three valves, of which the middle one is right where x is small and the last where it is large.
/// let x = Rows::from_vec(1, vec![0.1, 0.2, 0.8, 0.9])?;
/// let data = Dataset::new(x, Rows::from_vec(1, vec![1.0, 1.0, 2.0, 2.0])?)?;
/// let problem = Problem::new(data.clone(), HeadConfig::identity(1), &Device::flex())?;
/// let policy = CategoricalPolicyConfig {
///     body: MlpConfig::new([8]),
///     context: Affine::new(vec![0.5], vec![0.4])?,
///     choices: vec![vec![0.0], vec![1.0], vec![2.0]],
/// };
/// let new_policy: PolicyFactory<_> = Arc::new(move |rng| policy.init(rng, &Device::flex()));
/// let config = TrainConfig {
///     calls: 4_000,
///     batch: Some(4),
///     learning_rate: Some(LearningRate { initial: 0.03, floor: 0.0 }),
///     ..TrainConfig::default()
/// };
/// let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
/// let algorithm = Box::new(DiscreteReinforce::new(4)?);
/// let trainer = Trainer::with_algorithm(config, problem, oracle, &new_policy, algorithm)?;
/// let run = trainer.with_held_out(data).run(&mut Silent)?;
/// assert_eq!(run.true_loss_after, Some(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DiscreteReinforce {
    draws: usize,
}

impl DiscreteReinforce {
    /// Draws this many actions per row. With one, the baseline is the mean of the other rows.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(draws: usize) -> Result<Self, ConfigError> {
        at_least_one("discrete_reinforce.draws", draws)?;
        Ok(Self { draws })
    }
}

/// An index drawn with probabilities softmax(logits).
fn draw(logits: &[f64], rng: &mut impl rand::Rng) -> usize {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    let mut left = rng.random::<f64>() * total;
    for (choice, logit) in logits.iter().enumerate() {
        left -= (logit - most).exp();
        if left < 0.0 {
            return choice;
        }
    }
    // Rounding alone leads here.
    logits.len() - 1
}

impl<P: DiscretePolicy> Algorithm<P> for DiscreteReinforce {
    fn facts(&self) -> Facts {
        Facts {
            name: "discrete_reinforce",
            calls_per_row: self.draws as u64,
            estimates: "the gradient of the loss averaged over the policy's choices",
            bias: "none; the variance grows with the spread of the losses",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        (n * self.draws) as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let progress = probe.progress();
        let policy = student.snapshot();
        let choices = bridge::download(policy.choices());
        let logits = probe.download_actions(batch, policy.logits(batch.x.clone()))?;
        let mut drawn = Vec::with_capacity(batch.len() * self.draws);
        for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
            drawn.extend((0..self.draws).map(|_| draw(logits.row(row_idx), &mut rng)));
        }
        let u: Rows = choices.select(&drawn);
        let losses = reinforce::losses(batch, self.draws, &u, probe)?;
        let loss = baseline::mean_loss(&losses);
        if loss.is_some() {
            // One draw of one row has nothing to be compared with, and counts as it is.
            let weights =
                reinforce::upload_weights(&baseline::leave_one_out(&losses, 1, 0.0), probe);
            let logits = student.policy().logits(batch.x.clone());
            let logits = reinforce::repeat_rows(logits, self.draws);
            let log_prob = categorical_log_prob(logits, probe.upload_index(&drawn));
            student.step((log_prob * weights).sum(), progress);
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
    use crate::testing::{Harness, Spread};
    use crate::{Dataset, LearningRate, Problem, SquaredError, seed};
    use burn::optim::SgdConfig;
    use burn::prelude::*;
    use graybox_model::{
        Affine, CategoricalPolicy, CategoricalPolicyConfig, FlatLayout, HeadConfig, MlpConfig,
    };
    use graybox_oracle::{Dims, FnOracle};

    #[test]
    fn draws_have_the_probabilities_of_the_logits() {
        let mut rng = seed::stream(1, "draws", 0);
        let logits = [0.0, 2f64.ln(), 5f64.ln()];
        let mut counts = [0u32; 3];
        for _ in 0..80_000 {
            counts[draw(&logits, &mut rng)] += 1;
        }
        for (count, share) in counts.into_iter().zip([0.125, 0.25, 0.625]) {
            let error = (share * (1.0 - share) / 80_000f64).sqrt();
            let off = f64::from(count) / 80_000.0 - share;
            assert!(off.abs() < 4.5 * error, "{off}");
        }
    }

    /// A policy of bias and slope alone over three choices, x = 1, target 0, so that ∂E[ℓ]/∂logit_k is
    /// p_k (ℓ_k − E[ℓ]) for weight and bias alike.
    #[test]
    fn the_estimate_is_unbiased_within_its_own_error() {
        let one = |value: f64| Rows::from_vec(1, vec![value]).unwrap();
        let data = Dataset::new(one(1.0), one(0.0)).unwrap();
        let problem = Problem::new(data, HeadConfig::identity(1), &Device::flex()).unwrap();
        let problem = problem.with_objective(SquaredError::scaled(&[1.0]).unwrap());
        let choices = [0.5, 1.0, 2.0];
        let config = CategoricalPolicyConfig {
            body: MlpConfig::new([]),
            context: Affine::identity(1),
            choices: choices.map(|u| vec![u]).to_vec(),
        };
        let policy = config.init(&mut seed::stream(2, "test", 0), &Device::flex());
        let logits = bridge::download(policy.logits(Tensor::ones([1, 1], &Device::flex())));
        let p: Vec<f64> = logits.row(0).iter().map(|l| l.exp()).collect();
        let total: f64 = p.iter().sum();
        let mean: f64 = (0..3).map(|k| p[k] / total * choices[k].powi(2)).sum();
        let truth: Vec<f64> = (0..6)
            .map(|i| p[i % 3] / total * (choices[i % 3].powi(2) - mean))
            .collect();

        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
        let mut harness = Harness::new(problem.clone(), oracle, 1);
        let mut method = DiscreteReinforce::new(3).unwrap();
        let batch = problem.data().batch(vec![0]);
        let descent = SgdConfig::new().init();
        let weights = |student: &Student<CategoricalPolicy>| {
            let policy = student.policy();
            bridge::download(FlatLayout::of(policy).flatten(policy).unsqueeze())
        };
        let mut spread = Spread::new(6);
        for _ in 0..8_000 {
            let rate = LearningRate::constant(1.0);
            let mut student = Student::with_optimizer(policy.clone(), descent.clone(), rate);
            let before = weights(&student);
            method
                .round(&mut student, &batch, &mut harness.probe())
                .unwrap();
            let after = weights(&student);
            let moved = before.row(0).iter().zip(after.row(0)).map(|(b, a)| b - a);
            spread.add(&moved.collect::<Vec<_>>());
        }
        spread.assert_unbiased(&truth);
    }

    #[test]
    fn no_draws_are_refused_by_name() {
        let error = DiscreteReinforce::new(0).unwrap_err();
        assert_eq!(error.field, "discrete_reinforce.draws");
    }
}
