//! Runs that do not wait: they learn, wait for no row in particular, and lose nothing when they are broken off.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use burn::prelude::*;
use graybox::algorithm::AnchoredConfig;
use graybox::model::{HeadConfig, Layout, MlpConfig, MlpPolicy, save_weights};
use graybox::oracle::{Dims, FnOracle, Lanes, RowError, Rows};
use graybox::{
    AlgorithmConfig, Dataset, Ending, Observer, Problem, Progress, RunReport, Silent, Stop,
    TrainConfig, TrainError, Trainer,
};

const DIMS: Dims = Dims { x: 1, u: 1, y: 1 };

fn problem() -> Problem {
    let column = |values: Vec<f64>| Rows::from_vec(1, values).unwrap();
    let x: Vec<f64> = (0..40).map(|i| f64::from(i) / 40.0).collect();
    let target = x.iter().map(|x| 0.4 - 0.6 * x).collect();
    let data = Dataset::new(column(x), column(target)).unwrap();
    let actions = HeadConfig::bounded(vec![-1.0], vec![1.0]).unwrap();
    Problem::new(data, actions, &Device::flex()).unwrap()
}

fn value(x: &[f64], u: &[f64]) -> f64 {
    u[0] + 0.3 * u[0].powi(3) - 0.2 * x[0]
}

fn config(calls: u64, seed: u64) -> TrainConfig {
    let small = || MlpConfig::new([12]);
    let anchored = AnchoredConfig {
        surrogate: small(),
        ..AnchoredConfig::default()
    };
    TrainConfig {
        calls,
        seed,
        policy: small(),
        algorithm: AlgorithmConfig::Anchored(anchored),
        asynchronous: true,
        ..TrainConfig::default()
    }
}

/// So many lanes of an oracle that counts its calls.
fn counted(lanes: usize) -> (Lanes, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let oracle = FnOracle::new(DIMS, move |x, u| {
        counter.fetch_add(1, Ordering::Relaxed);
        [value(x, u)]
    });
    (Lanes::sharing(oracle, lanes), calls)
}

fn weights(policy: &MlpPolicy) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy");
    save_weights(policy, &path, Layout::Burn).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn it_learns_and_spends_its_budget() {
    for seed in [1, 2, 3] {
        let (oracle, calls) = counted(4);
        let trainer = Trainer::new(config(300, seed), problem(), oracle).unwrap();
        let mut trainer = trainer.with_held_out(problem().data().host().clone());
        let report = trainer.run(&mut Silent).unwrap();
        assert_eq!(
            (report.ending, report.oracle_calls),
            (Ending::BudgetSpent, 300)
        );
        assert_eq!(report.paid_calls, calls.load(Ordering::Relaxed) as u64);
        let (before, after) = (report.true_loss_before, report.true_loss_after);
        assert!(
            after < Some(1e-4) && before > Some(1e-2),
            "seed {seed}: {before:?} -> {after:?}"
        );
    }
}

#[test]
fn nobody_waits_for_the_slowest_row() {
    // The fifth row is answered only when a hundred others have been.
    let answered = Arc::new((Mutex::new(0), Condvar::new()));
    let oracle = FnOracle::new(DIMS, move |x, u| {
        let (count, changed) = &*answered;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        if *count == 5 {
            while *count < 105 {
                count = changed.wait(count).unwrap();
            }
        }
        [value(x, u)]
    });
    // Without a survey, at the end of which everything has to have come back.
    let mut config = config(120, 1);
    if let AlgorithmConfig::Anchored(anchored) = &mut config.algorithm {
        anchored.survey = 0.0;
    }
    let mut trainer = Trainer::new(config, problem(), Lanes::sharing(oracle, 2)).unwrap();
    let report = trainer.run(&mut Silent).unwrap();
    assert_eq!(
        (report.ending, report.oracle_calls),
        (Ending::BudgetSpent, 120)
    );
}

