//! Checks and tiny problems for tests, here and in crates that add an objective or an algorithm.

use burn::optim::SgdConfig;
use burn::prelude::*;
use graybox_model::{Affine, FlatLayout, HeadConfig, MlpConfig, MlpPolicy, Term};
use graybox_oracle::{Budget, Dims, FnOracle, Metered, Oracle, Rows};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{
    Batch, Calls, Dataset, LearningRate, Objective, OptimizerKind, Probe, Problem, SquaredError,
    Stop, Student, bridge, seed,
};

/// Everything a [`Probe`] borrows, for calling an algorithm's round without a trainer.
pub struct Harness {
    /// The oracle with its meter.
    pub metered: Metered,
    problem: Problem,
    calls: Calls,
    rng: StdRng,
    stop: Stop,
}

impl Harness {
    /// Asks this oracle, with plenty of calls.
    pub fn new(problem: Problem, oracle: impl Oracle + 'static, seed: u64) -> Self {
        let budget = Budget::new(u64::MAX).expect("not zero");
        Self {
            metered: Metered::new(oracle, budget),
            problem,
            calls: Calls::default(),
            rng: seed::stream(seed, "harness", 0),
            stop: Stop::new(),
        }
    }

    /// The flag that asks an algorithm to stop.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// What an algorithm is given in a round.
    pub fn probe(&mut self) -> Probe<'_> {
        Probe::new(
            &mut self.metered,
            &mut self.calls,
            &self.problem,
            &mut self.rng,
            &self.stop,
        )
    }
}

/// The smallest problem of all: a policy u = w x + b, an oracle that answers u, two rows.
///
/// The loss in (w, b) is known in closed form, and with the squared error its average over Gaussian weights
/// differs from it by a constant.
pub struct Line {
    harness: Harness,
    problem: Problem,
    student: Student<MlpPolicy>,
    /// The loss of a row is |u − Y| to this power.
    power: i32,
}

const LINE_X: [f64; 2] = [0.5, -1.5];
const LINE_TARGET: [f64; 2] = [0.25, 1.0];

#[derive(Debug)]
struct Quartic;

impl Objective for Quartic {
    fn rows(&self, y: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
        (y - target).powi_scalar(4).sum_dim(1).squeeze_dim(1)
    }

    fn value(&self, y: &[f64], target: &[f64]) -> f64 {
        y.iter().zip(target).map(|(y, t)| (y - t).powi(4)).sum()
    }

    fn gradient(&self, y: &[f64], target: &[f64]) -> Vec<f64> {
        (y.iter().zip(target))
            .map(|(y, t)| 4.0 * (y - t).powi(3))
            .collect()
    }
}

impl Line {
    /// With the squared error.
    pub fn squared(seed: u64) -> Self {
        Self::new(seed, 2)
    }

    /// With the fourth power of the error.
    pub fn quartic(seed: u64) -> Self {
        Self::new(seed, 4)
    }

    fn new(seed: u64, power: i32) -> Self {
        let rows = |values: &[f64]| Rows::from_vec(1, values.to_vec()).expect("rows of one value");
        let data = Dataset::new(rows(&LINE_X), rows(&LINE_TARGET)).expect("finite rows");
        let problem = Problem::new(data, HeadConfig::identity(1), &Device::default());
        let problem = problem.expect("unbounded actions");
        let problem = if power == 2 {
            problem.with_objective(SquaredError::scaled(&[1.0]).expect("a positive scale"))
        } else {
            problem.with_objective(Quartic)
        };
        let mut policy = problem.policy(&MlpConfig::new([]));
        policy.context = Affine::identity(1);
        let policy = policy.init(&mut seed::stream(3, "line", 0), problem.device());
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
        Self {
            harness: Harness::new(problem.clone(), oracle, seed),
            student: Student::new(
                policy,
                OptimizerKind::default(),
                LearningRate::constant(1e-3),
            ),
            problem,
            power,
        }
    }

    /// Trains by plain gradient descent at rate one: weights move by the negative gradient.
    #[must_use]
    pub fn with_plain_descent(mut self) -> Self {
        let (policy, rate) = (self.student.snapshot(), LearningRate::constant(1.0));
        self.student = Student::with_optimizer(policy, SgdConfig::new().init(), rate);
        self
    }

    /// What is to be solved.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What a round is given: the policy, both rows, and a probe.
    pub fn parts(&mut self) -> (&mut Student<MlpPolicy>, Batch, Probe<'_>) {
        let batch = self.problem.data().batch(vec![0, 1]);
        (&mut self.student, batch, self.harness.probe())
    }

    /// (w, b).
    pub fn weights(&self) -> [f64; 2] {
        let policy = self.student.policy();
        let weights = FlatLayout::of(policy).flatten(policy);
        let rows = bridge::download(weights.unsqueeze());
        [rows.row(0)[0], rows.row(0)[1]]
    }

    /// Moves the policy to these (w, b).
    pub fn set_weights(&mut self, weights: [f64; 2]) {
        let layout = FlatLayout::of(self.student.policy());
        let device = self.problem.device();
        let weights = Tensor::<1>::from_floats(weights.map(|w| w as f32), device);
        let policy = layout.unflatten(self.student.snapshot(), weights);
        self.student.set_policy(policy);
    }

    /// The (w, b) of loss zero.
    pub fn optimum(&self) -> [f64; 2] {
        let w = (LINE_TARGET[1] - LINE_TARGET[0]) / (LINE_X[1] - LINE_X[0]);
        [w, LINE_TARGET[0] - w * LINE_X[0]]
    }

