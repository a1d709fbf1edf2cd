//! Where the oracle answers at all.
//!
//! A failed call says nothing of the outcome, but it says where not to go. A small network learns the odds of an
//! answer from every call, answered or not, and actions whose call fails more often than once in five are pulled back
//! to where it does not. Everywhere else the pull is exactly zero: an optimum beyond the edge is approached up to the
//! edge, one within it stays where it is, and the odd call that fails anywhere moves no policy.
//!
//! Approximates  max(0, log 4 − z)²,  z = log P(answer | x, u) − log P(failure | x, u)
//! With          z a network fitted by logistic regression to all calls
//! Requires      failures that have to do with (x, u), and some answers
//! Source        Gelbart, Snoek & Adams, Bayesian optimization with unknown constraints, UAI 2014, for learning the
//!               constraint from failures; the penalty is the usual quadratic one (Nocedal & Wright, section 17.1)

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation;
use graybox_model::{Affine, MlpConfig, MlpSurrogate, MlpSurrogateConfig, Surrogate};

use crate::snapshot::Snapshot;
use crate::{Problem, Replayed, SnapshotError, Soap, seed};

/// Hidden units: regions are simpler than outcomes.
const HIDDEN: [usize; 2] = [32, 32];
/// Log-odds of an answer that are good enough: an action at the edge is wanted on its inner side.
const GOOD: f64 = 1.386;
/// Weight decay, without which single failures among many answers would be learned by heart.
const DECAY: f64 = 0.1;

/// Learns the log-odds of an answer.
#[derive(Clone)]
pub struct Feasibility {
    log_odds: MlpSurrogate,
    optimizer: ModuleOptimizer,
}

impl Feasibility {
    /// Knows nothing yet. Its weights follow from the problem's seed.
    pub fn new(problem: &Problem) -> Self {
        let network = MlpSurrogateConfig {
            outcome: Affine::identity(1),
            ..problem.surrogate(&MlpConfig::new(HIDDEN))
        };
        let mut rng = seed::stream(problem.seed(), "feasibility", 0);
        Self {
            log_odds: network.init(&mut rng, problem.device()).train(),
            optimizer: Soap { decay: DECAY }.into(),
        }
    }

    /// One step on the cross-entropy of these calls.
    pub fn fit(&mut self, rows: &Replayed, rate: f64) {
        let (z, to_weights) = self.log_odds.linked(rows.x.clone(), rows.u.clone());
        let answered = rows.answered.clone().unsqueeze_dim(1);
        let n = z.dims()[0] as f64;
        let mut gradients = GradientsParams::new();
        to_weights((activation::sigmoid(z) - answered) / n, &mut gradients);
        let network = self.log_odds.clone();
        self.log_odds = self.optimizer.step(rate, network, gradients);
    }

    /// The log-odds as they are now, for [`penalty_gradient`].
    pub fn log_odds(&self) -> MlpSurrogate {
        self.log_odds.valid()
    }

    pub(crate) fn save(&self, name: &str, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_module(&format!("{name}.log_odds"), &self.log_odds)?;
        snapshot.put_optimizer(&format!("{name}.optimizer"), &self.optimizer)
    }

    /// None where none was saved.
    pub(crate) fn load(
        name: &str,
        snapshot: &Snapshot,
        problem: &Problem,
    ) -> Result<Option<Self>, SnapshotError> {
        let fresh = Self::new(problem);
        let log_odds = match snapshot.get_module(&format!("{name}.log_odds"), fresh.log_odds) {
            Err(SnapshotError::Missing(_)) => return Ok(None),
            log_odds => log_odds?,
        };
        let optimizer = format!("{name}.optimizer");
        let optimizer = snapshot.get_optimizer(&optimizer, fresh.optimizer)?;
        Ok(Some(Self {
            log_odds,
            optimizer,
        }))
    }
}

