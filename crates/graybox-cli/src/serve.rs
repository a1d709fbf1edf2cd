//! `graybox serve`: a policy as a UM-Bridge model and for plain JSON.

use std::io::Read;
use std::thread;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use graybox::model::MlpPolicy;
use graybox::oracle::Rows;
use serde::Deserialize;
use serde_json::{Value, json};
use tiny_http::{Request, Response, Server};

use crate::args::Serve;
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, act};
use crate::run_file::names;
use crate::table::Table;

/// The name of the UM-Bridge model.
const MODEL: &str = "policy";

/// Requests answered at a time, so that a slow client holds up nobody but itself.
const AT_A_TIME: usize = 4;

/// The longest request, in bytes.
const LONGEST: u64 = 16 << 20;

pub(crate) fn run(args: &Serve) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let (file, policy) = PolicyFile::open(&args.run, &device).or_usage()?;
    let address = (args.bind.as_str(), args.port);
    let server = Server::http(address)
        .map_err(|error| anyhow!("cannot listen at {}:{}: {error}", args.bind, args.port))
        .or_usage()?;
    println!("http://{}", server.server_addr());

    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            let served = Served {
                file: file.clone(),
                policy: policy.clone(),
                device: device.clone(),
            };
            let server = &server;
            scope.spawn(move || {
                while let Ok(request) = server.recv() {
                    served.respond(request);
                }
            });
        }
    });
    Ok(Done::Finished)
}

/// What is served.
struct Served {
    file: PolicyFile,
    policy: MlpPolicy,
    device: Device,
}

/// A status and what is said.
type Answer = (u16, Value);

/// A request about a UM-Bridge model.
#[derive(Deserialize)]
struct Asked {
    name: String,
    #[serde(default)]
    input: Vec<Vec<f64>>,
}

impl Served {
    fn respond(&self, mut request: Request) {
        let mut body = String::new();
        let read = request
            .as_reader()
            .take(LONGEST + 1)
            .read_to_string(&mut body);
        let (status, value) = match read {
            Ok(n) if n as u64 > LONGEST => refuse(
                "InvalidInput",
                format!("a request is {LONGEST} bytes long at most"),
            ),
            Ok(_) => self.answer(request.method().as_str(), request.url(), &body),
            Err(error) => refuse(
                "InvalidInput",
                format!("the request cannot be read: {error}"),
            ),
        };
        let kind = "Content-Type: application/json".parse::<tiny_http::Header>();
        let response = Response::from_string(value.to_string()).with_status_code(status);
        let response = match kind {
            Ok(kind) => response.with_header(kind),
            Err(()) => response,
        };
        // A client that has gone needs no answer.
        let _ = request.respond(response);
    }

    fn answer(&self, method: &str, path: &str, body: &str) -> Answer {
        let (d_x, d_u) = (self.file.oracle.x.len(), self.file.oracle.u.len());
        match (method, path) {
            ("GET", "/") => (
                200,
                json!({ "x": self.file.oracle.x, "u": self.file.oracle.u }),
            ),
            ("GET", "/Info") => (200, json!({ "protocolVersion": 1.0, "models": [MODEL] })),
            ("POST", "/predict") => self
                .predict(body)
                .unwrap_or_else(|error| refuse("InvalidInput", format!("{error:#}"))),
            ("POST", "/InputSizes") => model(body, |_| (200, json!({ "inputSizes": [d_x] }))),
            ("POST", "/OutputSizes") => model(body, |_| (200, json!({ "outputSizes": [d_u] }))),
            ("POST", "/ModelInfo") => model(body, |_| {
                let no = false;
                let support = json!({
                    "Evaluate": true, "Gradient": no, "ApplyJacobian": no, "ApplyHessian": no
                });
                (200, json!({ "support": support }))
            }),
            ("POST", "/Evaluate") => model(body, |asked| self.evaluate(&asked.input)),
            ("POST", "/Gradient" | "/ApplyJacobian" | "/ApplyHessian") => refuse(
                "UnsupportedFeature",
                "the policy is served without derivatives".into(),
            ),
            _ => {
                let (_, value) = refuse(
                    "NotFound",
                    format!(
                        "no {method} {path}: there are GET /, GET /Info, POST /Evaluate and POST /predict"
                    ),
                );
                (404, value)
            }
        }
    }

    fn evaluate(&self, input: &[Vec<f64>]) -> Answer {
        let d_x = self.file.oracle.x.len();
        match input {
            [x] if x.len() == d_x => match self.act(std::slice::from_ref(x)) {
                Ok(u) => {
                    let u: Vec<f64> = u[0].iter().map(|value| f64::from(*value)).collect();
                    (200, json!({ "output": [u] }))
                }
                Err(error) => {
                    let (_, value) = refuse("InvalidOutput", format!("{error:#}"));
                    (500, value)
                }
            },
            _ => {
                let found: Vec<usize> = input.iter().map(Vec::len).collect();
                refuse(
                    "InvalidInput",
                    format!("inputs of sizes {found:?}, expected [{d_x}]"),
                )
            }
        }
    }

    fn predict(&self, body: &str) -> Result<Answer> {
        let table = Table::read_json(body.as_bytes())?;
        let x = table.numbers(&names(&self.file.oracle.x))?;
        let u = self.act(&x)?;
        let mut out = Vec::new();
        table.write_with(&names(&self.file.oracle.u), &u, &mut out)?;
        Ok((200, serde_json::from_slice(&out)?))
    }

    fn act(&self, x: &[Vec<f64>]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Rows::with_capacity(self.file.oracle.x.len(), x.len());
        for row in x {
            rows.push(row)?;
        }
        act(&self.policy, &rows, &self.device)
    }
}

/// Reads a request about a model, if it is about this one.
fn model(body: &str, answer: impl FnOnce(Asked) -> Answer) -> Answer {
    match serde_json::from_str::<Asked>(body) {
        Ok(asked) if asked.name == MODEL => answer(asked),
        Ok(asked) => refuse(
            "ModelNotFound",
            format!("no model {:?}: the one here is {MODEL:?}", asked.name),
        ),
        Err(error) => refuse(
            "InvalidInput",
            format!("the request cannot be read: {error}"),
        ),
    }
}

fn refuse(kind: &str, message: String) -> Answer {
    (
        400,
        json!({ "error": { "type": kind, "message": message } }),
    )
}
