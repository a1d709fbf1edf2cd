//! The `[oracle]` table: a program, or a model behind UM-Bridge servers.

use anyhow::anyhow;
use graybox::Stop;
use graybox::oracle::{
    ConnectError, Description, Dims, Lanes, Oracle, ProcessConfig, ProcessOracle, Sample,
    UmBridgeConfig, UmBridgeOracle,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::outcome::{Blame, Failure};

/// Who answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum OracleSettings {
    /// A program that speaks JSON lines.
    Program(ProcessConfig),
    /// A model behind servers.
    Servers(UmBridgeConfig),
}

impl<'de> Deserialize<'de> for OracleSettings {
    /// `urls` tells the two apart. An untagged enum would only say that neither fits.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(from)?;
        let of_servers = table.contains_key("urls");
        let table = toml::Value::Table(table);
        let read = if of_servers {
            table.try_into().map(Self::Servers)
        } else {
            table.try_into().map(Self::Program)
        };
        read.map_err(|error| D::Error::custom(format!("oracle: {}", error.message())))
    }
}

/// An oracle, and what it says of itself.
pub(crate) type Started = (Box<dyn Oracle>, Description);

impl OracleSettings {
    /// Starts the program, or asks the servers what the model is. A flag that is set later ends the waiting for
    /// rows.
    pub(crate) fn start(&self, stop: &Stop) -> Result<Started, Failure> {
        match self {
            Self::Program(config) => {
                let oracle = ProcessOracle::start(config.clone()).or_oracle()?;
                let said = oracle.description().clone();
                Ok((Box::new(oracle.with_stop(stop.flag())), said))
            }
            Self::Servers(config) => {
                let oracle = connect(config, stop)?;
                let said = oracle.description().clone();
                Ok((Box::new(oracle), said))
            }
        }
    }

    /// [`start`](Self::start) of an oracle that goes on answering while the networks train.
    pub(crate) fn start_lanes(&self, stop: &Stop) -> Result<Started, Failure> {
        match self {
            Self::Program(config) => {
                let started = ProcessOracle::start_lanes(config, &stop.flag());
                let (lanes, said) = started.or_oracle()?;
                Ok((Box::new(lanes), said))
            }
            Self::Servers(config) => {
                let oracle = connect(config, stop)?;
                let (said, connections) = (oracle.description().clone(), oracle.connections());
                Ok((Box::new(Lanes::sharing(oracle, connections)), said))
            }
        }
    }

    /// Rows that are asked at the same time.
    pub(crate) fn at_a_time(&self) -> usize {
        match self {
            Self::Program(config) => config.workers.max(config.prefixes.len()),
            Self::Servers(config) => config.connections.max(config.urls.len()),
        }
    }

    /// Rows that a program draws itself.
    pub(crate) fn sample(&self, dims: Dims, n: usize, seed: u64) -> Result<Sample, Failure> {
        match self {
            Self::Program(config) => Sample::from_program(config, dims, n, seed).or_oracle(),
            Self::Servers(_) => Err(Failure::usage(anyhow!(
                "UM-Bridge servers draw no data: name a file with contexts and wanted outcomes"
            ))),
        }
    }
}

fn connect(config: &UmBridgeConfig, stop: &Stop) -> Result<UmBridgeOracle, Failure> {
    if let Some(url) = config.urls.iter().find(|url| url.starts_with("https:")) {
        return Err(Failure::usage(anyhow!(
            "{url}: encryption (https) is not compiled in; reach the server through an ssh tunnel or a proxy on this \
             machine, by http"
        )));
    }
    let oracle = UmBridgeOracle::connect(config.clone()).map_err(|error| match error {
        ConnectError::Config(_) | ConnectError::NoToken(_) => Failure::usage(error),
        error => Failure::oracle(error),
    })?;
    Ok(oracle.with_stop(stop.flag()))
}
