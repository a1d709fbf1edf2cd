//! UM-Bridge over real connections: our server, and servers that do what others have been seen to do.

#![cfg(feature = "umbridge")]

mod by_hand;
mod connect;
mod faults;
mod gradient;
mod served;

use graybox_oracle::{
    Dims, FnOracle, Model, Oracle, Outcome, Queries, RowError, Rows, ServeConfig, UmBridgeOracle,
};

fn anywhere() -> ServeConfig {
    ServeConfig {
        address: ([127, 0, 0, 1], 0).into(),
        ..ServeConfig::default()
    }
}

/// F(x, u) = (x + u, x u), which fails below zero.
fn forward() -> Model {
    let oracle = FnOracle::new(Dims::new(1, 1, 2), |x, u| {
        if u[0] < 0.0 {
            return Err(RowError::Failed("did not converge".into()));
        }
        Ok([x[0] + u[0], x[0] * u[0]])
    });
    Model::from_oracle("forward", oracle)
}

fn ask(oracle: &UmBridgeOracle, u: &[f64]) -> Vec<Outcome> {
    let x = Rows::from_vec(1, vec![2.0; u.len()]).unwrap();
    let u = Rows::from_vec(1, u.to_vec()).unwrap();
    oracle.evaluate(Queries::new(&x, &u).unwrap())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with outcomes, which are results"
)]
fn truth(u: f64) -> Outcome {
    Ok(vec![2.0 + u, 2.0 * u])
}
