//! Where actions are asked, when a fit ends, and what the policy follows.

use super::*;
use crate::testing::Harness;
use crate::{Dataset, LearningRate, OptimizerKind, SquaredError, bridge};
use burn::optim::SgdConfig;
use graybox_model::{Affine, FlatLayout, HeadConfig, MlpConfig, MlpPolicy};
use graybox_oracle::{Dims, FnOracle, Outcome, RowError};

fn problem(actions: HeadConfig) -> Problem {
    let x: Vec<f64> = (0..32).map(|i| f64::from(i) / 16.0 - 1.0).collect();
    let x = Rows::from_vec(1, x).unwrap();
    Problem::new(
        Dataset::new(x.clone(), x).unwrap(),
        actions,
        &Device::flex(),
    )
    .unwrap()
}

fn bounded() -> HeadConfig {
    HeadConfig::bounded(vec![-1.0, 10.0], vec![1.0, 30.0]).unwrap()
}

fn student(problem: &Problem) -> Student<MlpPolicy> {
    let policy = problem.policy(&MlpConfig::new([8]));
    let policy = policy.init(&mut seed::stream(1, "test", 0), &Device::flex());
    Student::new(policy, OptimizerKind::default(), LearningRate::default())
}

fn outcome(x: &[f64], u: &[f64]) -> Outcome {
    if x[0] > 0.8 {
        return Err(RowError::Invalid);
    }
    Ok(vec![u[0] + 0.05 * u[1] - 1.0 + 0.3 * x[0]])
}

fn harness(problem: &Problem) -> Harness {
    let oracle = FnOracle::new(Dims::new(1, 2, 1), outcome);
    Harness::new(problem.clone(), oracle, 1)
}

#[test]
fn samples_fill_the_bounds_and_sobol_points_do_so_evenly() {
    let problem = problem(bounded());
    // How far the shares of 16 boxes are from even, among 256 points.
    let unevenness = |sampling| {
        let config = TwoStageConfig {
            sampling,
            ..TwoStageConfig::default()
        };
        let mut method = TwoStage::new(config, &problem);
        let student = student(&problem);
        let mut harness = harness(&problem);
        let mut counts = [0i32; 16];
        for _ in 0..8 {
            let batch = problem.data().batch((0..32).collect());
            let mut probe = harness.probe();
            let u = method.sample(&student, &batch, &mut probe).unwrap();
            for u in u.iter() {
                assert!((-1.0..=1.0).contains(&u[0]) && (10.0..=30.0).contains(&u[1]));
                let cell = |share: f64| ((4.0 * share) as usize).min(3);
                counts[4 * cell(0.5 * (u[0] + 1.0)) + cell((u[1] - 10.0) / 20.0)] += 1;
            }
            let measured = probe.measure(&batch, u).unwrap();
            method.replay.push(&batch, &measured);
        }
        counts.iter().map(|count| (count - 16).abs()).max().unwrap()
    };
    assert_eq!(unevenness(Sampling::Sobol), 0);
    assert!(unevenness(Sampling::Uniform) > 3);
}

/// Collects `n` calls without training.
fn collected(problem: &Problem, n: usize) -> (TwoStage, Harness) {
    let mut method = TwoStage::new(TwoStageConfig::default(), problem);
    let mut student = student(problem);
    let mut harness = harness(problem);
    for start in (0..n).step_by(16) {
        let index = (start..start + 16).map(|i| i % 32).collect();
        let batch = problem.data().batch(index);
        let mut probe = harness.probe();
        method.round(&mut student, &batch, &mut probe).unwrap();
    }
    (method, harness)
}

#[test]
fn the_fit_leaves_failed_rows_out_and_reports_its_error() {
    let problem = problem(bounded());
    let (mut method, mut harness) = collected(&problem, 512);
    method.config.fit_updates = 2_000;
    let fit = method.fit(|_| false, &mut harness.probe()).unwrap();
    // Targets have a standard deviation of 0.58, so the loss's unit is 3 times the squared error.
    assert!(fit.validation < 1e-2, "{:e}", fit.validation);
    let x = Tensor::<2>::from_data([[0.25]], &Device::flex());
    let u = Tensor::<2>::from_data([[0.5, 20.0]], &Device::flex());
    let y = bridge::download(method.surrogate.valid().forward(x, u));
    assert!((y.row(0)[0] - 0.575).abs() < 0.1, "{}", y.row(0)[0]);
}

#[test]
fn a_fit_to_noise_ends_early_and_keeps_its_best() {
    let problem = problem(bounded());
    let noise = std::sync::Mutex::new(seed::stream(4, "noise", 0));
    let oracle = FnOracle::new(Dims::new(1, 2, 1), move |_, _| {
        population::normal(1, &mut *noise.lock().unwrap())
    });
    let mut harness = Harness::new(problem.clone(), oracle, 1);
    let mut method = TwoStage::new(TwoStageConfig::default(), &problem);
    let mut student = student(&problem);
    for _ in 0..4 {
        let batch = problem.data().batch((0..32).collect());
        let mut probe = harness.probe();
        method.round(&mut student, &batch, &mut probe).unwrap();
    }
    let fit = method.fit(|_| false, &mut harness.probe()).unwrap();
    assert!(fit.updates < method.config.fit_updates, "{}", fit.updates);
}

