//! A thin lens as a UM-Bridge model, for any client of that protocol: `serve PORT [SECONDS]`.
//!
//! The context is the distance of the object, the action the focal length, the outcome the distance of the image.
//! Every call takes SECONDS, as if it were a simulation, and is told on standard error. Several of these behind
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

    let lens = FnOracle::new(Dims::new(1, 1, 1), move |x, u| {
        thread::sleep(pause);
        let image = 1.0 / (1.0 / u[0] - 1.0 / x[0]);
        eprintln!("object {}, focal length {}: image {image}", x[0], u[0]);
        if image > 0.0 {
            Ok([image])
        } else {
            Err(RowError::Failed("no real image".into()))
        }
    });
    let config = ServeConfig {
        address: ([127, 0, 0, 1], port).into(),
        workers: 1,
        ..ServeConfig::default()
    };
    let server = UmBridgeServer::start(vec![Model::from_oracle("forward", lens)], config)?;
    println!("{}", server.url());
    loop {
        thread::park();
    }
}
