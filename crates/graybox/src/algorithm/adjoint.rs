//! The gradient that the oracle gives itself.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          `sᵀ ∂F/∂u` from the oracle, `s = ∂ℓ/∂y` at the outcome it has just given
//! Requires      an oracle that is no black box and whose user allows its derivative to be used: a UM-Bridge model that
//!               offers `Gradient` or `ApplyJacobian`, with `gradient` in its settings
//! Oracle rows   2 n per step: an outcome and a pulled-back gradient for each row
//! Failed rows   leave the batch, whichever of the two failed
//! Source        the chain rule; adjoints of models on clusters: Seelinger et al., JOSS 8(83), 2023
//!
//! It stands outside the registry, where every method takes its oracle for a black box: give it to
//! [`Trainer::with_algorithm`](crate::Trainer::with_algorithm).

use graybox_model::Policy;
use graybox_oracle::Rows;

use super::rows::{self, RowGradient};
use super::{Algorithm, Facts};
use crate::{Batch, Probe, RoundReport, Snapshot, SnapshotError, StepError, Student};

/// Trains a policy on the oracle's own gradient, every call used once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adjoint;

impl<P: Policy> Algorithm<P> for Adjoint {
    fn facts(&self) -> Facts {
        Facts {
            name: "adjoint",
            calls_per_row: 2,
            estimates: "the gradient of the true loss, with the oracle's own derivative",
            bias: "none, if the oracle's derivative is right",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        2 * n as u64
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let progress = probe.progress();
        let measured = probe.ask(batch, student.act(batch.x.clone()))?;
        let mut sensitivities = Rows::new(batch.target_rows.width());
        let mut answered = Vec::with_capacity(batch.len());
        let mut said = vec![None; batch.len()];
        for (row_idx, outcome) in measured.outcomes.iter().enumerate() {
            if let Ok(y) = outcome {
                let target = batch.target_rows.row(row_idx);
                sensitivities.push(&probe.objective().gradient(y, target))?;
                answered.push((row_idx, probe.objective().value(y, target)));
            }
        }
        let index: Vec<usize> = answered.iter().map(|(row_idx, _)| *row_idx).collect();
        let x = batch.x_rows.select(&index);
        let u = measured.u_rows.select(&index);
        let pulled = probe.pull_back_rows(&x, &u, &sensitivities)?;
        for ((row_idx, loss), pulled) in answered.into_iter().zip(pulled) {
            said[row_idx] = pulled.ok().map(|dloss_du| RowGradient { loss, dloss_du });
        }
        let (dloss_du, loss) = rows::mean(&said, measured.u_rows.width())?;
        if loss.is_some() {
            student.follow(batch.x.clone(), probe.upload(&dloss_du), progress);
        }
        Ok(RoundReport::new(measured.loss))
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
    use std::sync::Arc;

    use burn::prelude::*;
    use graybox_model::{HeadConfig, MlpConfig, MlpPolicy};
    use graybox_oracle::{Dims, FnOracle, Oracle, Outcome, Queries, RowError};

    use super::*;
    use crate::algorithm::PolicyFactory;
    use crate::{Dataset, Problem, RunReport, Silent, TrainConfig, TrainError, Trainer};

    /// `2u + u³`, which knows its derivative, except at contexts above 0.9.
    struct Cubic;

    impl Oracle for Cubic {
        fn dims(&self) -> Dims {
            Dims::new(1, 1, 1)
        }

        fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
            let cubic = |(_, u): (&[f64], &[f64])| Ok(vec![2.0 * u[0] + u[0].powi(3)]);
            queries.iter().map(cubic).collect()
        }

        fn pull_back(&self, queries: Queries<'_>, sensitivities: &Rows) -> Option<Vec<Outcome>> {
            let rows = queries.iter().zip(sensitivities.iter());
            let pull = |((x, u), s): ((&[f64], &[f64]), &[f64])| {
                if x[0] > 0.9 {
                    return Err(RowError::Failed("no adjoint there".into()));
                }
                Ok(vec![s[0] * (2.0 + 3.0 * u[0] * u[0])])
            };
            Some(rows.map(pull).collect())
        }
    }

    fn run(oracle: impl Oracle + 'static, calls: u64) -> Result<RunReport, TrainError> {
        let x: Vec<f64> = (0..40).map(|k| f64::from(k) / 20.0 - 1.0).collect();
        let y = x.iter().map(|x| x.sin()).collect();
        let data = Dataset::new(Rows::from_vec(1, x).unwrap(), Rows::from_vec(1, y).unwrap());
        let (data, device) = (data.unwrap(), Device::flex());
        let problem = Problem::new(data.clone(), HeadConfig::identity(1), &device).unwrap();
        let config = TrainConfig {
            calls,
            batch: Some(8),
            ..TrainConfig::default()
        };
        let policy = problem.policy(&MlpConfig::new([8]));
        let new_policy: PolicyFactory<MlpPolicy> = Arc::new(move |rng| policy.init(rng, &device));
        let mut trainer =
            Trainer::with_algorithm(config, problem, oracle, &new_policy, Box::new(Adjoint))
                .unwrap()
                .with_held_out(data);
        trainer.run(&mut Silent)
    }

    #[test]
    fn it_learns_from_the_oracles_own_gradient_and_both_calls_of_a_row_are_charged() {
        let report = run(Cubic, 4_000).unwrap();
        assert_eq!((report.rounds, report.oracle_calls), (250, 4_000));
        // One of the forty contexts has no gradient.
        assert_eq!(report.failed_calls, 50);
        let [before, after] = [report.true_loss_before, report.true_loss_after];
        assert!(
            after.unwrap() < 0.05 * before.unwrap(),
            "{before:?} {after:?}"
        );
    }

    #[test]
    fn a_black_box_is_refused() {
        let black = FnOracle::new(Dims::new(1, 1, 1), |_, u| [2.0 * u[0]]);
        let error = run(black, 100).unwrap_err().to_string();
        assert!(error.contains("gives no gradient"), "{error}");
    }
}
