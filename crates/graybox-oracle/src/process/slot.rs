//! One worker's place in the pool: the program that fills it now, the rows it holds, and its clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::{Pipe, Program, Stream};
use super::{ProcessConfig, StartError};
use crate::clock::after;
use crate::wire::{DESCRIBE, Reply, ReplyId, excerpt, write_row, write_rows};
use crate::{Answer, Description, Dims, Outcome, Queries, RowError};

/// One row on its way to an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Its place among the rows asked.
    pub(super) row: usize,
    /// How many workers died over it while they held nothing else.
    pub(super) deaths: u32,
    /// The worker that died over it last.
    pub(super) avoid: Option<usize>,
}

/// What the workers share: the rows to be asked, and the answers.
#[derive(Debug)]
pub(super) struct Work {
    /// Rows not yet asked.
    pub(super) queue: VecDeque<Task>,
    /// Rows that were in doubtful company and are asked again alone.
    pub(super) suspects: VecDeque<Task>,
    /// Rows and what came of them.
    pub(super) answers: Vec<Answer>,
    /// Rows to a line. Falls to one if the first list of rows is refused.
    pub(super) batch: usize,
    /// Whether a list of rows has ever been answered.
    pub(super) takes_lists: bool,
    /// The sizes, once known.
    pub(super) dims: Option<Dims>,
    /// What the first worker said of itself.
    pub(super) description: Option<Description>,
    pub(super) next_id: u64,
}

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
pub(super) enum Phase {
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
    /// How long a program that closed its output may take to end.
    const PARTING: Duration = Duration::from_millis(500);
    /// How long a program that was asked to terminate may take.
    const NOTICE: Duration = Duration::from_millis(200);
    /// How long a kill may take before it is not waited for.
    const BURIAL: Duration = Duration::from_secs(3);

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

    /// Reads what its program has written, once.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) -> Stream {
        let Some(mut program) = self.program.take() else {
            return Stream::Closed;
        };
        let (stream, fault) = if self.is_leaving() {
            program.drain();
            (Stream::Waits, None)
        } else {
            let stream = program.read_output();
            let fault = self.read_lines(&mut program, now, work, config);
            let died = (stream == Stream::Closed).then_some(Fault::Died);
            (stream, fault.or(died))
        };
        self.program = Some(program);
        if let Some(fault) = fault {
            self.leave(fault, now);
        }
        stream
    }

    fn read_lines(
        &mut self,
        program: &mut Program,
        now: Instant,
        work: &mut Work,
        config: &ProcessConfig,
    ) -> Option<Fault> {
        let mut scratch = Vec::new();
        while let Some(line) = program.lines().next() {
            let starting = matches!(self.phase, Phase::Starting(_));
            let read = match line {
                Ok(line) if starting => self.read_description(line, work),
                Ok(line) => self.read_answer(line, &mut scratch, now, work),
                Err(_) if starting => Err(Fault::Start(StartError::Garbage {
                    program: self.shown.clone(),
                    line: format!("more than {} bytes without a line end", config.max_line),
                })),
                Err(_) => Err(Fault::Unreadable(format!(
                    "it wrote a line of more than {} bytes (max_line)",
                    config.max_line
                ))),
            };
            if let Err(fault) = read {
                return Some(fault);
            }
        }
        None
    }

    fn read_description(&mut self, line: &[u8], work: &mut Work) -> Result<(), Fault> {
        let program = self.shown.clone();
        let mut scratch = Vec::new();
        let Ok(reply) = Reply::parse(line, &mut scratch) else {
            let line = excerpt(line, 120);
            return Err(Fault::Start(StartError::Garbage { program, line }));
        };
        let Some(json) = reply.describe() else {
            let line = excerpt(line, 120);
            return Err(Fault::Start(match reply.error() {
                Some(reason) => StartError::Undescribed { program, reason },
                None => StartError::BadDescription {
                    program,
                    reason: format!("`{line}` has no `describe`"),
                },
            }));
        };
        let description = Description::from_json(json)
            .map_err(|reason| Fault::Start(StartError::BadDescription { program, reason }))?;
        let found = description.dims();
        match work.dims {
            Some(expected) if expected != found => {
                return Err(Fault::Start(StartError::OtherSizes {
                    program: self.shown.clone(),
                    found,
                    expected,
                }));
            }
            _ => work.dims = Some(found),
        }
        if let Some(most) = description.batch {
            work.batch = work.batch.min(most);
        }
        work.description.get_or_insert(description);
        self.failed_starts = 0;
        self.serves = true;
        self.phase = Phase::Up;
        Ok(())
    }

    fn read_answer(
        &mut self,
        line: &[u8],
        scratch: &mut Vec<u8>,
        now: Instant,
        work: &mut Work,
    ) -> Result<(), Fault> {
        let unreadable = |why: &str| {
            Err(Fault::Unreadable(format!(
                "it wrote `{}`: {why}",
                excerpt(line, 120)
            )))
        };
        let reply = match Reply::parse(line, scratch) {
            Ok(reply) => reply,
            Err(why) => return unreadable(&why),
        };
        let id = match reply.id {
            ReplyId::Number(id) => id,
            ReplyId::Missing => return unreadable("there is no id, so it answers nothing"),
            ReplyId::Strange => return unreadable("the id must be that of the request"),
        };
        let Some(at) = self.held.iter().position(|request| request.id == id) else {
            if (self.first_id..work.next_id).contains(&id) {
                // A second answer to the same request changes nothing.
                return Ok(());
            }
            return unreadable("no request had this id");
        };
        let d_y = work.dims.map_or(0, |dims| dims.y);
        let request = self.held.remove(at);
        let tasks = request.map(|request| request.tasks).unwrap_or_default();
        let spent = now.saturating_duration_since(self.clock).as_secs_f64();
        let seconds = spent / tasks.len().max(1) as f64;
        self.clock = now;
        self.fresh = false;
        self.deaths = 0;
        if let [task] = tasks[..] {
            work.answers
                .push(self.answer(task, reply.row(d_y), seconds));
            return Ok(());
        }
        if let Ok(outcomes) = reply.rows(tasks.len(), d_y) {
            work.takes_lists = true;
            let answers = tasks.iter().zip(outcomes);
            work.answers
                .extend(answers.map(|(task, outcome)| self.answer(*task, outcome, seconds)));
        } else {
            // It may be the list it cannot take, or one row in it: asked one by one, they will tell.
            if !work.takes_lists {
                work.batch = 1;
            }
            work.suspects.extend(tasks);
        }
        Ok(())
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

    fn see_off(&mut self, since: Instant, now: Instant, work: &mut Work, config: &ProcessConfig) {
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

    fn answer(&self, task: Task, outcome: Outcome, seconds: f64) -> Answer {
        Answer {
            row: task.row,
            outcome,
            worker: Some(self.index),
            seconds: Some(seconds),
        }
    }
}
