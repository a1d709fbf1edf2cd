//! The pool against Python's own ways to spread a function: the same trivial function on two workers.
//!
//! `cargo bench -p graybox-oracle --bench executors` takes the median of five turns of each, in turn, and ends with
//! an error if the pool is less than five times as fast as `ProcessPoolExecutor.submit` or ten times as fast as Ray
//! tasks. `GRAYBOX_PYTHON` names the Python to use; without Ray in it, that line says so.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Instant;

use graybox_oracle::{Oracle, ProcessConfig, ProcessOracle, Queries, Rows};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/executors.py");
const TURNS: usize = 5;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs benches without the flag: nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool> {
    let python = std::env::var("GRAYBOX_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut all_hold = true;
    for (peer, name, n, least) in [
        ("submit", "ProcessPoolExecutor.submit", 4_000, 5.0),
        ("ray", "Ray tasks", 2_000, 10.0),
    ] {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let Ok(theirs) = theirs(&python, peer, n) else {
                break;
            };
            turns.push((pooled(&python, 40_000)?, theirs));
        }
        turns.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let Some((ours, theirs)) = turns.get(turns.len() / 2) else {
            println!("{name}: not measured, since {python} does not run it");
            continue;
        };
        let ratio = ours / theirs;
        all_hold &= ratio >= least;
        println!("{name:<28} {ours:>8.0}/s of {theirs:>7.0}/s = {ratio:.1}, at least {least}");
    }
    Ok(all_hold)
}

/// Rows per second through the pool, one row a line.
fn pooled(python: &str, n: usize) -> Result<f64> {
    let config = ProcessConfig {
        workers: 2,
        window: 256,
        ..ProcessConfig::new([python, SCRIPT, "worker"])
    };
    let oracle = ProcessOracle::start(config)?;
    let value = |k: usize| (k % 1000) as f64 / 7.0;
    let x = Rows::from_vec(2, (0..2 * n).map(value).collect())?;
    let u = Rows::from_vec(2, (0..2 * n).rev().map(value).collect())?;
    // Both workers are up when they have had some rows.
    let first: Vec<usize> = (0..8).collect();
    oracle.evaluate(Queries::new(&x.select(&first), &u.select(&first))?);
    let start = Instant::now();
    let outcomes = oracle.evaluate(Queries::new(&x, &u)?);
    let rate = n as f64 / start.elapsed().as_secs_f64();
    for outcome in outcomes {
        outcome?;
    }
    Ok(rate)
}

/// Calls per second of a peer.
fn theirs(python: &str, peer: &str, n: usize) -> Result<f64> {
    let output = Command::new(python)
        .args([SCRIPT, peer, &n.to_string()])
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let rate = printed.lines().last().ok_or("nothing printed")?;
    Ok(rate.trim().parse()?)
}
