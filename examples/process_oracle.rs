//! Trains a policy through any program that speaks JSON lines: `process_oracle -- PROGRAM ARGS…`.
//!
//! Sizes, ranges and scales come from the program's handshake; data from what `PROGRAM --sample N SEED`
//! prints, or from a CSV with a column for every context and, named like the outcomes, every target.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use graybox::oracle::{ProcessConfig, ProcessOracle, Sample};
use graybox::{Dataset, Problem, TrainConfig, Trainer};
use graybox_app::{Artifacts, Console, Curve, DeviceName, Summary, stop_on_ctrl_c};

/// Train a policy through a program that speaks JSON lines.
#[derive(Parser)]
#[command(after_help = "Example:\n  process_oracle --calls 1200 -- python3 assets/oracles/lens.py")]
struct Args {
    /// Oracle calls that may be made
    #[arg(long, default_value_t = 1_200)]
    calls: u64,
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Rows asked from the program's --sample
    #[arg(long, default_value_t = 300, conflicts_with = "data")]
    sample: usize,
    /// Seed handed to the program's --sample
    #[arg(long, default_value_t = 7, conflicts_with = "data")]
    sample_seed: u64,
    /// CSV to train on instead
    #[arg(long)]
    data: Option<PathBuf>,
    /// Share of the rows that is held out
    #[arg(long, default_value_t = 0.2)]
    held_out: f64,
    /// Programs run side by side
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Folder for the results
    #[arg(long, default_value = "target/graybox/process_oracle")]
    out: PathBuf,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = args.device.open()?;
    let config = TrainConfig {
        calls: args.calls,
        seed: args.seed,
        ..TrainConfig::default()
    };
    config.check()?;
    let process = ProcessConfig {
        workers: args.workers,
        ..ProcessConfig::new(args.program)
    };
    let stop = stop_on_ctrl_c()?;
    let oracle = ProcessOracle::start(process.clone())?.with_stop(stop.flag());
    let described = oracle.description().clone();
    let data = if let Some(path) = &args.data {
        let names = |of: &[graybox::oracle::Quantity]| -> Vec<String> {
            of.iter().map(|quantity| quantity.name.clone()).collect()
        };
        Dataset::read_csv(path, &names(&described.x), &names(&described.y))?
    } else {
        let sample =
            Sample::from_program(&process, described.dims(), args.sample, args.sample_seed)?;
        Dataset::new(sample.x, sample.target)?
    };
    let (train, held_out) = data.hold_out(args.held_out, args.seed)?;
    let problem = Problem::described(train, &described, &device)?;

    let mut trainer = Trainer::new(config, problem, oracle)?
        .with_held_out(held_out)
        .with_stop(stop);
    let run = trainer.run(&mut Console::new(described.name.clone()))?;

    let summary = Summary::new(&described.name, &args.device, &trainer, &run);
    let curve = Curve::held_out(trainer.facts().name, trainer.history());
    Artifacts::create(&args.out)?.run(&trainer, &summary, &[curve])?;
    println!("{summary}");
    println!("results              {}", args.out.display());
    Ok(())
}
