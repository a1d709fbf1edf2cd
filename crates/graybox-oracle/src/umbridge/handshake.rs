//! What is asked before the first row: whether the model is there, and its sizes.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use super::config::{ConnectError, UmBridgeConfig};
use super::wire::{Derivative, not_now};
use crate::Dims;
use crate::clock::after;
use crate::wire::excerpt;

/// The model's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whether requests name the model, as they do since protocol 1.0.
    pub(super) named: bool,
    pub(super) input_sizes: Vec<usize>,
    pub(super) output_sizes: Vec<usize>,
    /// The derivative that the model gives, if any: of both the gradient, which takes fewer requests.
    pub(super) derivative: Option<Derivative>,
}

/// The shape of the model at the first server that answers. Servers that are there but not ready are asked again
/// with growing pauses, for as long as the client is patient.
pub(super) fn shape(
    servers: &[Handshake<'_>],
    config: &UmBridgeConfig,
) -> Result<Shape, ConnectError> {
    let until = after(Instant::now(), config.patience);
    let mut pause = Duration::from_millis(50);
    loop {
        let mut first_error = None;
        let mut hope = false;
        for server in servers {
            match server.shape(config) {
                Ok(shape) => return Ok(shape),
                Err(error) => {
                    hope |= matches!(error, ConnectError::NotReady { .. });
                    first_error.get_or_insert(error);
                }
            }
        }
        if !hope || Instant::now() + pause > until {
            let none = || ConnectError::Config("there are no urls".into());
            return Err(first_error.unwrap_or_else(none));
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_secs(1));
    }
}

/// The widths: the model's inputs one after the other are split into a context and an action.
pub(super) fn dims(config: &UmBridgeConfig, shape: &Shape) -> Result<Dims, ConnectError> {
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
            "the model takes {total} numbers, of which d_x = {d_x} are the context: nothing is left for the action, \
             so d_x must be lower"
        ));
    }
    if d_y == 0 {
        return refuse("the model has no output, so there is nothing to train for".into());
    }
    Ok(Dims::new(d_x, total - d_x, d_y))
}

/// A conversation with one server.
pub(super) struct Handshake<'a> {
    pub(super) agent: &'a Agent,
    pub(super) url: &'a str,
    pub(super) token: Option<&'a str>,
    /// The largest answer that is read, in bytes.
    pub(super) limit: u64,
}

fn derivative(support: &Value) -> Option<Derivative> {
    let mut known = [Derivative::Gradient, Derivative::Jacobian].into_iter();
    known.find(|derivative| support[derivative.path()] == true)
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
                derivative: derivative(&info["support"]),
            });
        }
        if !is(1.0) {
            let said = excerpt(info.to_string().as_bytes(), 120);
            return Err(self.not_um_bridge(format!("it says `{said}` of itself")));
        }
        let names: Vec<&str> = (info["models"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let known = match &names[..] {
            [] => "none".into(),
            names => excerpt(names.join(", ").as_bytes(), 200),
        };
        if !names.iter().any(|name| Some(*name) == model) {
            return Err(self.no_model(config, &known));
        }
        let name = json!({"name": config.model});
        let support = self.post("ModelInfo", &name)?["support"].take();
        if support["Evaluate"] != true {
            return Err(self.no_model(config, &format!("{known}, but this one cannot")));
        }
        let asked = json!({"name": config.model, "config": config.config});
        Ok(Shape {
            named: true,
            input_sizes: self.sizes(&self.post("InputSizes", &asked)?, "inputSizes")?,
            output_sizes: self.sizes(&self.post("OutputSizes", &asked)?, "outputSizes")?,
            derivative: derivative(&support),
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
        let failed = |error: ureq::Error| {
            let (url, reason) = (self.url.to_owned(), error.to_string());
            if nobody_listens(&error) {
                return ConnectError::Unreachable { url, reason };
            }
            // A server that has just been killed behind its proxy, or is about to come up.
            ConnectError::NotReady { url, reason }
        };
        let mut answer = answer.map_err(failed)?;
        let status = answer.status().as_u16();
        let limited = answer.body_mut().with_config().limit(self.limit);
        let body = limited.read_to_vec().map_err(failed)?;
        if not_now(status) {
            let said = excerpt(&body, 120);
            return Err(ConnectError::NotReady {
                url: self.url.to_owned(),
                reason: format!("to {call} it answers with status {status}: {said}"),
            });
        }
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

/// Whether there is no server at the other end, so that waiting for it is as likely a mistake in the url.
fn nobody_listens(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

    match error {
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        ureq::Error::Io(io) => matches!(
            io.kind(),
            ConnectionRefused | HostUnreachable | NetworkUnreachable
        ),
        _ => false,
    }
}
