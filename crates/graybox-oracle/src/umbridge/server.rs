//! Serving models to UM-Bridge clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};

use super::model::{Model, Page};

mod routes;

use routes::{PROTOCOL, Served, router};

/// Where models are served, and how many calls at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// The address to listen on. By default it is port 4242 of this machine alone: the protocol knows no
    /// passwords, so whoever reaches the port can call the model. Port 0 takes any that is free.
    pub address: SocketAddr,
    /// Calls that run at once; more wait.
    pub workers: usize,
    /// The largest request that is read, in bytes.
    pub max_request: usize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 4242).into(),
            workers: thread::available_parallelism().map_or(1, Into::into),
            max_request: 4 << 20,
        }
    }
}

/// Why models cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; another program may have the port, and port 0 takes any that is free"
    )]
    Address {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
    /// No model, two of one name, or a page where the protocol or another page already is.
    #[error("the models cannot be served: {0}")]
    Models(String),
    /// The server could not be started.
    #[error("the server could not be started: {0}")]
    Io(#[from] io::Error),
}

/// A running server. Dropping it ends it: its connections are closed at once, so that calls under way get no answer,
/// and models that are at work are waited for.
///
/// ```
/// use graybox_oracle::{Dims, FnOracle, Model, ServeConfig, UmBridgeConfig, UmBridgeOracle, UmBridgeServer};
/// use graybox_oracle::{Oracle, Queries, Rows};
///
/// let lens = FnOracle::new(Dims::new(1, 1, 1), |x, u| [1.0 / (1.0 / u[0] - 1.0 / x[0])]);
/// let config = ServeConfig { address: ([127, 0, 0, 1], 0).into(), ..ServeConfig::default() };
/// let server = UmBridgeServer::start(vec![Model::from_oracle("lens", lens)], config)?;
///
/// let remote = UmBridgeConfig { model: "lens".into(), ..UmBridgeConfig::new([server.url()]) };
/// let remote = UmBridgeOracle::connect(remote)?;
/// let (x, u) = (Rows::from_vec(1, vec![4.0])?, Rows::from_vec(1, vec![2.0])?);
/// assert_eq!(remote.evaluate(Queries::new(&x, &u)?), [Ok(vec![4.0])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UmBridgeServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl UmBridgeServer {
    /// Serves these models on a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the models' names do not tell them apart.
    pub fn start(models: Vec<Model>, config: ServeConfig) -> Result<Self, ServeError> {
        Self::start_with(models, Vec::new(), config)
    }

    /// Serves these models, and these pages beside the protocol's own.
    ///
    /// # Errors
    /// As [`start`](Self::start), or if a page has no path of its own.
    pub fn start_with(
        models: Vec<Model>,
        pages: Vec<Page>,
        config: ServeConfig,
    ) -> Result<Self, ServeError> {
        if models.is_empty() {
            return Err(ServeError::Models(
                "there are none, give at least one".into(),
            ));
        }
        for (index, model) in models.iter().enumerate() {
            if models[..index].iter().any(|other| other.name == model.name) {
                let reason = format!(
                    "two are called `{}`, give each a name of its own",
                    model.name
                );
                return Err(ServeError::Models(reason));
            }
        }
        for (index, page) in pages.iter().enumerate() {
            let path = &page.path;
            let taken = PROTOCOL.contains(&&**path)
                || pages[..index].iter().any(|other| other.path == *path);
            if taken || !path.starts_with('/') || path.contains(['{', '}', '*']) {
                let reason = format!("a page needs a path of its own, which `{path}` is not");
                return Err(ServeError::Models(reason));
            }
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(config.workers.max(1))
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(config.address));
        let listener = listener.map_err(|source| ServeError::Address {
            address: config.address,
            source,
        })?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("umbridge".into())
            .spawn(move || {
                let served = Arc::new(Served {
                    models,
                    pages,
                    free: Semaphore::new(config.workers.max(1)),
                });
                serve(&runtime, listener, served, config.max_request, stopped);
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients take it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for UmBridgeServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    served: Arc<Served>,
    max_request: usize,
    stopped: oneshot::Receiver<()>,
) {
    let router = router(served, max_request);
    runtime.block_on(async {
        let server = axum::serve(listener, router);
        tokio::select! {
            _ = server.into_future() => {}
            _ = stopped => {}
        }
    });
}
