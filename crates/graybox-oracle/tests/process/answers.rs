//! What answers, one row at a time or in lists.

use std::fs;

use graybox_oracle::{Outcome, ProcessConfig, ProcessOracle, RowError};

use crate::{ask, ask_u, misbehaving, misbehaving_with, truth};

#[test]
fn a_program_is_as_good_as_a_closure() {
    let n = 5000;
    let x: Vec<f64> = (0..n).map(|row| (f64::from(row) + 0.1) / 3.0).collect();
    let u: Vec<f64> = (0..n).map(|row| f64::from(row).sqrt() / 100.0).collect();
    let expected: Vec<Outcome> = (x.iter().zip(&u))
        .map(|(x, u)| Ok(vec![x + u, x * u]))
        .collect();
    // The last has lines longer than a pipe holds, in both directions.
    for (workers, window, batch) in [(1, 1, 1), (2, 3, 7), (1, 2, 2500)] {
        let oracle = ProcessOracle::start(ProcessConfig {
            workers,
            window,
            batch,
            ..misbehaving("good")
        })
        .unwrap();
        assert_eq!(ask(&oracle, &x, &u), expected);
        assert_eq!(ask_u(&oracle, &[]), []);
    }
}

#[test]
fn what_json_cannot_say_is_not_asked() {
    let oracle = ProcessOracle::start(misbehaving("good")).unwrap();
    assert_eq!(
        ask_u(&oracle, &[f64::NAN, 0.5, f64::INFINITY]),
        [Err(RowError::Invalid), truth(0.5), Err(RowError::Invalid)]
    );
}

#[test]
fn a_failed_row_keeps_its_reason() {
    let failed = Err(RowError::Failed("did not converge".into()));
    let u = [0.5, -0.5, 0.25];
    for batch in [1, 3] {
        let config = ProcessConfig {
            batch,
            ..misbehaving("fails")
        };
        let oracle = ProcessOracle::start(config).unwrap();
        assert_eq!(
            ask_u(&oracle, &u),
            [truth(0.5), failed.clone(), truth(0.25)]
        );
    }
}

#[test]
fn answers_may_come_in_any_order() {
    let config = ProcessConfig {
        window: 4,
        ..misbehaving_with("shuffled", "4")
    };
    let oracle = ProcessOracle::start(config).unwrap();
    let u = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

#[test]
fn a_flood_on_standard_error_blocks_nothing() {
    let oracle = ProcessOracle::start(misbehaving("flood")).unwrap();
    let u = [0.0, 0.25, 0.5];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

#[test]
fn threads_may_ask_at_once() {
    let oracle = ProcessOracle::start(misbehaving("good")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let oracle = &oracle;
            scope.spawn(move || {
                let u = [0.1, 0.2, 0.3].map(|u| u + f64::from(thread));
                assert_eq!(ask_u(oracle, &u), u.map(truth));
            });
        }
    });
}

#[test]
fn a_program_that_takes_lists_gets_lists() {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let config = ProcessConfig {
        batch: 4,
        ..misbehaving_with("counts", &counts)
    };
    let oracle = ProcessOracle::start(config).unwrap();
    let u = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
    assert_eq!(fs::read_to_string(&counts).unwrap(), "4\n2\n");
}

#[test]
fn a_program_that_takes_single_rows_gets_single_rows() {
    let u = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
    for mode in ["rowwise", "single", "short"] {
        let config = ProcessConfig {
            batch: 4,
            window: 2,
            ..misbehaving(mode)
        };
        let oracle = ProcessOracle::start(config).unwrap();
        assert_eq!(ask_u(&oracle, &u), u.map(truth), "{mode}");
    }
}
