//! What is answered at which path.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::model::{Model, Page};
use super::super::wire::{Derivative, Wrt};

/// The protocol's paths.
pub(super) const PROTOCOL: [&str; 8] = [
    "/Info",
    "/ModelInfo",
    "/InputSizes",
    "/OutputSizes",
    "/Evaluate",
    "/Gradient",
    "/ApplyJacobian",
    "/ApplyHessian",
];

pub(super) fn router(served: Arc<Served>, max_request: usize) -> Router {
    Router::new()
        .route("/Info", get(info))
        .route("/ModelInfo", post(model_info))
        .route("/InputSizes", post(input_sizes))
        .route("/OutputSizes", post(output_sizes))
        .route("/Evaluate", post(evaluate))
        .route("/Gradient", post(gradient))
        .route("/ApplyJacobian", post(apply_jacobian))
        .route("/ApplyHessian", post(not_offered))
        .fallback(page)
        .layer(DefaultBodyLimit::max(max_request))
        .with_state(served)
}

/// What there is to call, and how often at once.
pub(super) struct Served {
    pub(super) models: Vec<Model>,
    pub(super) pages: Vec<Page>,
    pub(super) free: Semaphore,
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
    #[serde(default)]
    vec: Vec<f64>,
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
        "ApplyJacobian": model.jacobian.is_some(),
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
    derivative(&served, &body, Derivative::Gradient).await
}

async fn apply_jacobian(State(served): State<Arc<Served>>, body: Bytes) -> Reply {
    derivative(&served, &body, Derivative::Jacobian).await
}

async fn derivative(served: &Served, body: &[u8], derivative: Derivative) -> Reply {
    let request = Request::read(body)?;
    let model = served.model(&request.name)?.clone();
    if model.product(derivative).is_none() {
        let path = derivative.path();
        return Err(unsupported(&format!("this model does not offer {path}")));
    }
    let wrt = Wrt {
        output: request.out_wrt,
        input: request.in_wrt,
    };
    let Request { name, input, .. } = request;
    let factor = match derivative {
        Derivative::Gradient => request.sens,
        Derivative::Jacobian => request.vec,
    };
    model.check_input(&input).map_err(invalid_input)?;
    let checked = model.check_factor(derivative, wrt, &factor);
    checked.map_err(invalid_input)?;
    let call = move || model.call_product(derivative, wrt, &input, &factor);
    let output = served.call(&name, call).await?;
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
    Err(unsupported(
        "models here give outcomes and first derivatives alone",
    ))
}
