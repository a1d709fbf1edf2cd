use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use graybox_model::{HeadConfig, MlpConfig, MlpPolicy};
use graybox_oracle::{Dims, FnOracle, RowError};

use super::*;
use crate::{
    AlgorithmConfig, Dataset, Ending, Observer, Progress, RunReport, Silent, Stop, TrainConfig,
    Trainer,
};

mod round;
mod walls;

/// One context, one action: the outcome `2u + x²` is to be `target(x)`.
fn problem(target: impl Fn(f64) -> f64) -> Problem {
    let x: Vec<f64> = (0..40).map(|k| f64::from(k) / 20.0 - 1.0).collect();
    let y = x.iter().map(|x| target(*x)).collect();
    let x = Rows::from_vec(1, x).unwrap();
    let data = Dataset::new(x, Rows::from_vec(1, y).unwrap()).unwrap();
    Problem::new(data, HeadConfig::identity(1), &Device::flex()).unwrap()
}

fn parabola(x: &[f64], u: &[f64]) -> [f64; 1] {
    [2.0 * u[0] + x[0] * x[0]]
}

fn small() -> AnchoredConfig {
    AnchoredConfig {
        steps_per_call: Some(1.0),
        surrogate: MlpConfig::new([8]),
        policy_batch: 8,
        surrogate_batch: 16,
        survey: 0.0,
        guard: 0.1,
        ..AnchoredConfig::default()
    }
}

/// As many steps as so few calls need.
fn thorough() -> AnchoredConfig {
    AnchoredConfig {
        steps_per_call: Some(20.0),
        ..small()
    }
}

fn trainer(
    anchored: AnchoredConfig,
    calls: u64,
    seed: u64,
    oracle: impl graybox_oracle::Oracle + 'static,
) -> Trainer<MlpPolicy> {
    trainer_of(problem(f64::sin), anchored, calls, seed, oracle)
}

fn trainer_of(
    problem: Problem,
    anchored: AnchoredConfig,
    calls: u64,
    seed: u64,
    oracle: impl graybox_oracle::Oracle + 'static,
) -> Trainer<MlpPolicy> {
    let config = TrainConfig {
        calls,
        seed,
        batch: Some(8),
        policy: MlpConfig::new([8]),
        algorithm: AlgorithmConfig::Anchored(anchored),
        ..TrainConfig::default()
    };
    Trainer::new(config, problem, oracle).unwrap()
}

fn run(trainer: &mut Trainer<MlpPolicy>) -> RunReport {
    trainer.run(&mut Silent).unwrap()
}

fn actions(trainer: &Trainer<MlpPolicy>) -> Vec<f64> {
    let x = trainer.problem().data().x().clone();
    bridge::download(trainer.policy().forward(x))
        .as_slice()
        .to_vec()
}

#[test]
fn it_learns_within_two_hundred_calls() {
    for seed in 1..=3 {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), parabola);
        let mut trainer = trainer(thorough(), 200, seed, oracle);
        let held_out = trainer.problem().data().host().clone();
        trainer = trainer.with_held_out(held_out);
        let loss = run(&mut trainer).true_loss_after.unwrap();
        assert!(loss < 2e-3, "seed {seed}: {loss}");
    }
}

#[test]
fn a_survey_takes_policies_out_of_a_dead_zone() {
    // Nothing happens within one unit of zero, which is where policies start.
    let dead = |_: &[f64], u: &[f64]| [u[0].signum() * (u[0].abs() - 1.0).max(0.0)];
    let loss_with = |survey: f64| {
        let config = AnchoredConfig {
            survey,
            start: 0.0,
            constant: 2,
            population: 3,
            ..thorough()
        };
        let oracle = FnOracle::new(Dims::new(1, 1, 1), dead);
        let mut trainer = trainer(config, 200, 1, oracle);
        let held_out = trainer.problem().data().host().clone();
        trainer = trainer.with_held_out(held_out);
        run(&mut trainer).true_loss_after.unwrap()
    };
    let (without, with) = (loss_with(0.0), loss_with(0.1));
    assert!(with < 0.02 && without > 5.0 * with, "{without} {with}");
}

