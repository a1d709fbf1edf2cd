//! Every method on one task with the same number of oracle calls: what each reaches, at what cost, and what
//! its steps really follow.
//!
//! Below them stands training with the true gradient, which no method sees.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use graybox::algorithm::{JointConfig, Routing};
use graybox::model::MlpConfig;
use graybox::{AlgorithmConfig, RunReport, TrainConfig, Trainer};
use graybox_app::{
    Artifacts, Console, Curve, DeviceName, Summary, learning_curves, stop_on_ctrl_c,
};
use graybox_arena::{Task, TaskOracle, Truth, white_box};

/// Compare all methods on one task with the same number of oracle calls.
#[derive(Parser)]
struct Args {
    /// Name of the task
    #[arg(long, default_value = "asker")]
    task: String,
    /// Oracle calls that each method may make
    #[arg(long, default_value_t = 4_000)]
    calls: u64,
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Names of methods, separated by commas; all if not given
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Training rows; as many as the task says if not given
    #[arg(long)]
    rows: Option<usize>,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Folder for the results
    #[arg(long, default_value = "target/graybox/compare_methods")]
    out: PathBuf,
}

/// Rows that no method is trained on, scored without noise.
const HELD_OUT: usize = 2_048;

/// Every algorithm with its default settings, and the other ways to cut L*.
fn methods() -> Vec<(String, AlgorithmConfig)> {
    let mut methods: Vec<_> = AlgorithmConfig::all()
        .into_iter()
        .map(|config| (config.name().to_string(), config))
        .collect();
    for routing in [Routing::Biased, Routing::Literal] {
        let name = format!("joint_{routing:?}").to_lowercase();
        methods.push((name, AlgorithmConfig::Joint(JointConfig::new(routing))));
    }
    methods
}

fn chosen(names: &[String]) -> Result<Vec<(String, AlgorithmConfig)>> {
    let all = methods();
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|(known, _)| known == name).cloned();
        found.with_context(|| {
            let known: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
            format!("no method {name:?}: expected {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn task(name: &str) -> Result<Arc<dyn Task>> {
    graybox_arena::by_name(name).with_context(|| {
        let known: Vec<_> = graybox_arena::all()
            .iter()
            .map(|task| task.name())
            .collect();
        format!("no task {name:?}: expected {}", known.join(", "))
    })
}

fn main() -> Result<()> {
    let args = Args::parse();
    let task = task(&args.task)?;
    let methods = chosen(&args.methods)?;
    if args.rows == Some(0) {
        bail!("--rows is 0, expected at least 1");
    }
    let device = args.device.open()?;
    let data = match args.rows {
        Some(rows) => task.sample(rows, args.seed),
        None => task.training(args.seed),
    };
    let held_out = task.sample(HELD_OUT, !args.seed);
    let problem = task.problem(data, &device)?;
    let stop = stop_on_ctrl_c()?;
    let config = |algorithm| TrainConfig {
        calls: args.calls,
        seed: args.seed,
        policy: MlpConfig::new([32, 32]),
        algorithm,
        scores: 20,
        ..TrainConfig::default()
    };
    let run = |name: &str, trainer: Trainer<_>| -> Result<(Trainer<_>, RunReport)> {
        let mut trainer = trainer
            .with_held_out(held_out.clone())
            .with_truth(Truth(Arc::clone(&task)))
            .with_stop(stop.clone());
        let report = trainer
            .run(&mut Console::new(name))
            .with_context(|| name.to_string())?;
        Ok((trainer, report))
    };

    let (mut summaries, mut curves) = (Vec::new(), Vec::new());
    for (name, algorithm) in methods {
        let oracle = TaskOracle::new(Arc::clone(&task), args.seed);
        let trainer = Trainer::new(config(algorithm), problem.clone(), oracle)?;
        let (trainer, report) = run(&name, trainer)?;
        let mut summary = Summary::new(task.name(), &args.device, &trainer, &report);
        summary.algorithm.clone_from(&name);
        summaries.push(summary);
        curves.push(Curve::held_out(&name, trainer.history()));
        if stop.is_set() {
            break;
        }
    }
    let reference =
        white_box::reference(&task, problem.clone(), &config(AlgorithmConfig::default()))?;
    let (reference, report) = run("white_box", reference)?;
    curves.push(Curve::held_out("white_box", reference.history()));
    for summary in &mut summaries {
        summary.white_box_loss = report.true_loss_after;
    }

    println!("{}: {}", task.name(), task.about());
    let white_box = Summary::new(task.name(), &args.device, &reference, &report);
    print_table(summaries.iter().chain([&white_box]));
    let artifacts = Artifacts::create(&args.out)?;
    artifacts.json("summary.json", &summaries)?;
    if curves.iter().any(Curve::can_be_drawn) {
        artifacts.write("comparison.svg", |path| {
            learning_curves(path, task.name(), &curves)
        })?;
    }
    println!("\nresults  {}", args.out.display());
    Ok(())
}

fn print_table<'a>(summaries: impl Iterator<Item = &'a Summary>) {
    println!("\nmethod              calls/row    calls  true loss  seconds  biased?");
    for summary in summaries {
        let loss = summary.true_loss_after;
        println!(
            "{:<18} {:>10} {:>8} {:>10} {:>8.1}  {}",
            summary.algorithm,
            summary.facts.calls_per_row,
            summary.oracle_calls,
            loss.map_or("unknown".into(), |loss| format!("{loss:.2e}")),
            summary.wall_s,
            summary.facts.bias,
        );
    }
}
