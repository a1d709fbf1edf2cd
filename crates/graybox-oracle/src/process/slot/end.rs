//! The end of a worker's program, and whom it is blamed on.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::work::{Task, Work};
use super::super::{ProcessConfig, StartError};
use super::{Phase, Slot};
use crate::RowError;
use crate::clock::after;

/// Why a program has to go.
pub(super) enum Fault {
    /// It never came to take rows.
    Start(StartError),
    /// It ended.
    Died,
    /// It did not answer in time.
    Silent,
    /// It wrote something that is not an answer.
    Unreadable(String),
    /// Nobody waits for its answers any more.
    Abandoned,
}

impl Slot {
    /// How long a program that closed its output may take to end.
    const PARTING: Duration = Duration::from_millis(500);
    /// How long a program that was asked to terminate may take.
    const NOTICE: Duration = Duration::from_millis(200);
    /// How long a kill may take before it is not waited for.
    const BURIAL: Duration = Duration::from_secs(3);

    /// Lets its program end, by force if it takes too long, and decides when the next is started.
    pub(super) fn see_off(
        &mut self,
        since: Instant,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) {
        let Some(mut program) = self.program.take() else {
            return;
        };
        program.drain();
        let waited = now.saturating_duration_since(since);
        if !program.has_ended() && waited < Self::BURIAL {
            let patience = match self.phase {
                Phase::Leaving(Fault::Died, _) => Self::PARTING,
                _ => Self::NOTICE,
            };
            if waited >= patience {
                program.signal(Signal::KILL);
            }
            self.program = Some(program);
            return;
        }
        let status = if program.has_ended() {
            program.bury().status
        } else {
            "cannot be killed".to_owned()
        };
        let last_words = program.last_words();
        let phase = std::mem::replace(&mut self.phase, Phase::Down(now));
        let Phase::Leaving(fault, _) = phase else {
            return;
        };
        match fault {
            Fault::Start(error) => self.start_failed(error, now, config),
            Fault::Died if !self.serves => {
                let error = StartError::Died {
                    program: self.shown.clone(),
                    status,
                    last_words,
                };
                self.start_failed(error, now, config);
            }
            Fault::Abandoned => {}
            fault => {
                self.blame(fault, since, &status, &last_words, work, config);
                self.deaths += 1;
                let pause = match self.deaths {
                    1 => Duration::ZERO,
                    n => Duration::from_millis(50 << n.min(5)).min(Duration::from_secs(1)),
                };
                self.phase = Phase::Down(after(now, pause));
            }
        }
    }

    /// Decides what becomes of the rows it held.
    fn blame(
        &mut self,
        fault: Fault,
        since: Instant,
        status: &str,
        last_words: &str,
        work: &mut Work,
        config: &ProcessConfig,
    ) {
        let held = std::mem::take(&mut self.held);
        let mut tasks: Vec<Task> = held.into_iter().flat_map(|request| request.tasks).collect();
        let [task] = &mut tasks[..] else {
            work.suspects.extend(tasks);
            return;
        };
        let program = self.shown.clone();
        let error = match fault {
            Fault::Silent => RowError::TimedOut,
            Fault::Unreadable(why) => RowError::Malformed(format!("`{program}`: {why}")),
            Fault::Died | Fault::Start(_) | Fault::Abandoned => {
                task.deaths += 1;
                task.avoid = Some(self.index);
                if task.deaths <= config.retries {
                    work.suspects.extend(tasks);
                    return;
                }
                let deaths = match task.deaths {
                    1 => String::new(),
                    n => format!(", as {} before it", n - 1),
                };
                RowError::Crashed(format!(
                    "`{program}` ended ({status}) over this row{deaths}{last_words}"
                ))
            }
        };
        let seconds = since.saturating_duration_since(self.clock).as_secs_f64();
        work.answers.push(self.answer(*task, Err(error), seconds));
    }
}
