//! Whole rounds of an algorithm as the trainer runs them: batch, actions, oracle, bookkeeping, networks.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::Result;
use burn::prelude::Device;
use graybox::algorithm::{AnchoredConfig, FiniteDifferenceConfig, Step};
use graybox::model::HeadConfig;
use graybox::oracle::{Dims, FnOracle, Rows};
use graybox::{
    AlgorithmConfig, Dataset, Observer, OptimizerKind, Problem, Progress, Stop, TrainConfig,
    Trainer,
};

use crate::contest::{Case, Contender};
use crate::joint;

/// Training rows to draw from.
const ROWS: usize = 1024;
/// Inner steps per call, as a run of 2,000 calls takes them.
const STEPS_PER_CALL: f64 = 5.0;

/// A round of the default algorithm on this many rows, at the settings of a run of 2,000 calls, with the one
/// policy that is left in its second half. A row is one call. The budget has no end, and so would the survey.
pub(crate) fn anchored(rows: usize) -> Case {
    let algorithm = AlgorithmConfig::Anchored(AnchoredConfig {
        steps_per_call: Some(STEPS_PER_CALL),
        population: 1,
        constant: 0,
        survey: 0.0,
        ramp: 0.0,
        ..AnchoredConfig::default()
    });
    let steps = (STEPS_PER_CALL * rows as f64) as usize;
    Case {
        name: format!("default round {rows} calls"),
        ours: contender(algorithm, OptimizerKind::Soap, rows, 1),
        bound: None,
        peers: vec![("jax", format!("round {rows} {steps}"))],
        calls: rows,
    }
}

/// A step of Adam along central differences of this many actions: `2 d_u` calls per row.
pub(crate) fn differences(rows: usize, d_u: usize) -> Case {
    let algorithm = AlgorithmConfig::FiniteDifference(FiniteDifferenceConfig {
        step: Step::Fixed(1e-3),
        ..FiniteDifferenceConfig::default()
    });
    let peers = ["jax", "torch"];
    Case {
        name: format!("differences d_u {d_u} batch {rows}"),
        ours: contender(algorithm, OptimizerKind::Adam, rows, d_u),
        bound: None,
        peers: peers
            .into_iter()
            .map(|name| (name, format!("differences {rows} {d_u}")))
            .collect(),
        calls: 2 * d_u * rows,
    }
}

/// `[x₁ ū + 0.3 u̅², x₂ − ū]` of the mean action and the mean square: of one action, what the joint step asks.
fn oracle(x: &[f64], u: &[f64]) -> [f64; 2] {
    let n = u.len() as f64;
    let mean = u.iter().sum::<f64>() / n;
    let square = u.iter().map(|u| u * u).sum::<f64>() / n;
    [x[0] * mean + 0.3 * square, x[1] - mean]
}

fn contender(
    algorithm: AlgorithmConfig,
    optimizer: OptimizerKind,
    rows: usize,
    d_u: usize,
) -> Contender {
    let (begin, ready) = channel();
    let (tell, told) = channel();
    let config = TrainConfig {
        calls: u64::from(u32::MAX),
        batch: Some(rows),
        optimizer,
        algorithm,
        ..TrainConfig::default()
    };
    thread::spawn(move || {
        let stop = Stop::new();
        let pace = Pace { ready, tell, stop };
        if let Err(error) = train(config, d_u, pace) {
            eprintln!("the run ended: {error:#}");
        }
    });
    // The trainer tells how it begins before its first round.
    told.recv().expect("the run has begun");
    Contender::native("graybox", move || {
        begin
            .send(())
            .expect("the run is waiting for its next round");
        told.recv().expect("the run ends no sooner than its budget");
    })
}

fn train(config: TrainConfig, d_u: usize, mut pace: Pace) -> Result<()> {
    let wide = |values: Vec<f32>| {
        let values = values.into_iter().map(f64::from).collect();
        Rows::from_vec(2, values)
    };
    let (x, target) = joint::rows(ROWS, 1);
    let data = Dataset::new(wide(x)?, wide(target)?)?;
    let actions = HeadConfig::scaled(vec![0.0; d_u], vec![1.0; d_u])?;
    let problem = Problem::new(data, actions, &Device::flex())?;
    let oracle = FnOracle::new(Dims::new(2, d_u, 2), oracle);
    let trainer = Trainer::new(config, problem, oracle)?;
    trainer.with_stop(pace.stop.clone()).run(&mut pace)?;
    Ok(())
}

/// Holds a run back until somebody wants its next round, and ends it when nobody does any more: it would take a core
/// from the contests that follow.
struct Pace {
    ready: Receiver<()>,
    tell: Sender<()>,
    stop: Stop,
}

impl Observer for Pace {
    fn progress(&mut self, _: &Progress) {
        let told = self.tell.send(()).is_ok();
        if !told || self.ready.recv().is_err() {
            self.stop.set();
        }
    }
}
