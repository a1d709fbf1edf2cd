//! Gradients of every routing against those derived by hand.

use super::*;
use crate::testing::Harness;
use crate::{Dataset, LearningRate, SquaredError, bridge};
use burn::optim::SgdConfig;
use burn::prelude::*;
use graybox_model::{HeadConfig, MlpConfig, MlpPolicy};
use graybox_oracle::{Dims, FnOracle, Rows};

/// One context, one action, one outcome, everything linear: u = w x + b, F̃ = a x + c u + d, F = 2u + x.
/// One step of plain gradient descent, so that the parameters move by `−gradient`.
struct Linear {
    problem: Problem,
    student: Student<MlpPolicy>,
    joint: Joint<Ensemble<MlpSurrogate>>,
    harness: Harness,
}

const X: [f64; 2] = [0.5, -1.5];
const TARGET: [f64; 2] = [0.25, 1.0];

fn linear(config: JointConfig) -> Linear {
    let x = Rows::from_vec(1, X.to_vec()).unwrap();
    let target = Rows::from_vec(1, TARGET.to_vec()).unwrap();
    let data = Dataset::new(x, target).unwrap();
    let problem = Problem::new(data, HeadConfig::identity(1), &Device::flex()).unwrap();
    let problem = problem
        .with_objective(SquaredError::scaled(&[1.0]).unwrap())
        .with_outcome(graybox_model::Affine::identity(1));
    let mut policy = problem.policy(&MlpConfig::new([]));
    policy.context = graybox_model::Affine::identity(1);
    let mut surrogate = problem.surrogate(&MlpConfig::new([]));
    surrogate.context = graybox_model::Affine::identity(1);
    let mut rng = seed::stream(5, "test", 0);
    let members = vec![surrogate.init(&mut rng, &Device::flex())];
    let mut joint = Joint::with_surrogate(config, &problem, Ensemble { members });
    joint.optimizer = SgdConfig::new().init();
    joint.config.learning_rate = LearningRate::constant(1.0);
    let policy = policy.init(&mut rng, &Device::flex());
    let sgd = SgdConfig::new().init();
    Linear {
        student: Student::with_optimizer(policy, sgd, LearningRate::constant(1.0)),
        harness: Harness::new(
            problem.clone(),
            FnOracle::new(Dims::new(1, 1, 1), |x, u| [2.0 * u[0] + x[0]]),
            1,
        ),
        problem,
        joint,
    }
}

impl Linear {
    /// [w, b] of the policy and [a, c, d] of the surrogate.
    fn parameters(&self) -> ([f64; 2], [f64; 3]) {
        let read = |layer: &burn::nn::Linear| -> Vec<f64> {
            let weight = bridge::download(layer.weight.val().without_autodiff());
            let bias = layer.bias.as_ref().unwrap().val().without_autodiff();
            let bias = bridge::download(bias.unsqueeze());
            [weight.as_slice(), bias.as_slice()].concat()
        };
        let policy = read(&self.student.policy().body.layers[0]);
        let surrogate = read(&self.joint.surrogate.members[0].body.layers[0]);
        (policy.try_into().unwrap(), surrogate.try_into().unwrap())
    }

    /// Gradients of one round, from how far the parameters moved.
    fn gradients(&mut self) -> ([f64; 2], [f64; 3]) {
        let (policy, surrogate) = self.parameters();
        let batch = self.problem.data().batch(vec![0, 1]);
        let mut probe = self.harness.probe();
        self.joint
            .round(&mut self.student, &batch, &mut probe)
            .unwrap();
        let (moved_policy, moved_surrogate) = self.parameters();
        (
            std::array::from_fn(|i| policy[i] - moved_policy[i]),
            std::array::from_fn(|i| surrogate[i] - moved_surrogate[i]),
        )
    }
}

/// The networks compute in `f32`, whose last digit is 6e-8 of a few units here.
fn assert_close(found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 3e-6 * (1.0 + expected.abs()),
            "{found} {expected}"
        );
    }
}

