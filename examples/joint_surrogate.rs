//! Trains a gunner: a policy and a surrogate, jointly, through a ballistic simulator that can only be called.
//!
//! The policy sees wind and distance and chooses the elevation; the simulator integrates the flight with drag
//! and finds the impact; the surrogate learns to predict range and time of flight, and the policy learns
//! through it. The simulator's derivative is used for one thing only: the white-box reference beside it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use graybox::algorithm::{JointConfig, Routing};
use graybox::{AlgorithmConfig, Dataset, Ending, TrainConfig, Trainer};
use graybox_app::{Artifacts, Console, Curve, DeviceName, Summary, stop_on_ctrl_c};
use graybox_arena::{TaskOracle, white_box};

/// Train a policy and a surrogate jointly through a ballistic simulator.
#[derive(Parser)]
struct Args {
    /// Oracle calls that may be made
    #[arg(long, default_value_t = 2_000)]
    calls: u64,
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Train on L* itself, with this routing of its terms: split, biased or literal. Without it,
    /// the default algorithm: the terms split, every call kept and used again
    #[arg(long, value_parser = parse_routing)]
    routing: Option<Routing>,
    /// Weight of the mismatch in L*, with the split routing if none is given
    #[arg(long)]
    lambda: Option<f64>,
    /// CSV with the columns wind_m_s, distance_m, range_m and flight_s
    #[arg(long, default_value = "assets/data/cannon.csv")]
    data: PathBuf,
    /// Folder for the results
    #[arg(long, default_value = "target/graybox/joint_surrogate")]
    out: PathBuf,
}

fn parse_routing(name: &str) -> Result<Routing, String> {
    let quoted = serde_json::Value::from(name);
    serde_json::from_value(quoted).map_err(|_| "expected split, biased or literal".into())
}

fn algorithm(routing: Option<Routing>, lambda: Option<f64>) -> AlgorithmConfig {
    if routing.is_none() && lambda.is_none() {
        return AlgorithmConfig::default();
    }
    let mut joint = JointConfig::new(routing.unwrap_or_default());
    joint.lambda = lambda.unwrap_or(joint.lambda);
    AlgorithmConfig::Joint(joint)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = args.device.open()?;
    let task = graybox_arena::by_name("cannon").context("the arena has lost its cannon")?;
    let [x, _, y] = task.columns();
    let data = Dataset::read_csv(&args.data, &x, &y)?;
    let (train, held_out) = data.hold_out(0.25, args.seed)?;
    let problem = task.problem(train, &device)?;

    let config = TrainConfig {
        calls: args.calls,
        seed: args.seed,
        algorithm: algorithm(args.routing, args.lambda),
        scores: 40,
        ..TrainConfig::default()
    };
    let stop = stop_on_ctrl_c()?;
    let mut trainer = Trainer::new(
        config.clone(),
        problem.clone(),
        TaskOracle::new(task.clone(), args.seed),
    )?
    .with_held_out(held_out.clone())
    .with_stop(stop.clone());
    let run = trainer.run(&mut Console::new(config.algorithm.name()))?;

    let mut reference = white_box::reference(&task, problem, &config)?
        .with_held_out(held_out)
        .with_stop(stop);
    let white_box = reference.run(&mut Console::new("white box"))?;

    let mut summary = Summary::new("cannon", &args.device, &trainer, &run);
    // What an interrupted reference reached says nothing.
    if white_box.ending == Ending::BudgetSpent {
        summary.white_box_loss = white_box.true_loss_after;
    }
    let curves = [
        Curve::held_out(
            &format!("{}, oracle called only", config.algorithm.name()),
            trainer.history(),
        ),
        Curve::held_out("white box, true gradient", reference.history()),
    ];
    Artifacts::create(&args.out)?.run(&trainer, &summary, &curves)?;
    println!("{summary}");
    println!("results              {}", args.out.display());
    Ok(())
}
