//! UM-Bridge: models behind HTTP, as the field of uncertainty quantification runs them on clusters.
//!
//! [`UmBridgeOracle`] asks the models of others, [`UmBridgeServer`] offers a closure, an oracle or a policy to
//! the clients of others. Protocol 1.0, and 0.9 as a client: JSON over HTTP/1.1, one row a request, so that many
//! rows at a time are many connections. There is no batch, no authentication and no encryption in it; a proxy in
//! front adds the last two.
//!
//! `client` is the oracle, `handshake` what it asks before the first row, `wire` what goes over the connections,
//! `model` and `server` the other side.
//!
//! Source: Seelinger et al., UM-Bridge: Uncertainty quantification and modeling bridge, JOSS 8(83), 2023.

mod client;
mod config;
mod handshake;
mod model;
mod server;
mod wire;

pub use client::UmBridgeOracle;
pub use config::{ConnectError, UmBridgeConfig};
pub use model::{Model, Page};
pub use server::{ServeConfig, ServeError, UmBridgeServer};

/// The outcome in an answer, if the answer decides on the row.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn read(status: u16, body: &[u8], output_sizes: &[usize]) -> Option<crate::Outcome> {
    match wire::read_evaluate(status, body, output_sizes) {
        wire::Verdict::Outcome(outcome) => Some(outcome),
        _ => None,
    }
}
