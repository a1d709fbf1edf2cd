//! Programs as oracles, among them all kinds that misbehave. Linux only: what is left behind is looked up in /proc.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use graybox_oracle::{
    Dims, Oracle, Outcome, ProcessConfig, ProcessOracle, Queries, RowError, Rows, Sample,
    SampleError, SpawnError, StartError,
};

fn oracles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/oracles")
}

fn python(program: &str) -> Vec<String> {
    static CHECK: Once = Once::new();
    CHECK.call_once(|| {
        let python = Command::new("python3").arg("--version").output();
        assert!(
            python.is_ok_and(|output| output.status.success()),
            "these tests run small Python programs: put python3 (3.8 or later) on the PATH, \
             as with `apt-get install python3`"
        );
    });
    let path = oracles().join(program);
    // -S: without the site packages, which are not needed and take half of the start.
    vec!["python3".into(), "-S".into(), path.display().to_string()]
}

/// The misbehaving program in one of its modes.
fn misbehaving(mode: &str) -> ProcessConfig {
    let mut command = python("misbehave.py");
    command.push(mode.into());
    ProcessConfig::new(command)
}

fn misbehaving_with(mode: &str, argument: impl AsRef<Path>) -> ProcessConfig {
    let mut config = misbehaving(mode);
    config.command.push(argument.as_ref().display().to_string());
    config
}

fn ask(oracle: &ProcessOracle, x: &[f64], u: &[f64]) -> Vec<Outcome> {
    let x = Rows::from_vec(1, x.to_vec()).unwrap();
    let u = Rows::from_vec(1, u.to_vec()).unwrap();
    oracle.evaluate(Queries::new(&x, &u).unwrap())
}

fn ask_u(oracle: &ProcessOracle, u: &[f64]) -> Vec<Outcome> {
    ask(oracle, &vec![2.0; u.len()], u)
}

/// What the program should answer at x = 2.
#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with outcomes, which are results"
)]
fn truth(u: f64) -> Outcome {
    Ok(vec![2.0 + u, 2.0 * u])
}

fn start_error(config: ProcessConfig) -> StartError {
    match ProcessOracle::start(config) {
        Ok(_) => panic!("this program should not start"),
        Err(error) => error,
    }
}

fn assert_malformed(outcome: &Outcome, reason: &str) {
    match outcome {
        Err(RowError::Malformed(found)) if found.contains(reason) => {}
        other => panic!("expected a malformed answer because of `{reason}`, found {other:?}"),
    }
}

fn assert_crashed(outcome: &Outcome, reason: &str) {
    match outcome {
        Err(RowError::Crashed(found)) if found.contains(reason) => {}
        other => panic!("expected a crash with `{reason}`, found {other:?}"),
    }
}

/// Whether a process runs; one that only waits to be buried by its parent does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

fn assert_all_die(pids: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    for pid in pids.lines() {
        while lives(pid) {
            assert!(Instant::now() < until, "process {pid} was left behind");
            std::thread::yield_now();
        }
    }
}

// What cannot be started.

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = start_error(ProcessConfig::new(["no-such-solver", "--fast"]));
    assert!(
        matches!(&error, StartError::Spawn(SpawnError::NotFound(name)) if name == "no-such-solver")
    );
    assert!(
        error
            .to_string()
            .contains("there is no program `no-such-solver`")
    );
    assert!(matches!(
        start_error(ProcessConfig::new([] as [&str; 0])),
        StartError::Spawn(SpawnError::NoCommand)
    ));
}

