//! Workers side by side, each with rows of its own.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use graybox_oracle::{
    Budget, Dims, Lanes, Metered, Oracle, Outcome, ProcessConfig, ProcessOracle, Queries, RowError,
    Rows, StartError,
};

use crate::{assert_all_die, assert_crashed, misbehaving, misbehaving_with, truth};

fn start(config: &ProcessConfig) -> Result<Lanes, StartError> {
    let (lanes, description) = ProcessOracle::start_lanes(config, &Arc::default())?;
    assert_eq!(description.dims(), Dims::new(1, 1, 2));
    Ok(lanes)
}

fn ask(oracle: &dyn Oracle, u: &[f64]) -> Vec<Outcome> {
    let x = Rows::from_vec(1, vec![2.0; u.len()]).unwrap();
    let u = Rows::from_vec(1, u.to_vec()).unwrap();
    oracle.evaluate(Queries::new(&x, &u).unwrap())
}

#[test]
fn workers_that_do_not_start_have_no_lane_unless_none_does() {
    for (mode, lanes) in [("only-worker-1", 1), ("other-sizes", 1), ("fine", 3)] {
        let config = ProcessConfig {
            workers: 3,
            start_attempts: 1,
            ..misbehaving(mode)
        };
        let started = start(&config).unwrap();
        assert_eq!(started.count(), lanes, "{mode}");
        assert_eq!(
            ask(&started, &[0.5, 0.25]),
            [0.5, 0.25].map(truth),
            "{mode}"
        );
    }
    let config = ProcessConfig {
        start_attempts: 1,
        ..misbehaving("dies-at-start")
    };
    let error = start(&config).err().unwrap().to_string();
    assert!(error.contains("cannot open mesh.dat"), "{error}");
}

#[test]
fn a_row_that_kills_its_worker_fails_and_the_others_stand() {
    let config = ProcessConfig {
        workers: 2,
        retries: 1,
        ..misbehaving("dies")
    };
    let outcomes = ask(&start(&config).unwrap(), &[0.5, -0.5, 0.25]);
    assert_eq!([&outcomes[0], &outcomes[2]], [&truth(0.5), &truth(0.25)]);
    assert_crashed(&outcomes[1], "Segmentation fault");
}

/// A meter on two workers, with a row on its way that never ends.
fn hanging(stop: &Arc<AtomicBool>) -> (tempfile::TempDir, Metered) {
    let folder = tempfile::tempdir().unwrap();
    let config = ProcessConfig {
        workers: 2,
        grace: Duration::from_millis(50),
        ..misbehaving_with("stubborn", folder.path().join("pids"))
    };
    let (lanes, _) = ProcessOracle::start_lanes(&config, stop).unwrap();
    let mut metered = Metered::new(lanes, Budget::new(9).unwrap());
    let (x, u) = ([2.0, 2.0], [-0.5, 0.5]);
    let [x, u] = [x, u].map(|values| Rows::from_vec(1, values.to_vec()).unwrap());
    metered.post(Queries::new(&x, &u).unwrap()).unwrap();
    let quick = metered.collect().unwrap().remove(0);
    assert_eq!((quick.position, quick.outcome), (1, truth(0.5)));
    (folder, metered)
}

#[test]
fn what_is_on_its_way_when_the_meter_is_dropped_ends_with_it() {
    let (folder, metered) = hanging(&Arc::default());
    drop(metered);
    assert_all_die(&fs::read_to_string(folder.path().join("pids")).unwrap());
}

#[test]
fn what_is_on_its_way_when_somebody_stops_the_run_is_not_charged() {
    let stop = Arc::default();
    let (_folder, mut metered) = hanging(&stop);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(metered.collect(), Ok(Vec::new()));
    assert_eq!(metered.turned_back(), Some(&RowError::Cancelled));
    assert_eq!((metered.calls(), metered.on_their_way()), (1, 0));
}