#[test]
fn the_surrogate_is_frozen_while_the_policy_learns_through_it() {
    let problem = problem(bounded());
    let (mut method, mut harness) = collected(&problem, 64);
    method.config.policy_updates = 5;
    let layout = FlatLayout::of(&method.surrogate);
    let weights = |method: &TwoStage| layout.flatten(&method.surrogate).into_data();
    let before = weights(&method);
    let mut student = student(&problem);
    let policy = student.act(problem.data().x().clone());
    method.train_policy(&mut student, |_| false, &mut harness.probe());
    weights(&method).assert_eq(&before, true);
    let moved = student.act(problem.data().x().clone()) - policy;
    assert!(moved.abs().max().into_scalar::<f32>() > 1e-4);
}

#[test]
fn the_policy_follows_the_gradient_through_the_surrogate() {
    // One row and everything linear, so that differences of the surrogate are its slopes.
    let rows = |values: &[f64]| Rows::from_vec(1, values.to_vec()).unwrap();
    let data = Dataset::new(rows(&[0.5]), rows(&[2.0])).unwrap();
    let problem = Problem::new(data, HeadConfig::identity(2), &Device::flex()).unwrap();
    let problem = problem
        .with_objective(SquaredError::scaled(&[1.0]).unwrap())
        .with_outcome(Affine::identity(1));
    let config = TwoStageConfig {
        surrogate: MlpConfig::new([]),
        policy_updates: 1,
        rows: 4,
        ..TwoStageConfig::default()
    };
    let method = TwoStage::new(config, &problem);
    let mut policy = problem.policy(&MlpConfig::new([]));
    policy.context = Affine::identity(1);
    let policy = policy.init(&mut seed::stream(1, "test", 0), &Device::flex());
    let rate = LearningRate::constant(1.0);
    let mut student = Student::with_optimizer(policy, SgdConfig::new().init(), rate);
    // w₁, w₂, b₁, b₂ of u = w x + b.
    let weights = |student: &Student<MlpPolicy>| {
        let policy = student.policy();
        let weights = FlatLayout::of(policy).flatten(policy);
        bridge::download(weights.unsqueeze()).row(0).to_vec()
    };

    let x = problem.data().x().clone();
    let surrogate = method.surrogate.valid();
    let y_hat = |u: [f64; 2]| {
        let u = Rows::from_vec(2, u.to_vec()).unwrap();
        let u = bridge::upload(&u, &Device::flex());
        bridge::download(surrogate.forward(x.clone(), u)).row(0)[0]
    };
    let u = bridge::download(student.act(x.clone()));
    let u = [u.row(0)[0], u.row(0)[1]];
    let dloss_dy = problem.objective().gradient(&[y_hat(u)], &[2.0])[0];
    let moved = |k: usize, by: f64| {
        let mut u = u;
        u[k] += by;
        y_hat(u)
    };
    let dloss_du = [0, 1].map(|k| dloss_dy * (moved(k, 0.5) - moved(k, -0.5)));

    let before = weights(&student);
    let oracle = FnOracle::new(Dims::new(1, 2, 1), outcome);
    let mut harness = Harness::new(problem.clone(), oracle, 1);
    method.train_policy(&mut student, |_| false, &mut harness.probe());
    let after = weights(&student);
    for k in 0..2 {
        assert!(dloss_du[k].abs() > 0.01, "{dloss_du:?}");
        let step = |weight: usize| before[weight] - after[weight];
        assert!((step(k) - 0.5 * dloss_du[k]).abs() < 1e-5, "{dloss_du:?}");
        assert!((step(2 + k) - dloss_du[k]).abs() < 1e-5, "{dloss_du:?}");
    }
}

#[test]
fn settings_outside_their_meaning_are_refused_by_name() {
    let config = TwoStageConfig {
        validation: 1.0,
        ..TwoStageConfig::default()
    };
    assert_eq!(config.check().unwrap_err().field, "two_stage.validation");
    let config = TwoStageConfig {
        cycles: 0,
        ..TwoStageConfig::default()
    };
    assert_eq!(config.check().unwrap_err().field, "two_stage.cycles");
}

#[test]
fn a_last_cycle_that_is_stopped_leaves_everything_as_it_was() {
    let problem = problem(bounded());
    let config = TwoStageConfig {
        fit_updates: 20,
        policy_updates: 20,
        ..TwoStageConfig::default()
    };
    let mut method = TwoStage::new(config, &problem);
    let (mut student, mut harness) = (student(&problem), harness(&problem));
    let batch = problem.data().batch((0..32).collect());
    let round = method.round(&mut student, &batch, &mut harness.probe());
    assert!(round.is_ok());
    let state = |method: &TwoStage, student: &Student<MlpPolicy>| {
        let surrogate = FlatLayout::of(&method.surrogate).flatten(&method.surrogate);
        let policy = FlatLayout::of(student.policy()).flatten(student.policy());
        [surrogate, policy].map(|weights| weights.into_data())
    };
    let before = state(&method, &student);

    harness.stop().set();
    let finished = method.finish(&mut student, &mut harness.probe()).unwrap();
    assert!(finished.is_none() && method.done == 0);
    assert_eq!(state(&method, &student), before);

    let mut harness = self::harness(&problem);
    let finished = method.finish(&mut student, &mut harness.probe()).unwrap();
    assert!(finished.is_some() && method.done == 1);
    assert_ne!(state(&method, &student), before);
}