#[test]
fn an_algorithm_that_has_to_wait_is_refused() {
    for algorithm in AlgorithmConfig::all() {
        let name = algorithm.name();
        let config = TrainConfig {
            algorithm,
            ..config(100, 1)
        };
        let trainer = Trainer::new(config, problem(), counted(1).0);
        match trainer.err() {
            None => assert_eq!(name, "anchored"),
            Some(TrainError::Waits(of)) => assert_eq!(of, name),
            Some(other) => panic!("{name}: {other}"),
        }
    }
}

/// Sets a flag once so many calls have been charged.
struct StopAt(u64, Stop);

impl Observer for StopAt {
    fn progress(&mut self, line: &Progress) {
        if line.calls >= self.0 {
            self.1.set();
        }
    }
}

#[test]
fn a_stopped_run_learns_from_what_was_on_its_way_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let (oracle, calls) = counted(3);
    let oracle = Arc::new(oracle);
    let run = |until: u64| {
        let stop = Stop::new();
        let mut trainer = Trainer::new(config(200, 1), problem(), Arc::clone(&oracle))
            .unwrap()
            .with_held_out(problem().data().host().clone())
            .with_stop(stop.clone())
            .with_checkpoint(folder.path().join("checkpoint"), Duration::ZERO);
        trainer.run(&mut StopAt(until, stop)).unwrap()
    };
    // A score the run was stopped with is counted by the one that goes on.
    let counted_all = |report: &RunReport| {
        let all = report.oracle_calls + report.scoring_calls;
        assert_eq!(
            (all, report.paid_calls),
            (calls.load(Ordering::Relaxed) as u64, all)
        );
    };
    let stopped = run(90);
    assert_eq!(stopped.ending, Ending::Stopped);
    counted_all(&stopped);
    assert!((90..200).contains(&stopped.oracle_calls));
    let ended = run(1_000);
    assert_eq!(
        (ended.ending, ended.oracle_calls),
        (Ending::BudgetSpent, 200)
    );
    counted_all(&ended);
}

#[test]
fn rows_that_came_back_unanswered_are_asked_again_by_the_resumed_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = |lasts: usize| {
        let left = AtomicUsize::new(lasts);
        let oracle = FnOracle::new(DIMS, move |x, u| {
            let left =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            left.map(|_| [value(x, u)])
                .map_err(|_| RowError::Unavailable("the licence ran out".into()))
        });
        let mut trainer = Trainer::new(config(150, 1), problem(), Lanes::sharing(oracle, 2))
            .unwrap()
            .with_checkpoint(folder.path().join("checkpoint"), Duration::MAX);
        trainer.run(&mut Silent).unwrap()
    };
    let lost = run(70);
    assert_eq!((lost.ending, lost.oracle_calls), (Ending::OracleGone, 70));
    assert!(lost.reason.unwrap().contains("the licence ran out"));
    // As many answers as are left to be paid for, and not one more.
    let ended = run(80);
    assert_eq!(
        (ended.ending, ended.oracle_calls),
        (Ending::BudgetSpent, 150)
    );
}

#[cfg(feature = "ledger")]
#[test]
fn a_run_comes_to_the_same_bits_again_from_its_ledger_alone() {
    use graybox::oracle::{Description, Ledger};

    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let (oracle, calls) = counted(4);
        let described = Description::of_sizes("cubic", DIMS);
        let ledger = Ledger::open(folder.path().join("ledger.sqlite"), &described).unwrap();
        let trainer = Trainer::new(config(160, 2), problem(), oracle).unwrap();
        let mut trainer = trainer.with_record(ledger);
        let report = trainer.run(&mut Silent).unwrap();
        assert_eq!(report.oracle_calls, 160);
        (
            weights(&trainer.policy()),
            report.rounds,
            calls.load(Ordering::Relaxed),
        )
    };
    let (policy, rounds, calls) = run();
    assert_eq!(calls, 160);
    assert_eq!(run(), (policy, rounds, 0));
}
