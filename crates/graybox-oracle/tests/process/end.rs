//! Nothing is left behind, and nobody waits for long after asking to stop.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use graybox_oracle::{Oracle, ProcessConfig, ProcessOracle, Queries, RowError, Rows};

use crate::{
    ask_u, assert_all_die, assert_crashed, children, misbehaving, misbehaving_with, python,
    start_error, truth,
};

#[test]
fn whatever_a_program_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut config = misbehaving_with("parent-dies", &pids);
    config.retries = 0;
    let oracle = ProcessOracle::start(config).unwrap();
    // The child keeps the output open, so the death shows in no pipe.
    let outcomes = ask_u(&oracle, &[-0.5, 0.5]);
    assert_crashed(
        &outcomes[0],
        "ended (exit status: 11) over this row; its last words",
    );
    assert_eq!(outcomes[1], truth(0.5));
    drop(oracle);
    let pids = fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 4);
    assert_all_die(&pids);
}

#[test]
fn a_program_that_will_not_end_is_killed_on_drop() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut config = misbehaving_with("stubborn", &pids);
    config.time_limit = Duration::from_secs(1);
    let oracle = ProcessOracle::start(config).unwrap();
    assert_eq!(ask_u(&oracle, &[-0.5]), [Err(RowError::TimedOut)]);
    drop(oracle);
    assert_all_die(&fs::read_to_string(&pids).unwrap());
}

#[test]
fn a_program_that_hangs_at_start_is_killed_on_drop() {
    let folder = tempfile::tempdir().unwrap();
    let config = misbehaving_with("hangs-at-start", folder.path());
    let marker = folder.path().display().to_string();
    start_error(ProcessConfig {
        start_limit: Duration::from_millis(300),
        ..config
    });
    assert_eq!(children(std::process::id(), &marker), [] as [&str; 0]);
}

#[test]
fn rows_that_take_too_long_are_cancelled_and_answers_so_far_are_told() {
    let stop = Arc::new(AtomicBool::new(false));
    let config = ProcessConfig {
        grace: Duration::ZERO,
        time_limit: Duration::from_hours(1),
        ..misbehaving("hangs")
    };
    let oracle = ProcessOracle::start(config).unwrap();
    let oracle = oracle.with_stop(Arc::clone(&stop));
    let (x, u) = (vec![2.0; 3], vec![0.5, -0.5, 0.25]);
    let (x, u) = (Rows::from_vec(1, x).unwrap(), Rows::from_vec(1, u).unwrap());
    let mut told = Vec::new();
    oracle.evaluate_each(Queries::new(&x, &u).unwrap(), &mut |answer| {
        stop.store(true, Ordering::Relaxed);
        told.push((answer.row, answer.outcome));
    });
    told.sort_by_key(|(row, _)| *row);
    let cancelled = || Err(RowError::Cancelled);
    assert_eq!(told, [(0, truth(0.5)), (1, cancelled()), (2, cancelled())]);
    assert_eq!(ask_u(&oracle, &[0.5]), [cancelled()]);

    stop.store(false, Ordering::Relaxed);
    assert_eq!(ask_u(&oracle, &[0.75]), [truth(0.75)]);
}

#[test]
fn a_quick_round_is_finished_within_the_grace() {
    let stop = Arc::new(AtomicBool::new(true));
    let oracle = ProcessOracle::start(ProcessConfig::new(python("lens.py"))).unwrap();
    let oracle = oracle.with_stop(stop);
    let x = Rows::from_vec(2, vec![4.0, 4.0]).unwrap();
    let u = Rows::from_vec(1, vec![2.0]).unwrap();
    assert_eq!(
        oracle.evaluate(Queries::new(&x, &u).unwrap()),
        [Ok(vec![4.0])]
    );
}