#[test]
fn where_what_is_wanted_is_known_between_the_rows_calls_are_made_there() {
    let asked_between = |target: fn(f64) -> f64, asked_between: f64| {
        let config = AnchoredConfig {
            asked_between,
            ..small()
        };
        let problem = problem(target);
        let known = problem.data().host().x().as_slice().to_vec();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let oracle = FnOracle::new(Dims::new(1, 1, 1), move |x: &[f64], u: &[f64]| {
            seen.lock().unwrap().push(x[0]);
            parabola(x, u)
        });
        run(&mut trainer_of(problem, config, 200, 1, oracle));
        let asked = asked.lock().unwrap();
        asked.iter().filter(|x| !known.contains(x)).count()
    };
    let affine = |x| 3.0 * x + 1.0;
    assert_eq!(asked_between(affine, 0.0), 0);
    assert_eq!(asked_between(f64::sin, 0.5), 0);
    // The calls of the closing phase compare policies where they are to be good.
    let calls = asked_between(affine, 0.5);
    assert!((60..120).contains(&calls), "{calls}");
}

/// The parabola, for actions up to `edge` alone.
fn edged(edge: f64) -> impl graybox_oracle::Oracle + 'static {
    FnOracle::new(Dims::new(1, 1, 1), move |x: &[f64], u: &[f64]| {
        if u[0] > edge {
            return Err(RowError::Invalid);
        }
        Ok(parabola(x, u))
    })
}

#[test]
fn policies_come_back_to_where_calls_are_answered_and_stay_at_the_edge() {
    // In half of the contexts the target lies beyond the edge.
    let edge = -0.2;
    let run_with = |feasibility: f64| {
        let config = AnchoredConfig {
            feasibility,
            ..thorough()
        };
        let mut trainer = trainer(config, 400, 1, edged(edge));
        run(&mut trainer);
        let failed_until = |calls| {
            let lines = &trainer.history().lines;
            let line = lines.iter().rfind(|line| line.calls <= calls);
            line.map_or(0, |line| line.failed)
        };
        (failed_until(400) - failed_until(300), actions(&trainer))
    };
    let beyond = |actions: &Vec<f64>| actions.iter().filter(|u| **u > edge).count();
    let (failed_without, without) = run_with(0.0);
    let (failed, with) = run_with(1.0);
    let x = (0..40).map(|k| f64::from(k) / 20.0 - 1.0);
    let best = x.map(|x| ((x.sin() - x * x) / 2.0).min(edge));
    let off = with.iter().zip(best).map(|(u, best)| (u - best).abs());
    let (off, beyond) = (off.fold(0.0, f64::max), [&without, &with].map(beyond));
    let seen =
        format!("of the last 100 calls {failed_without} and {failed} failed; {beyond:?}, {off}");
    assert!(failed_without > 50 && failed < 25, "{seen}");
    assert!(beyond[0] > 20 && beyond[1] == 0 && off < 0.1, "{seen}");
}

#[test]
fn where_no_call_fails_feasibility_changes_no_bit() {
    let with = |feasibility: f64| {
        let config = AnchoredConfig {
            feasibility,
            ..small()
        };
        let mut trainer = trainer(config, 60, 1, counting(&Arc::default(), u64::MAX));
        run(&mut trainer);
        actions(&trainer)
    };
    assert_eq!(with(0.0), with(1.0));
}

/// Counts its calls; those from `bad` on come out wrong.
fn counting(asked: &Arc<AtomicU64>, bad: u64) -> impl graybox_oracle::Oracle + 'static {
    let asked = Arc::clone(asked);
    FnOracle::new(Dims::new(1, 1, 1), move |x: &[f64], u: &[f64]| {
        let late = asked.fetch_add(1, Ordering::Relaxed) >= bad;
        let [y] = parabola(x, u);
        [if late { y + 100.0 } else { y }]
    })
}

#[test]
fn every_call_of_the_budget_is_made_and_none_beyond_it() {
    let asked = Arc::default();
    let report = run(&mut trainer(small(), 103, 1, counting(&asked, u64::MAX)));
    assert_eq!(report.oracle_calls, 103);
    assert_eq!(asked.load(Ordering::Relaxed), 103);
}

#[test]
fn a_closing_phase_that_does_not_help_is_undone() {
    // 90 calls for rounds, 5 before and 5 after the closing phase.
    let closed = |bad: u64| {
        let mut trainer = trainer(thorough(), 100, 1, counting(&Arc::default(), bad));
        run(&mut trainer);
        let lines = &trainer.history().lines;
        let told = |line: &&crate::Progress| line.terms.contains_key("after_closing");
        let line = lines.iter().find(told).unwrap().clone();
        (actions(&trainer), line)
    };
    let (kept, line) = closed(u64::MAX);
    assert!(line.terms["after_closing"] < line.terms["before_closing"]);
    assert_eq!(line.loss, Some(line.terms["after_closing"]));
    let (undone, line) = closed(95);
    assert!(line.terms["after_closing"] > line.terms["before_closing"]);
    assert_eq!(line.loss, Some(line.terms["before_closing"]));
    assert_ne!(kept, undone);
}

