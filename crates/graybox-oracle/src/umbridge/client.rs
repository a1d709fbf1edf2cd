//! An oracle behind UM-Bridge servers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::config::Config as HttpConfig;

use super::wire::{Verdict, read_evaluate, write_evaluate};
use crate::wire::excerpt;
use crate::{Answer, Description, Dims, Oracle, Outcome, Queries, RowError, seconds};

/// Which model to ask, where, and how long to wait for it.
///
/// ```
/// use graybox_oracle::UmBridgeConfig;
///
/// let read: UmBridgeConfig = serde_json::from_str(
///     r#"{"urls": ["http://node1:4242", "http://node2:4242"], "connections": 8, "config": {"mesh": "fine"}}"#,
/// )?;
/// assert_eq!((read.model.as_str(), read.connections), ("forward", 8));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UmBridgeConfig {
    /// The servers, such as `http://node1:4242`; one load balancer before many counts as one.
    pub urls: Vec<String>,
    /// The model's name.
    pub model: String,
    /// Rows asked at the same time, over as many connections; at least one to each server. A server that runs
    /// one model at a time lets the others wait, within their time limit.
    pub connections: usize,
    /// How many of the model's input numbers are the context `x`; the others are the action `u`. If not stated,
    /// the last input is the action and those before it are the context.
    pub d_x: Option<usize>,
    /// The model takes the action first and then the context.
    pub action_first: bool,
    /// The model's own settings, sent with every row.
    pub config: Map<String, Value>,
    /// The longest a row may take, in seconds, once it is sent.
    #[serde(with = "seconds")]
    pub time_limit: Duration,
    /// How long servers that do not answer are tried before they are given up, in seconds.
    #[serde(with = "seconds")]
    pub patience: Duration,
    /// How often a row whose server died is given to another one.
    pub retries: u32,
    /// Rows that fail one after the other at a server, without a reason, before it is given up.
    pub silent_failures: u32,
    /// The largest answer that is read, in bytes.
    pub max_answer: u64,
    /// The environment variable that holds the servers' access token, sent as `Authorization: Bearer …`.
    pub token_variable: Option<String>,
}

impl UmBridgeConfig {
    /// The model `forward`, asked one row at a time.
    pub fn new<S: Into<String>>(urls: impl IntoIterator<Item = S>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), ConnectError> {
        let refuse = |what: String| Err(ConnectError::Config(what));
        if self.urls.is_empty() {
            return refuse(
                "there are no urls: name a server, as in \"http://localhost:4242\"".into(),
            );
        }
        for url in &self.urls {
            let known = url.starts_with("http://") || url.starts_with("https://");
            if !known {
                return refuse(format!("`{url}` does not begin with http:// or https://"));
            }
            if url.contains('@') {
                // Not shown: what stands before the @ may be a password.
                return refuse(
                    "a url holds a user name or password: put the token into an environment variable and name that \
                     in token_variable"
                        .into(),
                );
            }
        }
        if self.connections == 0 {
            return refuse("connections = 0, expected at least 1".into());
        }
        if self.time_limit.is_zero() || self.patience.is_zero() {
            return refuse("time_limit and patience must be above 0 seconds".into());
        }
        if self.silent_failures == 0 || self.max_answer < 256 {
            return refuse("silent_failures must be at least 1 and max_answer at least 256".into());
        }
        Ok(())
    }
}

impl Default for UmBridgeConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            model: "forward".into(),
            connections: 1,
            d_x: None,
            action_first: false,
            config: Map::new(),
            time_limit: Duration::from_mins(1),
            patience: Duration::from_mins(1),
            retries: 2,
            silent_failures: 50,
            max_answer: 4 << 20,
            token_variable: None,
        }
    }
}

/// Why a server cannot serve as an oracle.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting that makes no sense.
    #[error("the server's settings cannot be used: {0}")]
    Config(String),
    /// The token is not there.
    #[error("the environment variable {0} is not set: it should hold the servers' access token")]
    NoToken(String),
    /// Nobody answers.
    #[error("{url} does not answer: {reason}; is the server running, and reachable from here?")]
    Unreachable {
        /// The server.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// Something answers, but not as UM-Bridge does.
    #[error("{url} is no UM-Bridge server of protocol 1.0 or 0.9: {reason}")]
    NotUmBridge {
        /// The server.
        url: String,
        /// What it does instead.
        reason: String,
    },
    /// The server has no such model, or it cannot be evaluated.
    #[error("{url} has no model `{model}` that can be evaluated; it has {known}")]
    NoModel {
        /// The server.
        url: String,
        /// The model asked for.
        model: String,
        /// The models it has.
        known: String,
    },
    /// The model's sizes do not fit.
    #[error("{url}: {reason}")]
    Sizes {
        /// The server.
        url: String,
        /// What does not fit.
        reason: String,
    },
}

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

