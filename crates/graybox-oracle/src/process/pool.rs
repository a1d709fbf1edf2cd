//! Many workers behind one queue, driven by the thread that asks.
//!
//! There is no thread behind the pool: whoever evaluates writes and reads all pipes himself, waiting in one
//! `poll`. A row thus costs one write, one `poll` and one read, and no hand-over between threads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::{Pipe, Program, Stream, end_all};
use super::slot::Slot;
use super::work::{Task, Work};
use super::{ProcessConfig, StartError};
use crate::{Answer, Description, Queries, RowError};

pub(super) struct Pool {
    config: ProcessConfig,
    slots: Vec<Slot>,
    work: Work,
    now: Instant,
    /// When it was last checked that the programs live.
    checked: Instant,
    /// Flags of those who may end the waiting.
    stops: Vec<Arc<AtomicBool>>,
    /// When one of them was first seen to be set.
    stopped: Option<Instant>,
}

impl Pool {
    /// How often programs are checked to live, beyond what their pipes tell.
    const CHECK: Duration = Duration::from_millis(250);
    /// How often programs on their way out are looked after.
    const FAREWELL: Duration = Duration::from_millis(2);

    /// Starts the workers of these numbers and waits for the first to be ready.
    pub(super) fn start(
        config: ProcessConfig,
        workers: Range<usize>,
    ) -> Result<(Self, Description), StartError> {
        let now = Instant::now();
        let slots = workers.map(|index| Slot::new(index, &config, now));
        let known = config.dims.map(|dims| {
            let name = config.command.first().cloned().unwrap_or_default();
            Description::of_sizes(name, dims)
        });
        let mut pool = Self {
            slots: slots.collect(),
            work: Work {
                queue: VecDeque::new(),
                suspects: VecDeque::new(),
                answers: Vec::new(),
                batch: config.batch,
                takes_lists: false,
                dims: config.dims,
                description: known,
                // Id 0 is the handshake's.
                next_id: 1,
            },
            config,
            now,
            checked: now,
            stops: Vec::new(),
            stopped: None,
        };
        while !pool.slots.iter().any(Slot::is_up) {
            if !pool.slots.iter().any(Slot::is_first_starting) {
                let mut errors = pool
                    .slots
                    .iter_mut()
                    .filter_map(|slot| slot.start_error().take());
                let none = || StartError::Config("there are no workers".into());
                return Err(errors.next().unwrap_or_else(none));
            }
            pool.turn(None);
        }
        let description = pool.work.description.clone().unwrap_or_default();
        Ok((pool, description))
    }

    /// Listens to this flag as well.
    pub(super) fn stop_at(&mut self, flag: Arc<AtomicBool>) {
        self.stops.push(flag);
    }

    /// Has every row answered, and tells of each answer when it is there.
    pub(super) fn evaluate(&mut self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        let mut left = queries.len();
        self.catch_up();
        for (row, (x, u)) in queries.iter().enumerate() {
            if x.iter().chain(u).all(|value| value.is_finite()) {
                self.work.queue.push_back(Task {
                    row,
                    deaths: 0,
                    avoid: None,
                });
            } else {
                // JSON has no word for it, so there is no way to ask.
                self.work
                    .answers
                    .push(Answer::new(row, Err(RowError::Invalid)));
            }
        }
        loop {
            left -= self.work.answers.len();
            self.work.answers.drain(..).for_each(&mut *tell);
            if left == 0 {
                break;
            }
            if self.is_out_of_time() {
                self.cancel();
            } else if self.slots.iter().all(Slot::is_aside) {
                self.give_up();
            } else {
                self.turn(Some(queries));
            }
        }
    }

    /// Whether somebody asked to stop, and rows have been waited for long enough since.
    fn is_out_of_time(&mut self) -> bool {
        if !self.stops.iter().any(|stop| stop.load(Ordering::Relaxed)) {
            self.stopped = None;
            return false;
        }
        let since = *self.stopped.get_or_insert(self.now);
        self.now.saturating_duration_since(since) >= self.config.grace
    }

    /// Fails all rows without an answer, since nobody waits for them any more.
    fn cancel(&mut self) {
        for slot in &mut self.slots {
            slot.abandon(self.now, &mut self.work);
        }
        self.fail_waiting(&RowError::Cancelled);
    }

