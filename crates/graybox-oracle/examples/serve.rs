//! A throw as a UM-Bridge model, for any client of that protocol: `serve PORT [SECONDS]`.
//!
//! The context is the speed in m/s, the action the elevation in radians, the outcome the range in metres. Every call
//! takes SECONDS, as if it were a simulation, and is told on standard error. Several of these behind
//! `assets/cluster/haproxy.cfg` are a cluster on one machine.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use graybox_oracle::{Dims, FnOracle, Model, RowError, ServeConfig, UmBridgeServer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let port: u16 = args.next().ok_or("usage: serve PORT [SECONDS]")?.parse()?;
    let seconds: f64 = args.next().map_or(Ok(0.0), |seconds| seconds.parse())?;
    let pause = Duration::try_from_secs_f64(seconds)?;

    let throw = FnOracle::new(Dims::new(1, 1, 1), move |x, u| {
        thread::sleep(pause);
        let range = x[0] * x[0] * (2.0 * u[0]).sin() / 9.81;
        eprintln!("speed {}, elevation {}: range {range}", x[0], u[0]);
        if u[0] >= 0.0 {
            Ok([range])
        } else {
            Err(RowError::Failed("thrown into the ground".into()))
        }
    });
    let config = ServeConfig {
        address: ([127, 0, 0, 1], port).into(),
        workers: 1,
        ..ServeConfig::default()
    };
    let server = UmBridgeServer::start(vec![Model::from_oracle("forward", throw)], config)?;
    println!("{}", server.url());
    loop {
        thread::park();
    }
}