/// The model's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    /// Whether requests name the model, as they do since protocol 1.0.
    named: bool,
    input_sizes: Vec<usize>,
    output_sizes: Vec<usize>,
}

struct Site {
    url: String,
    evaluate: String,
}

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
    /// Asks the first server that answers for the model's sizes. The others must have the same model.
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
            })
            .collect();

        let mut first_error = None;
        let mut shape = None;
        for site in &sites {
            let handshake = Handshake {
                agent: &agents[0],
                url: &site.url,
                token: token.as_deref(),
                limit: config.max_answer,
            };
            match handshake.shape(&config) {
                Ok(found) => {
                    shape = Some(found);
                    break;
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        let Some(shape) = shape else {
            let none = || ConnectError::Config("there are no urls".into());
            return Err(first_error.unwrap_or_else(none));
        };
        let dims = dims(&config, &shape)?;
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
    fn work(&self, connection: usize, queries: Queries<'_>, answers: &Sender<Answer>) {
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
            body.clear();
            let sent = self.send(connection, site, queries, task.row, &mut body);
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
            // One row finds out whether it is up again; the others wait or go elsewhere.
            down.again = now + self.config.time_limit;
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

    fn send(
        &self,
        connection: usize,
        site: usize,
        queries: Queries<'_>,
        row: usize,
        body: &mut Vec<u8>,
    ) -> Sent {
        let (x, u) = (queries.x().row(row), queries.u().row(row));
        let (first, second) = if self.config.action_first {
            (u, x)
        } else {
            (x, u)
        };
        let flat = [first, second].concat();
        let mut rest = &flat[..];
        let blocks: Vec<&[f64]> = (self.shape.input_sizes.iter())
            .map(|size| {
                let (block, after) = rest.split_at(*size);
                rest = after;
                block
            })
            .collect();
        let name = self.shape.named.then_some(self.config.model.as_str());
        write_evaluate(body, name, &blocks, &self.config.config);

        let mut request = self.agents[connection]
            .post(&self.sites[site].evaluate)
            .header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        let read = request.send(&body[..]).and_then(|mut response| {
            let status = response.status().as_u16();
            let limited = response.body_mut().with_config();
            let body = limited.limit(self.config.max_answer).read_to_vec()?;
            Ok((status, body))
        });
        match read {
            Ok((status, body)) => match read_evaluate(status, &body, &self.shape.output_sizes) {
                Verdict::Outcome(outcome) => Sent::Done(outcome),
                Verdict::Silent(error) => Sent::Silent(error),
                Verdict::NotNow(reason) => Sent::NotNow(reason),
                Verdict::Never(reason) => Sent::Never(reason),
            },
            Err(error) => sort(&error),
        }
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

/// What a connection's failure says about the row.
fn sort(error: &ureq::Error) -> Sent {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound => Sent::NotNow(error.to_string()),
        ureq::Error::Timeout(_) => Sent::Done(Err(RowError::TimedOut)),
        ureq::Error::BodyExceedsLimit(limit) => Sent::Done(Err(RowError::Malformed(format!(
            "the answer is longer than {limit} bytes (max_answer)"
        )))),
        ureq::Error::Io(io)
            if matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable
            ) =>
        {
            Sent::NotNow(error.to_string())
        }
        _ => Sent::Lost(error.to_string()),
    }
}

impl Oracle for UmBridgeOracle {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; queries.len()];
        self.evaluate_each(queries, &mut |answer| {
            outcomes[answer.row] = Some(answer.outcome);
        });
        let answered = "each row is told of";
        outcomes
            .into_iter()
            .map(|outcome| outcome.expect(answered))
            .collect()
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        let mut tasks = VecDeque::with_capacity(queries.len());
        for (row, (x, u)) in queries.iter().enumerate() {
            if x.iter().chain(u).all(|value| value.is_finite()) {
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
                scope.spawn(move || self.work(connection, queries, &answers));
            }
            drop(answers);
            told.iter().for_each(&mut *tell);
        });
    }
}

