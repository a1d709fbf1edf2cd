//! What cannot be started, and what can all the same.

use std::fs;
use std::time::Duration;

use graybox_oracle::{Dims, Oracle, ProcessConfig, ProcessOracle, SpawnError, StartError};

use crate::{ask_u, misbehaving, start_error, truth};

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