/// The gradient with respect to the actions of `max(0, log 4 − z)²`, z the log-odds of an answer: zero where at most
/// one call in five fails.
///
/// # Shapes
/// `[n, d_x]`, `[n, d_u]` → `[n, d_u]`
pub fn penalty_gradient(log_odds: &MlpSurrogate, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
    let (z, to_action) = log_odds.linked_to_action(x, u);
    to_action(activation::relu(z.neg() + GOOD) * -2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, bridge};
    use graybox_model::HeadConfig;
    use graybox_oracle::Rows;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// Contexts on [−1, 1], actions on [−2, 2].
    fn problem() -> Problem {
        let x: Vec<f64> = (0..=20).map(|k| f64::from(k) / 10.0 - 1.0).collect();
        let x = Rows::from_vec(1, x).unwrap();
        let data = Dataset::new(x.clone(), x).unwrap();
        let actions = HeadConfig::bounded(vec![-2.0], vec![2.0]).unwrap();
        Problem::new(data, actions, &Device::flex()).unwrap()
    }

    fn column(values: &[f64]) -> Tensor<2> {
        let rows = Rows::from_vec(1, values.to_vec()).unwrap();
        bridge::upload(&rows, &Device::flex())
    }

    /// Learned from `n` calls all over, of which `answers(rng, x, u)` says whether they were answered; with the
    /// contexts, the actions and the answers.
    fn learned(
        n: usize,
        steps: usize,
        answers: impl Fn(&mut StdRng, f64, f64) -> bool,
    ) -> (MlpSurrogate, [Vec<f64>; 3]) {
        let mut rng = StdRng::seed_from_u64(5);
        let mut calls = [const { Vec::new() }; 3];
        for _ in 0..n {
            let (x, u) = (rng.random_range(-1.0..1.0), rng.random_range(-2.0..2.0));
            let answered = f64::from(u8::from(answers(&mut rng, x, u)));
            for (column, value) in calls.iter_mut().zip([x, u, answered]) {
                column.push(value);
            }
        }
        let mut feasibility = Feasibility::new(&problem());
        for step in 0..steps {
            let drawn: Vec<usize> = (0..64).map(|_| rng.random_range(0..n)).collect();
            let [x, u, answered] = &calls;
            let part = |of: &[f64]| column(&drawn.iter().map(|i| of[*i]).collect::<Vec<_>>());
            let rows = Replayed {
                x: part(x),
                u: part(u),
                y: part(u),
                target: part(x),
                answered: part(answered).squeeze_dim(1),
            };
            let rate = 3e-3 * (1.0 - 0.9 * step as f64 / steps as f64);
            feasibility.fit(&rows, rate);
        }
        (feasibility.log_odds(), calls)
    }

    fn pulls(log_odds: &MlpSurrogate, x: &[f64], u: &[f64]) -> Vec<f64> {
        let pull = penalty_gradient(log_odds, column(x), column(u));
        bridge::download(pull).as_slice().to_vec()
    }

    #[test]
    fn actions_are_pulled_towards_the_nearest_answers_and_left_alone_among_them() {
        let edge = 0.7;
        let (log_odds, _) = learned(1_000, 3_000, |_, x, u| (u - x).abs() < edge);
        for x in [-0.8, -0.3, 0.2, 0.8] {
            for from_edge in [-0.5, -0.3] {
                let u: [f64; 2] = [x - edge - from_edge, x + edge + from_edge];
                assert_eq!(pulls(&log_odds, &[x, x], &u), [0.0; 2], "{x} {u:?}");
            }
            for from_edge in [0.1, 0.4] {
                let u = [x - edge - from_edge, x + edge + from_edge];
                let pulls = pulls(&log_odds, &[x, x], &u);
                let [below, above] = [pulls[0], pulls[1]];
                assert!(below < 0.0 && above > 0.0, "{x} {u:?}: {below} {above}");
            }
        }
    }

    #[test]
    fn failures_at_random_pull_at_no_action() {
        let (log_odds, [x, u, answered]) = learned(1_000, 5_000, |rng, _, _| rng.random_bool(0.95));
        let failed = answered.iter().filter(|answered| **answered == 0.0).count();
        let pulled = pulls(&log_odds, &x, &u);
        let pulled = pulled.iter().filter(|pull| **pull != 0.0).count();
        assert!(
            failed > 30 && pulled == 0,
            "{failed} failed, {pulled} pulled"
        );
    }
}
