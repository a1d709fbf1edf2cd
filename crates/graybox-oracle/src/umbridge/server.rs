//! Serving models to UM-Bridge clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::model::{Model, Page};
use super::wire::Wrt;

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

/// The protocol's paths.
const PROTOCOL: [&str; 8] = [
    "/Info",
    "/ModelInfo",
    "/InputSizes",
    "/OutputSizes",
    "/Evaluate",
    "/Gradient",
    "/ApplyJacobian",
    "/ApplyHessian",
];

fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    served: Arc<Served>,
    max_request: usize,
    stopped: oneshot::Receiver<()>,
) {
    let router = Router::new()
        .route("/Info", get(info))
        .route("/ModelInfo", post(model_info))
        .route("/InputSizes", post(input_sizes))
        .route("/OutputSizes", post(output_sizes))
        .route("/Evaluate", post(evaluate))
        .route("/Gradient", post(gradient))
        .route("/ApplyJacobian", post(not_offered))
        .route("/ApplyHessian", post(not_offered))
        .fallback(page)
        .layer(DefaultBodyLimit::max(max_request))
        .with_state(served);
    runtime.block_on(async {
        let server = axum::serve(listener, router);
        tokio::select! {
            _ = server.into_future() => {}
            _ = stopped => {}
        }
    });
}

struct Served {
    models: Vec<Model>,
    pages: Vec<Page>,
    free: Semaphore,
}

impl Served {
    /// The model a request names.
    fn model(&self, name: &str) -> Result<&Model, Refusal> {
        let model = self.models.iter().find(|model| model.name == name);
        model.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| &*model.name).collect();
            let known = known.join("`, `");
            Refusal {
                status: StatusCode::BAD_REQUEST,
                kind: "ModelNotFound",
                message: format!("there is no model `{name}` here, but `{known}`"),
            }
        })
    }

    /// Calls a model on a thread where it may take its time, when it is its turn.
    async fn call<T: Send + 'static>(
        &self,
        name: &str,
        call: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Refusal> {
        let _turn = self.turn().await;
        let called = tokio::task::spawn_blocking(call).await;
        let output = called.map_err(|_| invalid_output(format!("the model `{name}` panicked")))?;
        output.map_err(invalid_output)
    }

    /// Waits until one more call may run; it may until this is dropped.
    async fn turn(&self) -> SemaphorePermit<'_> {
        let turn = self.free.acquire().await;
        turn.expect("the semaphore is never closed")
    }
}

/// What a client may send. Other keys are passed over: clients add their own.
#[derive(Deserialize)]
struct Request {
    name: String,
    #[serde(default)]
    input: Vec<Vec<f64>>,
    #[serde(default, rename = "outWrt")]
    out_wrt: usize,
    #[serde(default, rename = "inWrt")]
    in_wrt: usize,
    #[serde(default)]
    sens: Vec<f64>,
}

impl Request {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body)
            .map_err(|error| invalid_input(format!("the request cannot be read: {error}")))
    }
}

/// An error in the protocol's form.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

fn invalid_input(message: String) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        kind: "InvalidInput",
        message,
    }
}

fn invalid_output(message: String) -> Refusal {
    Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        kind: "InvalidOutput",
        message,
    }
}

fn unsupported(message: &str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        kind: "UnsupportedFeature",
        message: message.into(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": {"type": self.kind, "message": self.message}});
        (self.status, Json(body)).into_response()
    }
}

/// A body of JSON.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

type Reply = Result<Json, Refusal>;

async fn info(State(served): State<Arc<Served>>) -> Json {
    let names: Vec<&str> = served.models.iter().map(|model| &*model.name).collect();
    Json(json!({"protocolVersion": 1.0, "models": names}))
}

async fn model_info(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    let request = Request::read(&body)?;
    let model = served.model(&request.name)?;
    Ok(Json(json!({"support": {
        "Evaluate": true,
        "Gradient": model.gradient.is_some(),
        "ApplyJacobian": false,
        "ApplyHessian": false,
    }})))
}

async fn input_sizes(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    let request = Request::read(&body)?;
    let model = served.model(&request.name)?;
    Ok(Json(json!({"inputSizes": model.input_sizes})))
}

async fn output_sizes(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    let request = Request::read(&body)?;
    let model = served.model(&request.name)?;
    Ok(Json(json!({"outputSizes": model.output_sizes})))
}

async fn evaluate(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    let Request { name, input, .. } = Request::read(&body)?;
    let model = served.model(&name)?.clone();
    model.check_input(&input).map_err(invalid_input)?;
    let output = served.call(&name, move || model.call(&input)).await?;
    Ok(Json(json!({"output": output})))
}

async fn gradient(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    let request = Request::read(&body)?;
    let model = served.model(&request.name)?.clone();
    if model.gradient.is_none() {
        return Err(unsupported("this model has no gradient"));
    }
    let wrt = Wrt {
        output: request.out_wrt,
        input: request.in_wrt,
    };
    let Request {
        name, input, sens, ..
    } = request;
    model.check_input(&input).map_err(invalid_input)?;
    model.check_sens(wrt, &sens).map_err(invalid_input)?;
    let pull = move || model.call_gradient(wrt, &input, &sens);
    let output = served.call(&name, pull).await?;
    Ok(Json(json!({"output": output})))
}

/// Everything that is not the protocol's.
async fn page(State(served): State<Arc<Served>>, method: Method, uri: Uri, body: Bytes) -> Reply {
    let here = |page: &&Page| page.path == uri.path() && page.method == method;
    let Some(page) = served.pages.iter().find(here) else {
        let pages = served.pages.iter();
        let known: Vec<String> = (pages.map(|page| format!("{} {}", page.method, page.path)))
            .chain(["GET /Info".into(), "POST /Evaluate".into()])
            .collect();
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            kind: "NotFound",
            message: format!("no {method} {}: there are {}", uri.path(), known.join(", ")),
        });
    };
    let _turn = served.turn().await;
    let answer = Arc::clone(&page.answer);
    let path = uri.path().to_owned();
    let answered = tokio::task::spawn_blocking(move || answer(&body)).await;
    let answered = answered.map_err(|_| invalid_output(format!("what answers {path} panicked")))?;
    answered.map(Json).map_err(invalid_input)
}

async fn not_offered(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    served.model(&Request::read(&body)?.name)?;
    Err(unsupported("models here give outcomes and gradients alone"))
}
