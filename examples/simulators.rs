//! Five real simulators, each called through a pool of processes: what 1,200 calls reach on rows held out.
//!
//! An amplifier in ngspice, a JPEG encoder, a throw over a wall in MuJoCo, ignition in Cantera and a heat pump on
//! CoolProp; `assets/simulators` says what they need. One configuration for all, several seeds. Of 300 rows that
//! the program samples, the first 240 are trained on and the last 60 are held out; a row's loss is the mean over
//! outcomes of `((y − Y) / scale)²`.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use burn::prelude::*;
use clap::Parser;
use graybox::oracle::{Oracle, ProcessConfig, ProcessOracle, Queries, Rows, Sample};
use graybox::{Dataset, Problem, Progress, TrainConfig, Trainer};
use graybox_app::{Artifacts, Console, DeviceName, stop_on_ctrl_c};
use graybox_model::Policy;
use serde_json::{Value, json};

/// Train through real simulators and write a table.
#[derive(Parser)]
struct Args {
    /// Names of programs; all five if not given
    programs: Vec<String>,
    /// A run for each
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Oracle calls of a run
    #[arg(long, default_value_t = 1_200)]
    calls: u64,
    /// The Python that has the simulators' packages
    #[arg(long, default_value = "python3", env = "GRAYBOX_PYTHON")]
    python: String,
    /// JSON file with the settings of a run, instead of the defaults
    #[arg(long)]
    config: Option<PathBuf>,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Folder for the results
    #[arg(long, default_value = "target/graybox/simulators")]
    out: PathBuf,
}

const PROGRAMS: [&str; 5] = [
    "amp_ngspice",
    "jpeg_size",
    "throw_mujoco",
    "ignition_cantera",
    "heatpump_coolprop",
];
/// Rows asked from a program, how many of them are trained on, and the seed they are drawn with.
const ROWS: usize = 300;
const TRAINED_ON: usize = 240;
const ROWS_SEED: u64 = 7;

fn main() -> Result<()> {
    let args = Args::parse();
    let stop = stop_on_ctrl_c()?;
    let all = PROGRAMS.map(String::from);
    let programs = if args.programs.is_empty() {
        &all[..]
    } else {
        &args.programs
    };
    let mut runs = Vec::new();
    for program in programs {
        let command = [
            args.python.clone(),
            format!("assets/simulators/{program}.py"),
        ];
        let process = ProcessConfig {
            workers: 2,
            // A property library may take minutes to load on a busy machine.
            start_limit: Duration::from_mins(10),
            ..ProcessConfig::new(command)
        };
        let oracle = Arc::new(ProcessOracle::start(process.clone())?.with_stop(stop.flag()));
        let described = oracle.description();
        let sample = Sample::from_program(&process, described.dims(), ROWS, ROWS_SEED)?;
        let data = Dataset::new(sample.x, sample.target)?;
        let index: Vec<usize> = (0..ROWS).collect();
        let (first, last) = index.split_at(TRAINED_ON);
        let (train, held_out) = (data.select(first), data.select(last));
        for &seed in &args.seeds {
            let device = args.device.open()?;
            let config = TrainConfig {
                calls: args.calls,
                seed,
                ..settings(args.config.as_ref())?
            };
            let problem = Problem::described(train.clone(), described, &device)?;
            let mut trainer = Trainer::new(config, problem, Arc::clone(&oracle))?
                .with_held_out(held_out.clone())
                .with_stop(stop.clone());
            let report = trainer.run(&mut Console::new(format!("{program}, seed {seed}")))?;
            if stop.is_set() {
                return Ok(());
            }
            let losses = |data: &Dataset| losses(&trainer, &oracle, data, &device);
            let lines = &trainer.history().lines;
            runs.push(json!({
                "program": program, "seed": seed, "calls": report.oracle_calls,
                "before": report.true_loss_before,
                "held_out": losses(&held_out)?, "trained_on": losses(&train)?,
                "failed_first_quarter": failed(lines, 0, args.calls / 4),
                "failed_last_quarter": failed(lines, args.calls - args.calls / 4, args.calls),
                "wall_s": report.wall_s, "oracle_s": report.oracle_s,
                "terms": lines.iter().rev().find(|line| !line.terms.is_empty()).map(|line| &line.terms),
            }));
            let artifacts = Artifacts::create(&args.out)?;
            artifacts.json("runs.json", &runs)?;
            let table = table(&runs)?;
            artifacts.write("table.md", |path| Ok(fs::write(path, table)?))?;
        }
    }
    print!("{}", table(&runs)?);
    Ok(())
}

fn settings(path: Option<&PathBuf>) -> Result<TrainConfig> {
    let Some(path) = path else {
        return Ok(TrainConfig::default());
    };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The true losses of the policy on these rows, in ascending order; those of failed rows are missing.
/// These calls measure and are not charged.
fn losses<P: Policy>(
    trainer: &Trainer<P>,
    oracle: &ProcessOracle,
    data: &Dataset,
    device: &Device,
) -> Result<Vec<f64>> {
    let x = data.x();
    let values = TensorData::new(x.as_slice().to_vec(), [x.len(), x.width()]);
    let u = trainer.policy().forward(Tensor::from_data(values, device));
    let u = u
        .into_data()
        .try_to_vec_as::<f64>()
        .context("actions are numbers")?;
    let u = Rows::from_vec(oracle.dims().u, u)?;
    let outcomes = oracle.evaluate(Queries::new(x, &u)?);
    let objective = trainer.problem().objective();
    let rows = outcomes.iter().zip(data.target().iter());
    let mut losses: Vec<f64> = rows
        .filter_map(|(y, target)| Some(objective.value(y.as_ref().ok()?, target)))
        .collect();
    losses.sort_by(f64::total_cmp);
    Ok(losses)
}

/// Share of the calls from `from` to `to` that failed.
fn failed(lines: &[Progress], from: u64, to: u64) -> f64 {
    let until = |calls| lines.iter().rfind(|line| line.calls <= calls);
    let (Some(first), Some(last)) = (until(from), until(to)) else {
        return 0.0;
    };
    let calls = (last.calls - first.calls).max(1);
    (last.failed - first.failed) as f64 / calls as f64
}

/// One line a run, as Markdown.
fn table(runs: &[Value]) -> Result<String> {
    let mut table = String::from(
        "| program | seed | before | mean | median | failed rows | mean, trained on | failed calls, first to last quarter |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let losses = |key: &str| -> Vec<f64> {
            let losses = run[key].as_array().into_iter().flatten();
            losses.filter_map(Value::as_f64).collect()
        };
        let (held_out, trained_on) = (losses("held_out"), losses("trained_on"));
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        writeln!(
            table,
            "| {} | {} | {:.2} | {:.4} | {:.4} | {} | {:.4} | {:.1} → {:.1} % |",
            run["program"].as_str().unwrap_or_default(),
            run["seed"],
            run["before"].as_f64().unwrap_or(f64::NAN),
            mean(&held_out),
            held_out
                .get(held_out.len() / 2)
                .copied()
                .unwrap_or(f64::NAN),
            ROWS - TRAINED_ON - held_out.len(),
            mean(&trained_on),
            100.0 * run["failed_first_quarter"].as_f64().unwrap_or(f64::NAN),
            100.0 * run["failed_last_quarter"].as_f64().unwrap_or(f64::NAN),
        )?;
    }
    Ok(table)
}