/// Sums over the two rows `Σ ½ · f(x, u, F̃, F, Y)`.
fn mean<const N: usize>(
    ([w, b], [a, c, d]): ([f64; 2], [f64; 3]),
    f: impl Fn(f64, f64, f64, f64, f64) -> [f64; N],
) -> [f64; N] {
    let mut sum = [0.0; N];
    for (x, target) in X.into_iter().zip(TARGET) {
        let u = w * x + b;
        let part = f(x, u, a * x + c * u + d, 2.0 * u + x, target);
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += 0.5 * part;
        }
    }
    sum
}

const LAMBDA: f64 = 0.7;

#[test]
fn literal_gradients_are_those_of_the_formula_as_it_stands() {
    let mut linear = linear(JointConfig {
        lambda: LAMBDA,
        ..JointConfig::new(Routing::Literal)
    });
    let at = linear.parameters();
    let c = at.1[1];
    let residual = |v: f64, f: f64, target: f64| 2.0 * ((v - target) + LAMBDA * (v - f));
    let policy = mean(at, |x, _, v, f, target| {
        let through = residual(v, f, target) * c;
        [through * x, through]
    });
    let surrogate = mean(at, |x, u, v, f, target| {
        let residual = residual(v, f, target);
        [residual * x, residual * u, residual]
    });
    let found = linear.gradients();
    assert_close(&found.0, &policy);
    assert_close(&found.1, &surrogate);
}

/// One update a round, with nothing in it that these gradients leave out.
fn plain(routing: Routing) -> JointConfig {
    JointConfig {
        lambda: LAMBDA,
        exploration: 0.0,
        patient: false,
        value_correction: false,
        updates: 1,
        ..JointConfig::new(routing)
    }
}

/// Whether both networks take the gradients that are theirs if the surrogate's residual at its prediction `v`,
/// outcome `f` and target is this, and the policy follows the surrogate as it is after its own step.
fn check_routed(routing: Routing, residual: impl Fn(f64, f64, f64) -> f64) {
    let mut linear = linear(plain(routing));
    let at = linear.parameters();
    let surrogate = mean(at, |x, u, v, f, target| {
        let residual = residual(v, f, target);
        [residual * x, residual * u, residual]
    });
    let after: [f64; 3] = std::array::from_fn(|i| at.1[i] - surrogate[i]);
    let policy = mean((at.0, after), |x, _, v, _, target| {
        let through = 2.0 * (v - target) * after[1];
        [through * x, through]
    });
    let found = linear.gradients();
    assert_close(&found.1, &surrogate);
    assert_close(&found.0, &policy);
}

#[test]
fn split_trains_the_policy_on_the_fit_and_the_surrogate_on_the_mismatch() {
    check_routed(Routing::Split, |v, f, _| 2.0 * LAMBDA * (v - f));
}

#[test]
fn biased_lets_the_surrogate_lean_towards_the_target() {
    check_routed(Routing::Biased, |v, f, target| {
        2.0 * ((v - target) + LAMBDA * (v - f))
    });
}

#[test]
fn value_correction_takes_the_residual_from_the_oracle() {
    let mut linear = linear(JointConfig {
        value_correction: true,
        ..plain(Routing::Split)
    });
    let at = linear.parameters();
    let found = linear.gradients();
    let after: [f64; 3] = std::array::from_fn(|i| at.1[i] - found.1[i]);
    let policy = mean(at, |x, _, _, f, target| {
        let through = 2.0 * (f - target) * after[1];
        [through * x, through]
    });
    assert_close(&found.0, &policy);
}

#[test]
fn settings_outside_their_meaning_are_refused_by_name() {
    let refused = |config: JointConfig| config.check().unwrap_err().field;
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let config = JointConfig {
            lambda,
            ..JointConfig::default()
        };
        assert_eq!(refused(config), "joint.lambda");
    }
    let config = JointConfig {
        exploration: -0.1,
        ..JointConfig::default()
    };
    assert_eq!(refused(config), "joint.exploration");
    let config = JointConfig {
        routing: Routing::Literal,
        ..JointConfig::default()
    };
    assert_eq!(refused(config), "joint.updates");
}
