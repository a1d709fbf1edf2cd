//! How long graybox's steps take.
//!
//! `graybox-bench ratios` compares each step with the same step written by hand, and with `--peers` with JAX
//! and PyTorch. All contenders take turns in one run, on one thread where they let themselves be told.

mod asynchronous;
mod bound;
mod contest;
mod figures;
mod joint;
mod memory;
mod plumbing;
mod population;
mod rounds;
mod scaling;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use contest::{Case, Ratios};

/// A step makes a few hundred small allocations; this allocator halves what they cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "How long graybox's steps take")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time per step, and its ratio to the same step written by hand.
    Ratios {
        /// Writes the ratios to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Runs JAX and PyTorch beside; needs a Python with jax, optax, torch and numpy.
        #[arg(long)]
        peers: bool,
        /// The Python for the peers.
        #[arg(long, default_value = "python3")]
        python: PathBuf,
        /// Cases whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
        /// Seconds per case.
        #[arg(long, default_value_t = 6.0)]
        seconds: f64,
    },
    /// Measures every figure of the READMEs again and fails if one is off.
    Figures {
        /// Puts figures and pictures right instead of failing.
        #[arg(long)]
        write: bool,
    },
    /// Memory and time per step over many joint steps.
    Memory {
        /// Steps in all.
        #[arg(long, default_value_t = 1_000_000)]
        steps: usize,
    },
    /// Runs of slow calls that wait for them, and that do not.
    Asynchronous {
        /// A task of the arena.
        #[arg(default_value = "asker")]
        task: String,
    },
    /// Runs side by side, as threads and as processes.
    Scaling {
        /// Runs at a time.
        #[arg(long, default_value_t = 2)]
        workers: usize,
    },
    /// One of the processes of `scaling`.
    #[command(hide = true)]
    Worker,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Ratios {
            json,
            peers,
            python,
            only,
            seconds,
        } => {
            let mut table = BTreeMap::new();
            println!(
                "{:<34} {:>12} {:>10} {:>12} {:>12} {:>7}",
                "case", "per step", "steps/s", "per call", "bound", "ratio"
            );
            for make in CASES {
                let case = make();
                if !case.name.contains(&only) {
                    continue;
                }
                let name = case.name.clone();
                let python = peers.then_some(python.as_path());
                let ratios = contest::run(case, python, Duration::from_secs_f64(seconds))
                    .with_context(|| format!("case {name:?}"))?;
                print(&name, &ratios);
                table.insert(name, ratios);
            }
            if let Some(path) = json {
                std::fs::write(&path, serde_json::to_string_pretty(&table)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(())
        }
        Command::Figures { write } => figures::run(write),
        Command::Memory { steps } => memory::run(steps),
        Command::Asynchronous { task } => asynchronous::run(&task),
        Command::Scaling { workers } => scaling::run(workers),
        Command::Worker => scaling::work(),
    }
}

const CASES: &[fn() -> Case] = &[
    || joint::case(64, [32, 64]),
    || joint::case(1024, [32, 64]),
    || joint::case(64, [256, 256]),
    || joint::case(1024, [256, 256]),
    || population::case(256, 64),
    || population::case(4096, 64),
    || rounds::anchored(16),
    || rounds::differences(64, 1),
    || rounds::differences(64, 8),
    || rounds::differences(64, 64),
    || plumbing::closure(64),
];

fn print(name: &str, ratios: &Ratios) {
    let time = |seconds: f64| {
        if seconds < 1e-6 {
            format!("{:.0} ns", seconds * 1e9)
        } else if seconds < 1e-3 {
            format!("{:.1} us", seconds * 1e6)
        } else {
            format!("{:.2} ms", seconds * 1e3)
        }
    };
    let bound = ratios.bound.map_or_else(String::new, time);
    let ratio = match (ratios.ratio, ratios.spread) {
        (Some(ratio), Some([low, high])) => format!("{ratio:.2} ({low:.2}–{high:.2})"),
        _ => String::new(),
    };
    println!(
        "{name:<34} {:>12} {:>10.0} {:>12} {bound:>12} {ratio:>7}",
        time(ratios.ours),
        1.0 / ratios.ours,
        time(ratios.per_call),
    );
    for (peer, ratio) in &ratios.peers {
        let over_ours = ratio / ratios.ratio.unwrap_or(1.0);
        let over_bound = match ratios.bound {
            Some(_) => format!("{ratio:.2} x bound, "),
            None => String::new(),
        };
        println!("    {peer:<30} {over_bound}{over_ours:.2} x ours");
    }
}
