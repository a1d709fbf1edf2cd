//! An oracle behind UM-Bridge servers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::Config as HttpConfig;

use super::config::{ConnectError, UmBridgeConfig};
use super::handshake::{self, Handshake, Shape};
use crate::oracle::in_order;
use crate::{Answer, Description, Dims, Oracle, Outcome, Queries, RowError, Rows};

mod send;

/// A model behind one or more UM-Bridge servers.
///
/// Every row is a request of its own; `connections` of them are on their way at once, spread over the servers
/// from one queue. The numbers of the model's inputs, one after the other, are `x` and then `u`; its outputs are
/// `y`.
///
/// # Whom a failure is blamed on
/// A model that says why it cannot answer fails the row. So does a `NaN`, which Python servers send as a good
/// answer, and an exception, for which they send a page without a reason; too many of those one after the other,
/// and the server is given up. A connection that breaks is taken for the death of the server: the row goes to
/// another connection, up to `retries` times, since calls are [repeatable](Oracle). A server that cannot be
/// reached, or a proxy that has none behind it, is tried again with growing pauses while the others go on; after
/// `patience` it is given up, and when none is left the rows are
/// [`Unavailable`](crate::RowError::Unavailable).
///
/// # Secrets
/// A token is read from the environment variable `token_variable` names, and is written to no message and no
/// file.
pub struct UmBridgeOracle {
    config: UmBridgeConfig,
    description: Description,
    dims: Dims,
    shape: Shape,
    sites: Vec<Site>,
    agents: Vec<Agent>,
    token: Option<String>,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
    changed: Condvar,
}

struct Site {
    url: String,
    evaluate: String,
    gradient: String,
}

/// What is asked of every row.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Outcome,
    /// These sensitivities of the outcome as sensitivities of the action.
    PullBack(&'a Rows),
}

/// How long a row that finds out whether a server is up again is alone with it.
const PROBE: Duration = Duration::from_secs(1);

/// What the connections share.
#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    /// Rows without an answer, in the queue or on their way.
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

/// How a server is doing.
#[derive(Debug, Clone, Default)]
struct Health {
    down: Option<Down>,
    /// Rows it failed in a row without a reason.
    silent: u32,
    /// Why it is not asked any more.
    given_up: Option<String>,
}

#[derive(Debug, Clone)]
struct Down {
    since: Instant,
    attempts: u32,
    again: Instant,
}

/// What came of sending a row.
enum Sent {
    /// The row is done.
    Done(Outcome),
    /// The row was looked at, and nothing came back.
    Lost(String),
    /// Nobody has looked at the row.
    NotNow(String),
    /// The row is done, and says little for the server.
    Silent(RowError),
    /// This server takes no rows.
    Never(String),
}