    /// Fails all rows that wait, since nobody is left to ask.
    fn give_up(&mut self) {
        let mut reasons = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.start_error().as_ref());
        let reason = reasons.next().map(ToString::to_string).unwrap_or_default();
        let error = RowError::Unavailable(format!("no worker starts any more: {reason}"));
        self.fail_waiting(&error);
    }

    fn fail_waiting(&mut self, error: &RowError) {
        let tasks = self
            .work
            .queue
            .drain(..)
            .chain(self.work.suspects.drain(..));
        self.work
            .answers
            .extend(tasks.map(|task| Answer::new(task.row, Err(error.clone()))));
    }

    /// Sees what happened while nobody asked, so that no row is given to a program that died meanwhile.
    fn catch_up(&mut self) {
        let idle_since = std::mem::replace(&mut self.now, Instant::now());
        if self.now.saturating_duration_since(idle_since) > Self::FAREWELL {
            self.tend(Duration::ZERO);
        }
    }

    /// Hands out rows, waits until something happens, and does what is due.
    fn turn(&mut self, queries: Option<Queries<'_>>) {
        if let Some(queries) = queries {
            self.hand_out_suspects(queries);
            self.hand_out(queries);
        }
        self.tend(self.patience());
        for slot in &mut self.slots {
            slot.step(self.now, &mut self.work, &self.config);
        }
    }

    /// Gives each row that must be alone to a worker that holds nothing, and not to the one that died over it
    /// unless it is the only one.
    fn hand_out_suspects(&mut self, queries: Queries<'_>) {
        for _ in 0..self.work.suspects.len() {
            let Some(task) = self.work.suspects.pop_front() else {
                return;
            };
            let others = |avoid: usize| {
                let mut slots = self.slots.iter();
                slots.any(|slot| slot.index() != avoid && !slot.is_aside())
            };
            let avoid = task.avoid.filter(|&avoid| others(avoid));
            let mut slots = self.slots.iter_mut();
            let free = slots.find(|slot| slot.load() == Some(0) && avoid != Some(slot.index()));
            match free {
                Some(slot) => {
                    slot.give(
                        vec![task],
                        true,
                        queries,
                        self.now,
                        &mut self.work,
                        &self.config,
                    );
                }
                None => self.work.suspects.push_back(task),
            }
        }
    }

    /// Gives the rows at the front of the queue to the workers that hold the fewest lines.
    fn hand_out(&mut self, queries: Queries<'_>) {
        // While rows wait to be alone, workers are let run empty for them.
        let window = if self.work.suspects.is_empty() {
            self.config.window
        } else {
            1
        };
        while !self.work.queue.is_empty() {
            let up = self.slots.iter().filter(|slot| slot.is_up()).count().max(1);
            let loads = self
                .slots
                .iter_mut()
                .filter_map(|slot| Some((slot.load()?, slot)));
            let Some((_, slot)) = loads
                .filter(|(load, _)| *load < window)
                .min_by_key(|(load, _)| *load)
            else {
                return;
            };
            // The last rows are shared out rather than all given to one.
            let n = self.work.queue.len().div_ceil(up).min(self.work.batch);
            let tasks = self.work.queue.drain(..n).collect();
            slot.give(
                tasks,
                false,
                queries,
                self.now,
                &mut self.work,
                &self.config,
            );
        }
    }

    /// How long there is nothing to do unless a program stirs.
    fn patience(&self) -> Duration {
        let mut patience = Self::CHECK;
        for slot in &self.slots {
            if let Some(at) = slot.next_step(&self.config) {
                patience = patience.min(at.saturating_duration_since(self.now));
            }
            if slot.is_leaving() {
                patience = patience.min(Self::FAREWELL);
            }
        }
        patience
    }

    /// Waits for the programs' pipes, reads and writes what can be, and notes the time.
    fn tend(&mut self, patience: Duration) {
        if !self.read_ahead() {
            self.wait(patience);
        }
        if self.now.saturating_duration_since(self.checked) >= Self::CHECK {
            self.checked = self.now;
            for slot in &mut self.slots {
                slot.check_alive(self.now, &mut self.work, &self.config);
            }
        }
    }

    /// Reads from the only worker without waiting for it first: a quick one on the same core has answered by
    /// now, which saves a `poll`. Whatever else its pipes hold is seen as soon as it has no answer ready.
    fn read_ahead(&mut self) -> bool {
        let [slot] = &mut self.slots[..] else {
            return false;
        };
        self.now = Instant::now();
        slot.is_busy() && slot.receive(self.now, &mut self.work, &self.config) == Stream::Flows
    }

    fn wait(&mut self, patience: Duration) {
        let pipes = 3 * self.slots.len();
        let mut owners = Vec::with_capacity(pipes);
        let mut fds = Vec::with_capacity(pipes);
        for (index, slot) in self.slots.iter().enumerate() {
            for (pipe, fd) in slot.program().into_iter().flat_map(Program::pipes) {
                let flags = match pipe {
                    Pipe::Input => PollFlags::OUT,
                    Pipe::Output | Pipe::LastWords => PollFlags::IN,
                };
                owners.push((index, pipe));
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        let timeout = Timespec::try_from(patience).ok();
        let n = poll(&mut fds, timeout.as_ref()).unwrap_or(0);
        let ready = fds.iter().map(|fd| n > 0 && !fd.revents().is_empty());
        let ready: Vec<bool> = ready.collect();
        self.now = Instant::now();
        for ((index, pipe), _) in owners.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            self.slots[index].tend(pipe, self.now, &mut self.work, &self.config);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut programs: Vec<Program> = self
            .slots
            .iter_mut()
            .filter_map(Slot::take_program)
            .collect();
        end_all(programs.iter_mut());
    }
}