#[test]
fn a_missing_interpreter_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("solver.py");
    fs::write(&script, "#!/opt/python9/bin/python9 -u\n").unwrap();
    let start = || start_error(ProcessConfig::new([script.display().to_string()]));

    let error = start();
    assert!(
        matches!(error, StartError::Spawn(SpawnError::NotExecutable(_))),
        "{error}"
    );

    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = start();
    let StartError::Spawn(SpawnError::NoInterpreter { interpreter, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!(interpreter, "/opt/python9/bin/python9");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for config in [
        ProcessConfig {
            workers: 0,
            ..misbehaving("good")
        },
        ProcessConfig {
            window: 0,
            ..misbehaving("good")
        },
        ProcessConfig {
            batch: 0,
            ..misbehaving("good")
        },
        ProcessConfig {
            time_limit: Duration::ZERO,
            ..misbehaving("good")
        },
        ProcessConfig {
            dims: Some(Dims::new(1, 0, 1)),
            ..misbehaving("good")
        },
    ] {
        assert!(matches!(start_error(config), StartError::Config(_)));
    }
    let minus = r#"{"command": ["a"], "time_limit": -1}"#;
    assert!(serde_json::from_str::<ProcessConfig>(minus).is_err());
    let misspelt = r#"{"command": ["a"], "timelimit": 1}"#;
    assert!(serde_json::from_str::<ProcessConfig>(misspelt).is_err());
}

#[test]
fn a_program_that_dies_at_start_is_quoted() {
    let error = start_error(misbehaving("dies-at-start"));
    let StartError::Died {
        status, last_words, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(status, "exit status: 3");
    assert_eq!(
        last_words,
        "; its last words: loading the mesh | cannot open mesh.dat"
    );
}

#[test]
fn a_program_that_prints_something_else_is_quoted() {
    let error = start_error(misbehaving("prints-at-start"));
    assert!(
        matches!(&error, StartError::Garbage { line, .. } if line == "Solver 4.2, all rights reserved"),
        "{error}"
    );
    let error = start_error(misbehaving("endless-at-start"));
    assert!(
        matches!(&error, StartError::Garbage { line, .. } if line.starts_with("more than ")),
        "{error}"
    );
}

#[test]
fn a_description_without_sizes_is_refused() {
    for mode in ["describes-badly", "describes-wrongly"] {
        let error = start_error(misbehaving(mode));
        assert!(
            matches!(error, StartError::BadDescription { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_program_that_cannot_describe_itself_needs_sizes() {
    let error = start_error(misbehaving("undescribed"));
    assert!(
        matches!(&error, StartError::Undescribed { reason, .. } if reason == "KeyError: 'x'"),
        "{error}"
    );
    let sized = ProcessConfig {
        dims: Some(Dims::new(1, 1, 2)),
        ..misbehaving("undescribed")
    };
    let oracle = ProcessOracle::start(sized).unwrap();
    assert_eq!(oracle.dims(), Dims::new(1, 1, 2));
    assert_eq!(oracle.description().y[1].name, "y1");
    assert_eq!(ask_u(&oracle, &[0.5]), [truth(0.5)]);
}

#[test]
fn a_program_that_hangs_at_start_is_given_up() {
    let limit = Duration::from_millis(2500);
    let error = start_error(ProcessConfig {
        start_limit: limit,
        ..misbehaving("hangs-at-start")
    });
    let StartError::TimedOut { last_words, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(last_words, "; its last words: waiting for a licence");
}

#[test]
fn one_worker_that_starts_is_enough() {
    let oracle = ProcessOracle::start(ProcessConfig {
        workers: 2,
        ..misbehaving("only-worker-1")
    })
    .unwrap();
    let u = [0.0, 0.25, 0.5, 0.75];
    assert_eq!(ask_u(&oracle, &u), u.map(truth));
}

// What answers.

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

// What takes lists of rows, and what does not.

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

// What goes wrong with a row.

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

/// Processes started by another with a word in their command.
fn children(parent: u32, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        let parent = format!("\nPPid:\t{parent}\n");
        if read("status").contains(&parent) && read("cmdline").contains(word) {
            found.push(process.file_name().into_string().unwrap());
        }
    }
    found
}

// Nothing is left behind.

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

// When somebody asks to stop.

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

// Data that programs make.

#[test]
fn a_sample_is_what_the_program_says() {
    let lens = ProcessConfig::new(python("lens.py"));
    let dims = Dims::new(2, 1, 1);
    let sample = Sample::from_program(&lens, dims, 20, 7).unwrap();
    assert_eq!((sample.x.len(), sample.target.len()), (20, 20));
    let oracle = ProcessOracle::start(lens.clone()).unwrap();
    let feasible = sample.feasible.unwrap();
    let outcomes = oracle.evaluate(Queries::new(&sample.x, &feasible).unwrap());
    for (outcome, target) in outcomes.iter().zip(sample.target.iter()) {
        assert_eq!(outcome.as_deref(), Ok(target));
    }

    let other = Sample::from_program(&lens, Dims::new(3, 1, 1), 20, 7).unwrap_err();
    assert_eq!(
        other.to_string(),
        "line 1 of the sample: `x`: row has 2 values, expected 3"
    );
}

#[test]
fn a_program_without_samples_says_so() {
    let dims = Dims::new(1, 1, 2);
    let error = Sample::from_program(&misbehaving("dies-at-start"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(&error, SampleError::Died { last_words, .. } if last_words.contains("mesh.dat")),
        "{error}"
    );
    let error = Sample::from_program(&misbehaving("prints-at-start"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::Line { line: 1, .. }),
        "{error}"
    );
    let error = Sample::from_program(&misbehaving("good"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::Count { found: 0, asked: 5 }),
        "{error}"
    );
    let mut silent = misbehaving("hangs-at-start");
    silent.start_limit = Duration::from_millis(200);
    silent.time_limit = Duration::from_millis(100);
    let error = Sample::from_program(&silent, dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::TimedOut { line: 0, .. }),
        "{error}"
    );
}