impl UmBridgeOracle {
    /// Asks the first server that answers for the model's sizes. The others must have the same model. Where nobody
    /// listens that is an error at once; a server, or a proxy before it, that is there but not ready is waited for,
    /// as long as `patience` says.
    ///
    /// # Errors
    /// If no server answers, or the model is not there, cannot be evaluated, or has other sizes than stated.
    pub fn connect(config: UmBridgeConfig) -> Result<Self, ConnectError> {
        config.check()?;
        let token = match &config.token_variable {
            Some(name) => match std::env::var(name) {
                Ok(token) => Some(format!("Bearer {}", token.trim())),
                Err(_) => return Err(ConnectError::NoToken(name.clone())),
            },
            None => None,
        };
        let http = || -> HttpConfig {
            Agent::config_builder()
                .timeout_global(Some(config.time_limit))
                .timeout_connect(Some(config.time_limit.min(Duration::from_secs(10))))
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                .build()
        };
        let count = config.connections.max(config.urls.len());
        let agents: Vec<Agent> = (0..count).map(|_| Agent::new_with_config(http())).collect();
        let sites: Vec<Site> = (config.urls.iter().map(|url| url.trim_end_matches('/')))
            .map(|url| Site {
                url: url.to_owned(),
                evaluate: format!("{url}/Evaluate"),
                gradient: format!("{url}/Gradient"),
            })
            .collect();

        let handshakes = sites.iter().map(|site| Handshake {
            agent: &agents[0],
            url: &site.url,
            token: token.as_deref(),
            limit: config.max_answer,
        });
        let shape = handshake::shape(&handshakes.collect::<Vec<_>>(), &config)?;
        if config.gradient && !shape.gradient {
            return Err(ConnectError::NoGradient {
                url: sites[0].url.clone(),
                model: config.model,
            });
        }
        let dims = handshake::dims(&config, &shape)?;
        let state = State {
            health: vec![Health::default(); sites.len()],
            ..State::default()
        };
        Ok(Self {
            description: Description::of_sizes(config.model.clone(), dims),
            config,
            dims,
            shape,
            sites,
            agents,
            token,
            stop: Arc::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// When this flag is set, rows that were not sent yet are not sent any more.
    #[must_use]
    pub fn with_stop(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// The model's name and sizes. The protocol has no words for more, so that ranges and scales are the user's
    /// to add.
    pub fn description(&self) -> &Description {
        &self.description
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection's part of the work: takes rows until all are answered.
    fn work(
        &self,
        connection: usize,
        queries: Queries<'_>,
        ask: Ask<'_>,
        answers: &Sender<Answer>,
    ) {
        let home = connection % self.sites.len();
        let mut body = Vec::new();
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                self.refuse_queued(&mut state, &RowError::Cancelled, answers);
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
            let blocks = self.blocks(queries, task.row);
            let sent = match ask {
                Ask::Outcome => self.send_evaluate(connection, site, &blocks, &mut body),
                Ask::PullBack(sensitivities) => {
                    let sens = sensitivities.row(task.row);
                    self.send_gradients(connection, site, &blocks, sens, &mut body)
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
        let usable = |health: &Health| health.given_up.is_none();
        if !state.health.iter().any(usable) {
            let reasons = state
                .health
                .iter()
                .find_map(|health| health.given_up.clone());
            let error = RowError::Unavailable(reasons.unwrap_or_default());
            self.refuse_queued(state, &error, answers);
            // Another call may find them up again.
            return None;
        }
        let task = *state.queue.front()?;
        let ready = |site: usize| {
            let health = &state.health[site];
            usable(health) && health.down.as_ref().is_none_or(|down| now >= down.again)
        };
        let n = self.sites.len();
        let sites: Vec<usize> = (0..n)
            .map(|step| (home + step) % n)
            .filter(|site| ready(*site))
            .collect();
        let other = sites.iter().copied().find(|site| task.avoid != Some(*site));
        let site = other.or(sites.first().copied())?;
        state.queue.pop_front();
        if let Some(down) = &mut state.health[site].down {
            // One row finds out whether it is up again; the others wait or go elsewhere. A server that is still
            // down says so at once, so that they need not wait for the answer.
            down.again = now + PROBE;
        }
        Some((site, task))
    }

    /// What becomes of the row and of the server. None if the row is back in the queue.
    fn judge(&self, state: &mut State, site: usize, mut task: Task, sent: Sent) -> Option<Outcome> {
        let url = &self.sites[site].url;
        let health = &mut state.health[site];
        match sent {
            Sent::Done(outcome) => {
                *health = Health::default();
                Some(outcome)
            }
            Sent::Silent(error) => {
                health.down = None;
                health.silent += 1;
                if health.silent >= self.config.silent_failures {
                    let n = health.silent;
                    health.given_up = Some(format!("{url} failed {n} rows in a row: {error}"));
                }
                Some(Err(error))
            }
            Sent::Lost(reason) => {
                self.set_down(health, url, &reason);
                task.deaths += 1;
                task.avoid = Some(site);
                if task.deaths <= self.config.retries {
                    state.queue.push_front(task);
                    return None;
                }
                Some(Err(RowError::Crashed(format!("{url}: {reason}"))))
            }
            Sent::NotNow(reason) => {
                self.set_down(health, url, &reason);
                state.queue.push_front(task);
                None
            }
            Sent::Never(reason) => {
                health.given_up = Some(format!("{url}: {reason}"));
                state.queue.push_front(task);
                None
            }
        }
    }

    fn set_down(&self, health: &mut Health, url: &str, reason: &str) {
        let now = Instant::now();
        let down = health.down.get_or_insert(Down {
            since: now,
            attempts: 0,
            again: now,
        });
        down.attempts += 1;
        down.again = now + Duration::from_millis(25 << down.attempts.min(5));
        if now.saturating_duration_since(down.since) > self.config.patience {
            health.given_up = Some(format!("{url}: {reason}"));
        }
    }

    fn refuse_queued(&self, state: &mut State, error: &RowError, answers: &Sender<Answer>) {
        for task in std::mem::take(&mut state.queue) {
            state.left -= 1;
            let _ = answers.send(Answer::new(task.row, Err(error.clone())));
        }
        self.changed.notify_all();
    }

    /// Asks for something of every row.
    fn ask(&self, queries: Queries<'_>, ask: Ask<'_>, tell: &mut dyn FnMut(Answer)) {
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
        let connections = self.agents.len().min(tasks.len());
        {
            let mut state = self.lock();
            state.left = tasks.len();
            state.queue = tasks;
            // What was given up may have been mended since.
            state.health.fill(Health::default());
        }
        let (answers, told) = channel();
        thread::scope(|scope| {
            for connection in 0..connections {
                let answers = answers.clone();
                scope.spawn(move || self.work(connection, queries, ask, &answers));
            }
            drop(answers);
            told.iter().for_each(&mut *tell);
        });
    }
}

/// How long there is nothing to do unless another connection has news.
fn pause(state: &State, now: Instant) -> Duration {
    let downs = state
        .health
        .iter()
        .filter_map(|health| health.down.as_ref());
    let next = downs
        .map(|down| down.again.saturating_duration_since(now))
        .min();
    let most = Duration::from_millis(100);
    next.unwrap_or(most).clamp(Duration::from_millis(1), most)
}

impl Oracle for UmBridgeOracle {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        in_order(queries.len(), |tell| self.evaluate_each(queries, tell))
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        self.ask(queries, Ask::Outcome, tell);
    }

    fn pull_back(&self, queries: Queries<'_>, sensitivities: &Rows) -> Option<Vec<Outcome>> {
        let ask = Ask::PullBack(sensitivities);
        let pulled = || in_order(queries.len(), |tell| self.ask(queries, ask, tell));
        self.config.gradient.then(pulled)
    }
}
