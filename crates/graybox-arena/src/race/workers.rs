//! Every run in a process of its own.

use std::collections::VecDeque;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use graybox::Stop;

use super::{Entry, Finish, RaceError};

/// Runs entries in up to `jobs` processes at a time and reports each as it ends. Whoever sets `stop` ends the
/// race after the runs that are under way.
///
/// `worker` is the command of a process that reads an [`Entry`] as JSON from its standard input, runs it, and
/// writes the [`Finish`] as JSON to its standard output.
pub fn run_all(
    entries: Vec<Entry>,
    jobs: usize,
    worker: &(dyn Fn() -> Command + Sync),
    stop: &Stop,
    finished: &mut dyn FnMut(&Entry, Result<Finish, RaceError>),
) {
    let waiting = Mutex::new(VecDeque::from(entries));
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if stop.is_set() {
            None
        } else {
            waiting.pop_front()
        }
    };
    let next = &next;
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let send = send.clone();
            scope.spawn(move || {
                while let Some(entry) = next() {
                    let finish = run(worker(), &entry);
                    if send.send((entry, finish)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (entry, finish) in receive {
            finished(&entry, finish);
        }
    });
}

fn run(mut command: Command, entry: &Entry) -> Result<Finish, RaceError> {
    let failed = |reason: String| RaceError::Worker {
        entry: entry.to_string(),
        reason,
    };
    let mut ask = || -> std::io::Result<std::process::Output> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let asked = serde_json::to_vec(entry)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&asked)?;
        }
        child.wait_with_output()
    };
    let output = ask().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, said.trim())));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::Plan;

    fn entries() -> Vec<Entry> {
        let plan = Plan {
            tasks: vec!["asker".into()],
            algorithms: Vec::new(),
            calls: vec![10],
            seeds: vec![1, 2, 3],
            rows: None,
            overrides: Vec::new(),
            references: false,
        };
        plan.entries().unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn every_entry_is_run_and_a_failure_says_why() {
        let mut said = Vec::new();
        run_all(
            entries(),
            2,
            &|| shell("cat > /dev/null; echo no luck >&2; exit 3"),
            &Stop::new(),
            &mut |entry, finish| said.push((entry.config.seed, finish.unwrap_err().to_string())),
        );
        said.sort();
        assert_eq!(said.len(), 3);
        assert!(said[0].1.contains("seed 1") && said[0].1.ends_with("no luck"));
    }

    #[test]
    fn a_stopped_race_starts_nothing() {
        let stop = Stop::new();
        stop.set();
        let mut n_finished = 0;
        let worker = || shell("exit 0");
        run_all(entries(), 1, &worker, &stop, &mut |_, _| n_finished += 1);
        assert_eq!(n_finished, 0);
    }
}
