//! What goes wrong with a row, and what becomes of the others.

use std::fs;
use std::process::Command;
use std::time::Duration;

use graybox_oracle::{Outcome, ProcessConfig, ProcessOracle, RowError};

use crate::{
    ask_u, assert_all_die, assert_crashed, assert_malformed, children, misbehaving,
    misbehaving_with, truth,
};

#[test]
fn an_answer_that_cannot_be_used_fails_its_row() {
    for (mode, reason) in [
        (
            "wide",
            "oracle returned 3 values for a row, expected d_y = 2",
        ),
        ("nan", "outcome 0 is NaN, expected a finite number"),
        ("text", "`y` is not a list of numbers"),
        (
            "prints",
            "it wrote `Warning: the matrix is nearly singular`",
        ),
        ("no-id", "there is no id"),
        ("wrong-id", "no request had this id"),
        ("endless", "it wrote a line of more than 4194304 bytes"),
    ] {
        let oracle = ProcessOracle::start(misbehaving(mode)).unwrap();
        let outcomes = ask_u(&oracle, &[0.5, -0.5, 0.25]);
        assert_malformed(&outcomes[1], reason);
        assert_eq!(
            [&outcomes[0], &outcomes[2]],
            [&truth(0.5), &truth(0.25)],
            "{mode}"
        );
    }
}

#[test]
fn a_second_answer_changes_nothing() {
    let oracle = ProcessOracle::start(misbehaving("twice")).unwrap();
    let u = [-0.5, 0.5, -0.25, 0.25];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

#[test]
fn a_row_that_hangs_is_timed_out_and_the_worker_replaced() {
    for window in [1, 3] {
        let config = ProcessConfig {
            window,
            time_limit: Duration::from_secs(1),
            ..misbehaving("hangs")
        };
        let oracle = ProcessOracle::start(config).unwrap();
        let timed_out = Err(RowError::TimedOut);
        assert_eq!(
            ask_u(&oracle, &[0.5, -0.5, 0.25]),
            [truth(0.5), timed_out, truth(0.25)]
        );
    }
}

#[test]
fn waiting_in_line_is_not_held_against_a_row() {
    let config = ProcessConfig {
        window: 8,
        time_limit: Duration::from_millis(800),
        ..misbehaving_with("slow", "0.2")
    };
    let oracle = ProcessOracle::start(config).unwrap();
    let u = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

#[test]
fn a_row_that_kills_its_workers_takes_no_other_row_with_it() {
    for (batch, window) in [(1, 1), (4, 1), (2, 3)] {
        let config = ProcessConfig {
            workers: 2,
            batch,
            window,
            retries: 1,
            ..misbehaving("dies")
        };
        let oracle = ProcessOracle::start(config).unwrap();
        let outcomes = ask_u(&oracle, &[0.0, 0.1, -0.5, 0.2, 0.3, 0.4]);
        assert_crashed(
            &outcomes[2],
            "ended (exit status: 11) over this row, as 1 before it; its last words: Segmentation fault",
        );
        let rest: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.is_ok()).collect();
        let expected = [0.0, 0.1, 0.2, 0.3, 0.4].map(truth);
        assert_eq!(rest, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_worker_that_dies_once_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = misbehaving_with("dies-once", folder.path().join("died"));
    let oracle = ProcessOracle::start(config).unwrap();
    let u = [0.5, -0.5, 0.25];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

#[test]
fn a_worker_killed_from_outside_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let config = misbehaving_with("parent", &pids);
    let oracle = ProcessOracle::start(config).unwrap();
    assert_eq!(ask_u(&oracle, &[0.5]), [truth(0.5)]);
    let first = fs::read_to_string(&pids).unwrap();
    let leader = first.lines().next().unwrap();
    let kill = Command::new("kill").args(["-9", leader]).status().unwrap();
    assert!(kill.success());
    assert_eq!(ask_u(&oracle, &[0.25]), [truth(0.25)]);
    assert_all_die(&first);
}

#[test]
fn when_no_worker_is_left_rows_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = misbehaving_with("starts-once", folder.path().join("started"));
    config.start_attempts = 2;
    let oracle = ProcessOracle::start(config).unwrap();
    assert_eq!(ask_u(&oracle, &[0.5]), [truth(0.5)]);
    let pids = children(std::process::id(), "starts-once");
    assert_eq!(pids.len(), 1, "{pids:?}");
    let kill = Command::new("kill")
        .args(["-9", &pids[0]])
        .status()
        .unwrap();
    assert!(kill.success());
    let outcomes = ask_u(&oracle, &[0.5, 0.25]);
    for outcome in &outcomes {
        let Err(error @ RowError::Unavailable(reason)) = outcome else {
            panic!("nobody can have answered: {outcome:?}");
        };
        assert!(reason.contains("the licence is taken"), "{reason}");
        assert!(error.is_free());
    }
}
