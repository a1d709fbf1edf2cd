//! The rows of one call: which of them wait, which server each goes to, and what becomes of it there.
//!
//! Every call has a queue of its own, so that threads may ask at once. What a call has found out about the servers
//! ends with it as well: one that was given up may have been mended since.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::UmBridgeOracle;
use super::health::Health;
use super::send::Sent;
use crate::{Answer, Outcome, Queries, RowError, Rows};

/// What is asked of every row.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Outcome,
    /// These sensitivities of the outcome as sensitivities of the action.
    PullBack(&'a Rows),
}

/// One call under way.
pub(super) struct Queue<'a> {
    oracle: &'a UmBridgeOracle,
    queries: Queries<'a>,
    ask: Ask<'a>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the connections share.
struct State {
    waiting: VecDeque<Task>,
    /// Rows without an answer, waiting or on their way.
    left: usize,
    health: Vec<Health>,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    row: usize,
    deaths: u32,
    /// The server that died over it last.
    avoid: Option<usize>,
}

impl Queue<'_> {
    /// Asks for something of every row, and tells of each answer when it is there.
    pub(super) fn run(
        oracle: &UmBridgeOracle,
        queries: Queries<'_>,
        ask: Ask<'_>,
        tell: &mut dyn FnMut(Answer),
    ) {
        let mut tasks = VecDeque::with_capacity(queries.len());
        for (row, (x, u)) in queries.iter().enumerate() {
            let sens = match ask {
                Ask::Outcome => &[][..],
                Ask::PullBack(sensitivities) => sensitivities.row(row),
            };
            if x.iter().chain(u).chain(sens).all(|value| value.is_finite()) {
                tasks.push_back(Task {
                    row,
                    deaths: 0,
                    avoid: None,
                });
            } else {
                // JSON has no word for it, so there is no way to ask.
                tell(Answer::new(row, Err(RowError::Invalid)));
            }
        }
        let connections = oracle.agents.len().min(tasks.len());
        let queue = Queue {
            oracle,
            queries,
            ask,
            state: Mutex::new(State {
                left: tasks.len(),
                waiting: tasks,
                health: vec![Health::default(); oracle.sites.len()],
            }),
            changed: Condvar::new(),
        };
        let (answers, told) = channel();
        let first = oracle.turn.fetch_add(connections, Ordering::Relaxed);
        thread::scope(|scope| {
            for nth in 0..connections {
                let connection = first.wrapping_add(nth) % oracle.agents.len();
                let (queue, answers) = (&queue, answers.clone());
                scope.spawn(move || queue.work(connection, &answers));
            }
            drop(answers);
            told.iter().for_each(&mut *tell);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection's part of the work: takes rows until all are answered.
    fn work(&self, connection: usize, answers: &Sender<Answer>) {
        let oracle = self.oracle;
        let home = connection % oracle.sites.len();
        let mut body = Vec::new();
        let mut state = self.lock();
        loop {
            if oracle.stop.load(Ordering::Relaxed) {
                self.refuse_waiting(&mut state, &RowError::Cancelled, answers);
            }
            if state.left == 0 {
                return;
            }
            let now = Instant::now();
            let Some((site, task)) = self.next(&mut state, home, now, answers) else {
                let pause = pause(&state, now);
                let waited = self.changed.wait_timeout(state, pause);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            drop(state);
            let blocks = oracle.blocks(self.queries, task.row);
            let sent = match self.ask {
                Ask::Outcome => oracle.send_evaluate(connection, site, &blocks, &mut body),
                Ask::PullBack(sensitivities) => {
                    let sens = sensitivities.row(task.row);
                    oracle.send_pull_back(connection, site, &blocks, sens, &mut body)
                }
            };
            let seconds = now.elapsed().as_secs_f64();
            state = self.lock();
            if let Some(outcome) = self.judge(&mut state, site, task, sent) {
                state.left -= 1;
                // The receiver outlives all connections.
                let _ = answers.send(Answer {
                    row: task.row,
                    outcome,
                    worker: Some(site),
                    seconds: Some(seconds),
                });
            }
            self.changed.notify_all();
        }
    }

    /// The next row and the server to send it to: this connection's own, or another one while that is down.
    fn next(
        &self,
        state: &mut State,
        home: usize,
        now: Instant,
        answers: &Sender<Answer>,
    ) -> Option<(usize, Task)> {
        if state
            .health
            .iter()
            .all(|health| health.given_up().is_some())
        {
            let reason = state.health.iter().find_map(Health::given_up);
            let error = RowError::Unavailable(reason.unwrap_or_default().to_owned());
            self.refuse_waiting(state, &error, answers);
            return None;
        }
        let task = *state.waiting.front()?;
        let n = state.health.len();
        let sites: Vec<usize> = (0..n)
            .map(|step| (home + step) % n)
            .filter(|site| state.health[*site].is_ready(now))
            .collect();
        let other = sites.iter().copied().find(|site| task.avoid != Some(*site));
        let site = other.or(sites.first().copied())?;
        state.waiting.pop_front();
        state.health[site].sent(now);
        Some((site, task))
    }

    /// What becomes of the row and of the server. None if the row waits again.
    fn judge(&self, state: &mut State, site: usize, mut task: Task, sent: Sent) -> Option<Outcome> {
        let config = &self.oracle.config;
        let url = &self.oracle.sites[site].url;
        let health = &mut state.health[site];
        match sent {
            Sent::Done(outcome) => {
                health.answered();
                Some(outcome)
            }
            Sent::Silent(error) => {
                health.fell_silent(url, &error, config.silent_failures);
                Some(Err(error))
            }
            Sent::Lost(reason) => {
                health.set_down(url, &reason, config.patience);
                task.deaths += 1;
                task.avoid = Some(site);
                if task.deaths <= config.retries {
                    state.waiting.push_front(task);
                    return None;
                }
                Some(Err(RowError::Crashed(format!("{url}: {reason}"))))
            }
            Sent::NotNow(reason) => {
                health.set_down(url, &reason, config.patience);
                state.waiting.push_front(task);
                None
            }
            Sent::Never(reason) => {
                health.give_up(url, &reason);
                state.waiting.push_front(task);
                None
            }
        }
    }

    fn refuse_waiting(&self, state: &mut State, error: &RowError, answers: &Sender<Answer>) {
        for task in std::mem::take(&mut state.waiting) {
            state.left -= 1;
            let _ = answers.send(Answer::new(task.row, Err(error.clone())));
        }
        self.changed.notify_all();
    }
}

/// How long there is nothing to do unless another connection has news.
fn pause(state: &State, now: Instant) -> Duration {
    let downs = state.health.iter().filter_map(|health| health.pause(now));
    let most = Duration::from_millis(100);
    let next = downs.min().unwrap_or(most);
    next.clamp(Duration::from_millis(1), most)
}
