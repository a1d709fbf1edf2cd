//! One worker's place in the pool: the program that fills it now, the rows it holds, and its clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::{Pipe, Program, Stream};
use super::work::{Task, Work};
use super::{ProcessConfig, StartError};
use crate::clock::after;
use crate::wire::{DESCRIBE, excerpt, write_row, write_rows};
use crate::{Answer, Outcome, Queries};

mod answers;
mod end;

use end::Fault;

/// One line in the hands of a worker.
struct Request {
    id: u64,
    tasks: Vec<Task>,
    /// Whether nothing else may be given before it is answered.
    alone: bool,
    /// When it must be answered even if everything ahead of it took as long as it may.
    due: Instant,
}

/// Where a worker stands.
enum Phase {
    /// No program; the next is started at this time.
    Down(Instant),
    /// A program that must describe itself by this time.
    Starting(Instant),
    /// A program that takes rows.
    Up,
    /// A program on its way out since this time.
    Leaving(Fault, Instant),
    /// No program, and none will be started.
    Aside,
}

/// A worker.
pub(super) struct Slot {
    index: usize,
    command: Vec<String>,
    /// The command as messages show it.
    shown: String,
    phase: Phase,
    program: Option<Program>,
    held: VecDeque<Request>,
    /// When the program began with the line it is at.
    clock: Instant,
    /// The first id the program may have been given.
    first_id: u64,
    /// Whether the program has been found to be an oracle, so that what goes wrong now is about a row.
    serves: bool,
    /// Whether the program has never answered a row.
    fresh: bool,
    failed_starts: u32,
    deaths: u32,
    start_error: Option<StartError>,
}

impl Slot {
    pub(super) fn new(index: usize, config: &ProcessConfig, now: Instant) -> Self {
        let command = config.command_of(index);
        Self {
            index,
            shown: excerpt(command.join(" ").as_bytes(), 200),
            command,
            phase: Phase::Down(now),
            program: None,
            held: VecDeque::new(),
            clock: now,
            first_id: 0,
            serves: false,
            fresh: true,
            failed_starts: 0,
            deaths: 0,
            start_error: None,
        }
    }

