//! What is asked of whom, and why it cannot be.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::seconds;

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
    /// Rows of a call asked at the same time, over as many connections; at least one to each server. A server that runs
    /// one model at a time lets the others wait, within their time limit.
    pub connections: usize,
    /// How many of the model's input numbers are the context `x`; the others are the action `u`. If not stated,
    /// the last input is the action and those before it are the context.
    pub d_x: Option<usize>,
    /// The model takes the action first and then the context.
    pub action_first: bool,
    /// The model's own settings, sent with every row.
    pub config: Map<String, Value>,
    /// Let the model be asked for its own gradient: it is no black box then, and only methods that say so ask for
    /// it. The model must offer `Gradient`, or `ApplyJacobian`, which takes a request for every action; either way a
    /// row's gradient is charged as one call.
    pub gradient: bool,
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

    pub(super) fn check(&self) -> Result<(), ConnectError> {
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
            gradient: false,
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
    /// Something listens, but it has no model behind it, or none yet.
    #[error(
        "{url} is there but did not get ready within `patience`: {reason}; is a model running behind it?"
    )]
    NotReady {
        /// The server.
        url: String,
        /// What it did last.
        reason: String,
    },
    /// Something answers, but not as UM-Bridge does.
    #[error(
        "{url} is no UM-Bridge server of protocol 1.0 or 0.9: {reason}; check the url, and `token_variable` if it asks for a token"
    )]
    NotUmBridge {
        /// The server.
        url: String,
        /// What it does instead.
        reason: String,
    },
    /// The server has no such model, or it cannot be evaluated.
    #[error(
        "{url} has no model `{model}` that can be evaluated; it has {known}: name one that can in `model`"
    )]
    NoModel {
        /// The server.
        url: String,
        /// The model asked for.
        model: String,
        /// The models it has.
        known: String,
    },
    /// The model has no derivative to ask for.
    #[error(
        "{url}: the model `{model}` offers neither `Gradient` nor `ApplyJacobian` (ModelInfo): leave out `gradient`, and train it as a black box"
    )]
    NoGradient {
        /// The server.
        url: String,
        /// The model asked for.
        model: String,
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