    /// The mean loss at (w, b).
    pub fn loss(&self, [w, b]: [f64; 2]) -> f64 {
        let rows = LINE_X.into_iter().zip(LINE_TARGET);
        let losses = rows.map(|(x, target)| (w * x + b - target).powi(self.power));
        losses.sum::<f64>() / 2.0
    }

    /// The gradient of the mean loss at the policy's (w, b).
    pub fn gradient(&self) -> [f64; 2] {
        let [w, b] = self.weights();
        let mut gradient = [0.0; 2];
        for (x, target) in LINE_X.into_iter().zip(LINE_TARGET) {
            let slope = f64::from(self.power) * (w * x + b - target).powi(self.power - 1) / 2.0;
            gradient[0] += slope * x;
            gradient[1] += slope;
        }
        gradient
    }
}

/// Mean and standard error of a vector that is estimated many times.
#[derive(Debug, Clone)]
pub struct Spread {
    n: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Spread {
    /// No estimates yet of a vector this long.
    pub fn new(width: usize) -> Self {
        Self {
            n: 0.0,
            sum: vec![0.0; width],
            squares: vec![0.0; width],
        }
    }

    /// Adds an estimate.
    pub fn add(&mut self, estimate: &[f64]) {
        self.n += 1.0;
        for ((sum, square), value) in self.sum.iter_mut().zip(&mut self.squares).zip(estimate) {
            *sum += value;
            *square += value * value;
        }
    }

    /// Of every component.
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|sum| sum / self.n).collect()
    }

    /// Of every component's mean.
    pub fn standard_error(&self) -> Vec<f64> {
        let parts = self.squares.iter().zip(&self.sum);
        let variance = parts.map(|(square, sum)| square / self.n - (sum / self.n).powi(2));
        variance.map(|v| (v.max(0.0) / self.n).sqrt()).collect()
    }

    /// The mean's squared standard errors, summed over components.
    pub fn squared_error(&self) -> f64 {
        self.standard_error().iter().map(|e| e * e).sum()
    }

    /// How far the mean is from the truth.
    pub fn bias(&self, truth: &[f64]) -> f64 {
        let off = self.mean().into_iter().zip(truth);
        off.map(|(m, g)| (m - g).powi(2)).sum::<f64>().sqrt()
    }

    /// Checks that every component of the mean lies within 4.5 standard errors of the truth, and that the
    /// standard errors are at most a twentieth of the truth's length, so that the check could have failed.
    ///
    /// # Panics
    /// If it does not, or could not.
    pub fn assert_unbiased(&self, truth: &[f64]) {
        let length = truth.iter().map(|g| g * g).sum::<f64>().sqrt();
        let parts = self.mean().into_iter().zip(self.standard_error());
        for (idx, ((mean, error), truth)) in parts.zip(truth).enumerate() {
            assert!(
                error <= 0.05 * length,
                "component {idx}: a standard error of {error:.2e} cannot tell, the truth is {length:.2e} long"
            );
            let z = (mean - truth) / error.max(f64::MIN_POSITIVE);
            assert!(
                z.abs() <= 4.5,
                "component {idx}: {mean:.4e} for {truth:.4e}, {z:.1} standard errors"
            );
        }
    }
}

/// Checks that an objective's two sides agree: value and gradient on the host against those burn computes,
/// and the host's gradient against central differences of its value.
///
/// # Panics
/// If they do not.
pub fn check_objective(objective: &dyn Objective, d_y: usize) {
    let mut rng = seed::stream(1, "check objective", 0);
    let mut draw = || {
        let values = (0..4 * d_y).map(|_| rng.random_range(-2.0..2.0)).collect();
        Rows::from_vec(d_y, values).expect("whole rows")
    };
    let (y, target) = (draw(), draw());
    let device = Device::default();
    let leaf = Tensor::from_inner(bridge::upload(&y, &device)).require_grad();
    let rows = objective.rows(leaf.clone(), bridge::upload(&target, &device));
    let values = bridge::download(rows.clone().without_autodiff().unsqueeze_dim(1));
    let mut gradients = rows.sum().backward();
    let gradients = leaf
        .grad_remove(&mut gradients)
        .expect("a leaf of the loss");
    let gradients = bridge::download(gradients);

    let weights = [0.5, 0.0, 2.0, 1.0];
    let term = Term {
        target: bridge::upload(&target, &device),
        weight: Tensor::from_floats(weights, &device),
    };
    let total = objective.total(leaf.clone(), &[term]);
    let total_value: f64 = bridge::read([total.clone().without_autodiff()])[0];
    let mut of_total = total.backward();
    let of_total = leaf.grad_remove(&mut of_total).expect("a leaf of the loss");
    let of_total = bridge::download(of_total);
    let mut expected_total = 0.0;

    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * (1.0 + a.abs().max(b.abs()));
    for (row_idx, weight) in weights.into_iter().enumerate() {
        let (y, target) = (y.row(row_idx), target.row(row_idx));
        let value = objective.value(y, target);
        assert!(
            close(value, values.row(row_idx)[0]),
            "value of row {row_idx}"
        );
        expected_total += weight * value;
        let gradient = objective.gradient(y, target);
        for dim in 0..d_y {
            assert!(
                close(gradient[dim], gradients.row(row_idx)[dim]),
                "gradient of row {row_idx}, outcome {dim}"
            );
            assert!(
                close(weight * gradient[dim], of_total.row(row_idx)[dim]),
                "gradient of the total, row {row_idx}, outcome {dim}"
            );
            let moved = |h: f64| {
                let mut y = y.to_vec();
                y[dim] += h;
                objective.value(&y, target)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                close(gradient[dim], difference),
                "difference of row {row_idx}, outcome {dim}"
            );
        }
    }
    assert!(
        close(total_value, expected_total),
        "the total is the weighted sum over rows"
    );
}
