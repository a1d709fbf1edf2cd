//! Single rounds, outside a trainer.

use std::sync::Arc;

use graybox_model::{HeadConfig, MlpConfig, MlpPolicy};
use graybox_oracle::{Dims, FnOracle};

use super::super::*;
use super::{edged, parabola, problem, small, thorough};
use crate::OptimizerKind;
use crate::testing::Harness;

/// An algorithm outside a trainer.
struct Bench {
    problem: Problem,
    anchored: Anchored<MlpPolicy, Ensemble<MlpSurrogate>>,
    student: Student<MlpPolicy>,
}

impl Bench {
    fn new(config: AnchoredConfig, problem: Problem) -> Self {
        let policy = problem.policy(&MlpConfig::new([4]));
        let new_policy: PolicyFactory<MlpPolicy> =
            Arc::new(move |rng| policy.init(rng, &Device::flex()));
        let policy = new_policy(&mut seed::stream(1, "policy", 0));
        Self {
            anchored: Anchored::new(config, &problem, &new_policy),
            student: Student::new(policy, OptimizerKind::default(), LearningRate::default()),
            problem,
        }
    }

    fn round(&mut self, number: usize) {
        self.ask(number, FnOracle::new(Dims::new(1, 1, 1), parabola));
    }

    fn ask(&mut self, number: usize, oracle: impl graybox_oracle::Oracle + 'static) {
        let mut harness = Harness::new(self.problem.clone(), oracle, number as u64);
        let rows = (0..16).map(|k| (16 * number + k) % 40).collect();
        let batch = self.problem.data().batch(rows);
        let mut probe = harness.probe();
        let round = self.anchored.round(&mut self.student, &batch, &mut probe);
        round.unwrap();
    }

    /// What the surrogate predicts and the policy does on the training rows.
    fn outputs(&self) -> [Rows; 2] {
        let x = self.problem.data().x().clone();
        let y_hat = self.anchored.surrogate().forward(x.clone(), x.clone());
        [
            bridge::download(y_hat),
            bridge::download(self.student.act(x)),
        ]
    }
}

#[test]
fn a_policy_that_is_stuck_at_a_bound_is_freed_by_what_was_tried_elsewhere() {
    // All small steps from the lower bound are worse; what is wanted lies beyond the top at 0.2, in every context.
    let roof = |_: &[f64], u: &[f64]| {
        let away = u[0] - 0.2;
        [1.0 + if away < 0.0 { 0.4 * away } else { -2.0 * away }]
    };
    let bounded = HeadConfig::bounded(vec![-1.0], vec![1.0]).unwrap();
    let data = problem(|_| 0.0).data().host().clone();
    let problem = Problem::new(data, bounded, &Device::flex()).unwrap();
    let problem = problem.with_outcome(graybox_model::Affine::identity(1));
    let config = AnchoredConfig {
        population: 1,
        constant: 1,
        survey: 1.0,
        surrogate: MlpConfig::new([16, 16]),
        ..thorough()
    };
    let mut bench = Bench::new(config, problem);
    for number in 0..4 {
        bench.ask(number, FnOracle::new(Dims::new(1, 1, 1), roof));
    }
    let oracle = FnOracle::new(Dims::new(1, 1, 1), roof);
    let mut harness = Harness::new(bench.problem.clone(), oracle, 4);
    let mut probe = harness.probe();
    let anchored = &mut bench.anchored;
    anchored.enlist(&bench.student, &mut probe);
    let x = bench.problem.data().x().clone();
    let mut stuck = anchored.new_student(0);
    anchored.teach(&mut stuck, &x, &x.full_like(-1.0), 300, &mut probe);
    anchored.population.members[0].student = stuck;
    let freed = anchored.mended(&mut probe).unwrap();
    let actions = bridge::download(freed.student.act(x.clone()));
    let near = |u: &f64| (u - 0.7).abs() < 0.1;
    assert!(actions.as_slice().iter().all(near), "{actions:?}");
}

/// Four rounds, and two followed by two that begin with a snapshot. What came of the first four.
fn four_rounds<O: graybox_oracle::Oracle + 'static>(
    config: &AnchoredConfig,
    oracle: impl Fn() -> O,
) -> Bench {
    let bench = || Bench::new(config.clone(), problem(f64::sin));
    let mut whole = bench();
    (0..4).for_each(|number| whole.ask(number, oracle()));

    let mut first = bench();
    (0..2).for_each(|number| first.ask(number, oracle()));
    let mut snapshot = Snapshot::new();
    first.student.save("student", &mut snapshot).unwrap();
    let saved: &dyn Algorithm<MlpPolicy> = &first.anchored;
    saved.save(&mut snapshot).unwrap();

    let mut second = bench();
    second.student.load("student", &snapshot).unwrap();
    second.anchored.load(&snapshot).unwrap();
    assert_eq!(second.outputs()[1], first.outputs()[1]);
    (2..4).for_each(|number| second.ask(number, oracle()));
    assert_eq!(second.outputs(), whole.outputs());
    whole
}

#[test]
fn going_on_from_a_snapshot_changes_no_bit() {
    four_rounds(&small(), || FnOracle::new(Dims::new(1, 1, 1), parabola));
}

#[test]
fn where_calls_fail_is_remembered_by_a_snapshot() {
    let config = AnchoredConfig {
        feasibility: 1.0,
        ..small()
    };
    let whole = four_rounds(&config, || edged(0.1));
    assert!(whole.anchored.feasibility.is_some());
}

#[test]
fn the_surrogate_never_sees_a_target() {
    let after_a_round = |target: fn(f64) -> f64| {
        // Units of the outcomes are told, not taken from the targets.
        let problem = problem(target)
            .with_outcome(graybox_model::Affine::identity(1))
            .with_objective(SquaredError::scaled(&[1.0]).unwrap());
        let mut bench = Bench::new(small(), problem);
        bench.round(0);
        bench.outputs()
    };
    let [y_hat_1, u_1] = after_a_round(f64::sin);
    // Neither is affine: of targets that are, policies learn between the rows, and draw where.
    let [y_hat_2, u_2] = after_a_round(|x| 5.0 - x * x);
    assert_eq!(y_hat_1, y_hat_2);
    assert_ne!(u_1, u_2);
}

#[test]
fn a_policy_that_starts_from_known_calls_aims_at_its_targets_at_once() {
    let mut known = Answered::new(Dims::new(1, 1, 1));
    for k in 0..40 {
        let (x, u) = (f64::from(k % 8) / 4.0 - 1.0, f64::from(k) / 20.0 - 1.0);
        known.push(&[x], &[u], &parabola(&[x], &[u])).unwrap();
    }
    let after_a_round = |ramp: f64, known: &Answered| {
        let config = AnchoredConfig {
            population: 1,
            constant: 0,
            ramp,
            ..small()
        };
        let mut bench = Bench::new(config, problem(f64::sin));
        let algorithm: &mut dyn Algorithm<MlpPolicy> = &mut bench.anchored;
        algorithm.recall(known);
        bench.round(0);
        bench.outputs()
    };
    assert_eq!(after_a_round(0.2, &known), after_a_round(0.0, &known));
    let nothing = Answered::new(Dims::new(1, 1, 1));
    assert_ne!(after_a_round(0.2, &nothing), after_a_round(0.0, &nothing));
}
