//! An oracle behind UM-Bridge servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config as HttpConfig;

use super::config::{ConnectError, UmBridgeConfig};
use super::handshake::{self, Handshake, Shape};
use super::wire::Derivative;
use crate::clock::NEVER;
use crate::oracle::in_order;
use crate::{Answer, Description, Dims, Oracle, Outcome, Queries, Rows};

mod health;
mod queue;
mod send;

use queue::{Ask, Queue};

/// A model behind one or more UM-Bridge servers.
///
/// Every row is a request of its own; `connections` of them are on their way at once, spread over the servers
/// from one queue. Threads may ask at once: each call has its queue and its connections, so that
/// [`Lanes`](crate::Lanes) can share it for an asynchronous run. The numbers of the model's
/// inputs, one after the other, are `x` and then `u`; its outputs are `y`.
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
    /// The connection that the next call begins with, so that calls of single rows are spread as well.
    turn: AtomicUsize,
}

struct Site {
    url: String,
    evaluate: String,
    /// Of each [`Derivative`].
    derivatives: [String; 2],
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
                .timeout_global(Some(config.time_limit.min(NEVER)))
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
                derivatives: [Derivative::Gradient, Derivative::Jacobian]
                    .map(|derivative| format!("{url}/{}", derivative.path())),
            })
            .collect();

        let handshakes = sites.iter().map(|site| Handshake {
            agent: &agents[0],
            url: &site.url,
            token: token.as_deref(),
            limit: config.max_answer,
        });
        let shape = handshake::shape(&handshakes.collect::<Vec<_>>(), &config)?;
        if config.gradient && shape.derivative.is_none() {
            return Err(ConnectError::NoGradient {
                url: sites[0].url.clone(),
                model: config.model,
            });
        }
        let dims = handshake::dims(&config, &shape)?;
        Ok(Self {
            description: Description::of_sizes(config.model.clone(), dims),
            config,
            dims,
            shape,
            sites,
            agents,
            token,
            stop: Arc::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// When this flag is set, rows that were not sent yet are not sent any more.
    #[must_use]
    pub fn with_stop(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// Rows that are on their way at once.
    pub fn connections(&self) -> usize {
        self.agents.len()
    }

    /// The model's name and sizes. The protocol has no words for more, so that ranges and scales are the user's
    /// to add.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl Oracle for UmBridgeOracle {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        in_order(queries.len(), |tell| self.evaluate_each(queries, tell))
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        Queue::run(self, queries, Ask::Outcome, tell);
    }

    fn pull_back(&self, queries: Queries<'_>, sensitivities: &Rows) -> Option<Vec<Outcome>> {
        let ask = Ask::PullBack(sensitivities);
        let pulled = || in_order(queries.len(), |tell| Queue::run(self, queries, ask, tell));
        self.config.gradient.then(pulled)
    }

    fn pull_back_each(
        &self,
        queries: Queries<'_>,
        sensitivities: &Rows,
        tell: &mut dyn FnMut(Answer),
    ) -> bool {
        if self.config.gradient {
            Queue::run(self, queries, Ask::PullBack(sensitivities), tell);
        }
        self.config.gradient
    }
}
