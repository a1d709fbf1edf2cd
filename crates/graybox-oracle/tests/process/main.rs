//! Programs as oracles, among them all kinds that misbehave. Linux only: what is left behind is looked up in /proc.

#![cfg(target_os = "linux")]

mod answers;
mod end;
mod faults;
mod lanes;
mod sample;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use graybox_oracle::{
    Oracle, Outcome, ProcessConfig, ProcessOracle, Queries, RowError, Rows, StartError,
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