#[test]
fn what_cannot_be_made_out_is_not_learned_by_heart() {
    // Noise for all that so few calls tell.
    let rough = |x: &[f64], u: &[f64]| [parabola(x, u)[0] + 0.3 * (1e4 * (x[0] + u[0])).sin()];
    let error = |penalty: f64, seed: u64| {
        let config = AnchoredConfig {
            penalty,
            surrogate: MlpConfig::new([48, 48]),
            steps_per_call: Some(30.0),
            population: 1,
            constant: 0,
            ..small()
        };
        let oracle = FnOracle::new(Dims::new(1, 1, 1), rough);
        let mut trainer = trainer(config, 100, seed, oracle);
        run(&mut trainer);
        let x = trainer.problem().data().x().clone();
        let u = trainer.policy().forward(x.clone());
        let predicted = trainer.surrogate().unwrap().predict(x.clone(), u.clone());
        let smooth = u * 2.0 + x.clone() * x;
        bridge::read([(predicted - smooth).powf_scalar(2.0).mean()])[0]
    };
    let all = |penalty: f64| (1..=3).map(|seed| error(penalty, seed)).sum::<f64>();
    let (with, without) = (all(AnchoredConfig::default().penalty), all(0.0));
    assert!(with < 0.7 * without, "{with} {without}");
}

#[test]
fn a_run_stopped_in_its_closing_phase_goes_on_there_and_pays_for_nothing_twice() {
    // 90 calls for rounds, 5 before and 5 after the closing phase.
    let mut whole = trainer(thorough(), 100, 1, counting(&Arc::default(), u64::MAX));
    run(&mut whole);

    let (asked, stop) = (Arc::new(AtomicU64::new(0)), Stop::new());
    let oracle = |asked: &Arc<AtomicU64>, stop: &Stop| {
        let (asked, stop) = (Arc::clone(asked), stop.clone());
        FnOracle::new(Dims::new(1, 1, 1), move |x: &[f64], u: &[f64]| {
            if asked.fetch_add(1, Ordering::Relaxed) == 94 {
                stop.set();
            }
            parabola(x, u)
        })
    };
    let mut first = trainer(thorough(), 100, 1, oracle(&asked, &stop)).with_stop(stop.clone());
    let report = run(&mut first);
    assert_eq!((report.ending, report.oracle_calls), (Ending::Stopped, 95));

    let mut second = trainer(thorough(), 100, 1, oracle(&asked, &stop));
    second.resume(&first.snapshot().unwrap()).unwrap();
    let report = run(&mut second);
    assert_eq!(
        (report.ending, report.oracle_calls),
        (Ending::BudgetSpent, 100)
    );
    assert_eq!(asked.load(Ordering::Relaxed), 100);
    assert_eq!(actions(&second), actions(&whole));
}

#[test]
fn what_the_surrogate_looks_past_is_remembered_by_a_snapshot() {
    // The target is the context, which the oracle does not read; the survey goes on for several rounds.
    let trainer = || {
        let config = TrainConfig {
            calls: 400,
            batch: Some(8),
            policy: MlpConfig::new([8]),
            algorithm: AlgorithmConfig::Anchored(AnchoredConfig {
                survey: 0.4,
                ..small()
            }),
            ..TrainConfig::default()
        };
        let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [2.0 * u[0]]);
        Trainer::new(config, problem(|x| x), oracle).unwrap()
    };
    let mut whole = trainer();
    run(&mut whole);

    let stop = Stop::new();
    let mut first = trainer().with_stop(stop.clone());
    first.run(&mut StopAtOnce(stop)).unwrap();
    let mut second = trainer();
    second.resume(&first.snapshot().unwrap()).unwrap();
    run(&mut second);
    assert_eq!(actions(&second), actions(&whole));
}

/// Ends a run after its first round.
struct StopAtOnce(Stop);

impl Observer for StopAtOnce {
    fn progress(&mut self, line: &Progress) {
        if line.round == 1 {
            self.0.set();
        }
    }
}

#[test]
fn settings_outside_their_meaning_are_refused_by_name() {
    let refused = |config: AnchoredConfig| config.check().unwrap_err().field;
    let config = AnchoredConfig {
        steps_per_call: Some(0.0),
        ..small()
    };
    assert_eq!(refused(config), "anchored.steps_per_call");
    let config = AnchoredConfig {
        anchored: 1.5,
        ..small()
    };
    assert_eq!(refused(config), "anchored.anchored");
}