    /// Its number among the workers.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    pub(super) fn take_program(&mut self) -> Option<Program> {
        self.program.take()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    pub(super) fn is_aside(&self) -> bool {
        matches!(self.phase, Phase::Aside)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(..))
    }

    /// Whether it has been asked something it has not answered.
    pub(super) fn is_busy(&self) -> bool {
        self.is_up() && !self.held.is_empty()
    }

    /// Whether its first start is still under way.
    pub(super) fn is_first_starting(&self) -> bool {
        self.failed_starts == 0 && !self.is_up()
    }

    /// Why it last failed to start.
    pub(super) fn start_error(&mut self) -> &mut Option<StartError> {
        &mut self.start_error
    }

    /// Lines it holds, if it takes any more while a row that must stay alone is not answered.
    pub(super) fn load(&self) -> Option<usize> {
        let open = self.is_up() && !self.held.iter().any(|request| request.alone);
        open.then_some(self.held.len())
    }

    /// Does what is due: starts a program, gives one up, or sees one off.
    pub(super) fn step(&mut self, now: Instant, work: &mut Work, config: &ProcessConfig) {
        match self.phase {
            Phase::Down(at) if now >= at => self.start(now, work, config),
            Phase::Starting(until) if now >= until => {
                let error = StartError::TimedOut {
                    program: self.shown.clone(),
                    limit: config.start_limit,
                    last_words: self
                        .program
                        .as_ref()
                        .map(Program::last_words)
                        .unwrap_or_default(),
                };
                self.leave(Fault::Start(error), now);
            }
            Phase::Up if self.deadline(config).is_some_and(|at| now >= at) => {
                self.leave(Fault::Silent, now);
            }
            Phase::Leaving(_, since) => self.see_off(since, now, work, config),
            _ => {}
        }
    }

    /// When there will be something due, as far as the clock alone decides.
    pub(super) fn next_step(&self, config: &ProcessConfig) -> Option<Instant> {
        match self.phase {
            Phase::Down(at) | Phase::Starting(at) => Some(at),
            Phase::Up => self.deadline(config),
            Phase::Leaving(..) | Phase::Aside => None,
        }
    }

    /// When the line it is at must be answered.
    fn deadline(&self, config: &ProcessConfig) -> Option<Instant> {
        let current = self.held.front()?;
        let at = after(self.clock, self.patience(config, current.tasks.len()));
        // A program that answers out of order may hold one row for ever while it answers others.
        self.held
            .iter()
            .map(|request| request.due)
            .chain([at])
            .min()
    }

    /// How long a number of rows may take.
    fn patience(&self, config: &ProcessConfig, n: usize) -> Duration {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let limit = config.time_limit.saturating_mul(n);
        if self.fresh && config.dims.is_some() {
            return limit.saturating_add(config.start_limit);
        }
        limit
    }

    fn start(&mut self, now: Instant, work: &mut Work, config: &ProcessConfig) {
        match Program::spawn(&self.command, self.index, config.max_line) {
            Ok(mut program) => {
                self.first_id = work.next_id;
                self.fresh = true;
                self.serves = config.dims.is_some();
                self.phase = if self.serves {
                    Phase::Up
                } else {
                    program.outbox().extend_from_slice(DESCRIBE);
                    program.flush();
                    Phase::Starting(after(now, config.start_limit))
                };
                self.program = Some(program);
            }
            Err(error) => self.start_failed(error.into(), now, config),
        }
    }

    fn start_failed(&mut self, error: StartError, now: Instant, config: &ProcessConfig) {
        self.start_error = Some(error);
        self.failed_starts += 1;
        self.phase = if self.failed_starts >= config.start_attempts {
            Phase::Aside
        } else {
            let pause = Duration::from_millis(100 << self.failed_starts.min(7));
            Phase::Down(after(now, pause))
        };
    }

    /// Hands it rows, as one line.
    pub(super) fn give(
        &mut self,
        tasks: Vec<Task>,
        alone: bool,
        queries: Queries<'_>,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) {
        let Some(program) = &mut self.program else {
            work.queue.extend(tasks);
            return;
        };
        let id = work.next_id;
        work.next_id += 1;
        let x = |task: &Task| queries.x().row(task.row);
        let u = |task: &Task| queries.u().row(task.row);
        match &tasks[..] {
            [task] => write_row(program.outbox(), id, x(task), u(task)),
            _ => write_rows(
                program.outbox(),
                id,
                tasks.iter().map(x),
                tasks.iter().map(u),
            ),
        }
        program.flush();
        if self.held.is_empty() {
            self.clock = now;
        }
        let ahead: usize = self.held.iter().map(|request| request.tasks.len()).sum();
        let due = after(now, self.patience(config, ahead + tasks.len()));
        self.held.push_back(Request {
            id,
            tasks,
            alone,
            due,
        });
    }

    /// Reads or writes a pipe that is ready.
    pub(super) fn tend(
        &mut self,
        pipe: Pipe,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) {
        match (pipe, &mut self.program) {
            (Pipe::Input, Some(program)) => program.flush(),
            (Pipe::LastWords, Some(program)) => {
                program.read_last_words();
            }
            _ => {
                self.receive(now, work, config);
            }
        }
    }

    /// Puts the rows it holds back among those that wait, and ends the program that is at work on them.
    pub(super) fn abandon(&mut self, now: Instant, work: &mut Work) {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return;
        }
        let tasks = held.into_iter().flat_map(|request| request.tasks);
        work.queue.extend(tasks);
        if !self.is_leaving() {
            self.leave(Fault::Abandoned, now);
        }
    }

    /// Takes no more from a program that has ended or must.
    fn leave(&mut self, fault: Fault, now: Instant) {
        if let Some(program) = &mut self.program {
            program.close_input();
            if !matches!(fault, Fault::Died) {
                // The polite signal first: `srun` passes it on to the task it stands for, a kill it cannot.
                program.signal(Signal::TERM);
            }
        }
        self.phase = Phase::Leaving(fault, now);
    }

    /// Notices that its program has ended though something it started keeps its output open.
    pub(super) fn check_alive(&mut self, now: Instant, work: &mut Work, config: &ProcessConfig) {
        let ended = |slot: &Self| slot.program.as_ref().is_some_and(Program::has_ended);
        if !self.is_leaving() && ended(self) {
            while self.receive(now, work, config) == Stream::Flows {}
            if !self.is_leaving() {
                self.leave(Fault::Died, now);
            }
        }
    }

    fn answer(&self, task: Task, outcome: Outcome, seconds: f64) -> Answer {
        Answer {
            row: task.row,
            outcome,
            worker: Some(self.index),
            seconds: Some(seconds),
        }
    }
}