/// The widths: the model's inputs one after the other are split into a context and an action.
fn dims(config: &UmBridgeConfig, shape: &Shape) -> Result<Dims, ConnectError> {
    let total: usize = shape.input_sizes.iter().sum();
    let d_y: usize = shape.output_sizes.iter().sum();
    let refuse = |reason: String| {
        Err(ConnectError::Sizes {
            url: config.urls[0].clone(),
            reason,
        })
    };
    let own = match (&shape.input_sizes[..], config.action_first) {
        ([.., last], false) => total - last,
        ([first, ..], true) => total - first,
        ([], _) => 0,
    };
    let d_x = config.d_x.unwrap_or(own);
    if total <= d_x {
        return refuse(format!(
            "the model takes {total} numbers, of which d_x = {d_x} are the context: nothing is left for the action"
        ));
    }
    if d_y == 0 {
        return refuse("the model has no output".into());
    }
    Ok(Dims::new(d_x, total - d_x, d_y))
}

/// What is asked before the first row.
struct Handshake<'a> {
    agent: &'a Agent,
    url: &'a str,
    token: Option<&'a str>,
    limit: u64,
}

impl Handshake<'_> {
    fn shape(&self, config: &UmBridgeConfig) -> Result<Shape, ConnectError> {
        let info = self.get("Info")?;
        let is = |version: f64| info["protocolVersion"].as_f64() == Some(version);
        let model = Some(config.model.as_str());
        if is(0.9) {
            if info["support"]["Evaluate"] != true {
                return Err(self.no_model(config, "one that cannot"));
            }
            return Ok(Shape {
                named: false,
                input_sizes: self.sizes(&self.get("GetInputSizes")?, "inputSizes")?,
                output_sizes: self.sizes(&self.get("GetOutputSizes")?, "outputSizes")?,
            });
        }
        if !is(1.0) {
            let said = excerpt(info.to_string().as_bytes(), 120);
            return Err(self.not_um_bridge(format!("it says `{said}` of itself")));
        }
        let names: Vec<&str> = (info["models"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let known = excerpt(names.join(", ").as_bytes(), 200);
        if !names.iter().any(|name| Some(*name) == model) {
            return Err(self.no_model(config, &known));
        }
        let name = json!({"name": config.model});
        if self.post("ModelInfo", &name)?["support"]["Evaluate"] != true {
            return Err(self.no_model(config, &format!("{known}, but this one cannot")));
        }
        let asked = json!({"name": config.model, "config": config.config});
        Ok(Shape {
            named: true,
            input_sizes: self.sizes(&self.post("InputSizes", &asked)?, "inputSizes")?,
            output_sizes: self.sizes(&self.post("OutputSizes", &asked)?, "outputSizes")?,
        })
    }

    fn sizes(&self, answer: &Value, key: &str) -> Result<Vec<usize>, ConnectError> {
        // No model has as many numbers; what is beyond would only cost memory.
        const MOST: u64 = 1 << 24;
        let sizes = answer[key]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let read = sizes
            .iter()
            .map(|size| size.as_u64().filter(|size| *size <= MOST));
        match read.map(|size| size.map(|size| size as usize)).collect() {
            Some(sizes) if answer[key].is_array() => Ok(sizes),
            _ => {
                let said = excerpt(answer.to_string().as_bytes(), 120);
                Err(self.not_um_bridge(format!("`{said}` gives no {key}")))
            }
        }
    }

    fn get(&self, call: &str) -> Result<Value, ConnectError> {
        let mut request = self.agent.get(format!("{}/{call}", self.url));
        if let Some(token) = self.token {
            request = request.header("Authorization", token);
        }
        self.read(call, request.call())
    }

    fn post(&self, call: &str, body: &Value) -> Result<Value, ConnectError> {
        let mut request = self
            .agent
            .post(format!("{}/{call}", self.url))
            .header("Content-Type", "application/json");
        if let Some(token) = self.token {
            request = request.header("Authorization", token);
        }
        self.read(call, request.send(body.to_string()))
    }

    fn read(
        &self,
        call: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, ConnectError> {
        let unreachable = |error: ureq::Error| ConnectError::Unreachable {
            url: self.url.to_owned(),
            reason: error.to_string(),
        };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let limited = answer.body_mut().with_config().limit(self.limit);
        let body = limited.read_to_vec().map_err(unreachable)?;
        match serde_json::from_slice(&body) {
            Ok(value) if (200..300).contains(&status) => Ok(value),
            _ => {
                let said = excerpt(&body, 120);
                Err(self
                    .not_um_bridge(format!("to {call} it answers with status {status}: {said}")))
            }
        }
    }

    fn no_model(&self, config: &UmBridgeConfig, known: &str) -> ConnectError {
        ConnectError::NoModel {
            url: self.url.to_owned(),
            model: config.model.clone(),
            known: known.to_owned(),
        }
    }

    fn not_um_bridge(&self, reason: String) -> ConnectError {
        ConnectError::NotUmBridge {
            url: self.url.to_owned(),
            reason,
        }
    }
}
