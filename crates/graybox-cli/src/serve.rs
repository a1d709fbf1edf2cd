//! `graybox serve`: a policy as a UM-Bridge model and for plain JSON.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use graybox::model::MlpPolicy;
use graybox::oracle::{Model, Page, Rows, ServeConfig, UmBridgeServer};
use serde_json::{Value, json};

use crate::args::Serve;
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::{PolicyFile, act};
use crate::run_file::names;
use crate::table::Table;

/// The name of the UM-Bridge model.
const MODEL: &str = "policy";

/// The longest request, in bytes.
const LONGEST: usize = 16 << 20;

pub(crate) fn run(args: &Serve) -> Result<Done, Failure> {
    let device = args.device.device.open().or_usage()?;
    let (file, policy) = PolicyFile::open(&args.run, &device).or_usage()?;
    let asked = format!("{}:{}", args.bind, args.port);
    let found = (args.bind.as_str(), args.port).to_socket_addrs();
    let found = found.map(|mut addresses| addresses.next());
    let address = found.ok().flatten();
    let address = address.with_context(|| format!("--bind: {asked} is no address of this machine"));
    let config = ServeConfig {
        address: address.or_usage()?,
        max_request: LONGEST,
        ..ServeConfig::default()
    };

    let about = json!({ "x": file.oracle.x, "u": file.oracle.u });
    let (d_x, d_u) = (file.oracle.x.len(), file.oracle.u.len());
    let served = Arc::new(Served {
        file,
        policy,
        device,
    });
    let model = {
        let served = Arc::clone(&served);
        Model::from_fn(MODEL, d_x, d_u, move |x| served.action(x))
    };
    let pages = vec![
        Page::get("/", move || about.clone()),
        Page::post("/predict", move |body| {
            served.predict(body).map_err(|error| format!("{error:#}"))
        }),
    ];
    let server = UmBridgeServer::start_with(vec![model], pages, config).or_usage()?;
    println!("{}", server.url());
    server.wait();
    Ok(Done::Finished)
}

/// What is served.
struct Served {
    file: PolicyFile,
    policy: MlpPolicy,
    device: Device,
}

impl Served {
    /// The action in one context.
    fn action(&self, x: &[f64]) -> Result<Vec<f64>> {
        let actions = self.actions(&[x.to_vec()])?;
        let numbers = actions.iter().flatten();
        Ok(numbers.map(|value| f64::from(*value)).collect())
    }

    /// As `graybox predict --format json` answers.
    fn predict(&self, body: &[u8]) -> Result<Value> {
        let table = Table::read_json(body)?;
        let x = table.numbers(&names(&self.file.oracle.x))?;
        let u = self.actions(&x)?;
        let mut out = Vec::new();
        table.write_with(&names(&self.file.oracle.u), &u, &mut out)?;
        Ok(serde_json::from_slice(&out)?)
    }

    fn actions(&self, x: &[Vec<f64>]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Rows::with_capacity(self.file.oracle.x.len(), x.len());
        for row in x {
            rows.push(row)?;
        }
        act(&self.policy, &rows, &self.device)
    }
}
