//! Policy and surrogate in burn's own trainer, with its dashboard, metrics, checkpoints and early stopping:
//! `cargo run --release --features dashboard --example learner_dashboard`.
//!
//! A step of a `Learner` is one batch, one backward pass and one optimizer step, so this is the joint method in its
//! plainest form, in which every call is used once. graybox's own trainer gets more out of a call; this is for
//! projects that already live in burn-train.

mod joint;
mod metrics;
mod plain_log;

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::AdamConfig;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::{
    Interrupter, Learner, MetricEarlyStoppingStrategy, StoppingCondition, SupervisedTraining,
};
use clap::Parser;
use graybox::Dataset;
use graybox::model::MlpConfig;
use graybox::oracle::{Budget, Metered};
use graybox_app::{Artifacts, DeviceName};
use graybox_arena::TaskOracle;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use joint::{BlackBox, Joint, Row, RowBatcher};
use metrics::MismatchMetric;
use plain_log::PlainLog;

/// Train policy and surrogate inside burn's own trainer.
#[derive(Parser)]
struct Args {
    /// Task of the arena; `race --list` shows them
    #[arg(long, default_value = "asker")]
    task: String,
    /// Passes over the training rows; a row is one call in each of them
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Training rows
    #[arg(long, default_value_t = 512)]
    rows: usize,
    /// Validation rows; each is one call per epoch, since they decide when to stop
    #[arg(long, default_value_t = 64)]
    validation: usize,
    /// Epochs without a better validation loss after which training stops
    #[arg(long, default_value_t = 10)]
    patience: usize,
    /// Learning rate of both networks at the start; it falls to zero along a cosine
    #[arg(long, default_value_t = 5e-3)]
    learning_rate: f64,
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// flex, ndarray, wgpu, vulkan, cuda or cuda:N
    #[arg(long, default_value = "flex", env = "BURN_DEVICE")]
    device: DeviceName,
    /// Folder for metrics, checkpoints and weights
    #[arg(long, default_value = "target/graybox/learner_dashboard")]
    out: PathBuf,
}

/// Rows that go through the network at once.
const BATCH: usize = 32;

fn items(data: &Dataset) -> InMemDataset<Row> {
    let floats = |row: &[f64]| row.iter().map(|value| *value as f32).collect();
    let rows = data.x().iter().zip(data.target().iter());
    let rows = rows.map(|(x, target)| Row {
        x: floats(x),
        target: floats(target),
    });
    InMemDataset::new(rows.collect())
}

fn main() -> Result<()> {
    let args = Args::parse();
    if [args.epochs, args.rows, args.validation].contains(&0) {
        bail!("--epochs, --rows and --validation must be at least 1");
    }
    let device = args.device.open()?;
    let task = graybox_arena::by_name(&args.task)
        .with_context(|| format!("no task {:?}: `race --list` shows them", args.task))?;
    let training = task.sample(args.rows, args.seed);
    let validation = task.sample(args.validation, args.seed + 1);
    let held_out = task.sample(512, args.seed + 2);
    let training_items = items(&training);
    let problem = task.problem(training, &device)?;

    let budget = Budget::new((args.epochs * (args.rows + args.validation)) as u64)?;
    let interrupter = Interrupter::new();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let trained_on = device.clone().autodiff();
    let networks = MlpConfig::default();
    let joint = Joint::new(
        problem.policy(&networks).init(&mut rng, &trained_on),
        problem.surrogate(&networks).init(&mut rng, &trained_on),
        &problem,
        BlackBox {
            metered: Metered::new(TaskOracle::new(Arc::clone(&task), args.seed), budget),
            rng,
            interrupter: interrupter.clone(),
        },
    );
    let before = joint.true_loss(&held_out, &device);

    clear(&args.out)?;
    let loader = || {
        DataLoaderBuilder::new(RowBatcher)
            .batch_size(BATCH)
            .set_device(device.clone())
    };
    let mut learning = SupervisedTraining::new(
        &args.out,
        loader().shuffle(args.seed).build(training_items),
        loader().build(items(&validation)),
    )
    .metrics((LossMetric::new(), MismatchMetric::default()))
    .metric_train_numeric(LearningRateMetric::new())
    .num_epochs(args.epochs)
    .early_stopping(MetricEarlyStoppingStrategy::new(
        &LossMetric::new(),
        Aggregate::Mean,
        Direction::Lowest,
        Split::Valid,
        StoppingCondition::NoImprovementSince {
            n_epochs: args.patience,
        },
    ))
    .with_default_checkpointers()
    .with_interrupter(interrupter)
    .summary();
    if !std::io::stdout().is_terminal() {
        learning = learning.renderer(Box::new(PlainLog::default()));
    }
    let steps = args.epochs * args.rows.div_ceil(BATCH);
    let schedule = CosineAnnealingLrSchedulerConfig::new(args.learning_rate, steps)
        .init()
        .map_err(|error| anyhow!("--learning-rate: {error}"))?;
    let learned = learning.launch(Learner::new(joint, AdamConfig::new().init(), schedule));
    if let Some(error) = learned.error {
        bail!("training stopped: {error}");
    }
    if let Some(reason) = learned.interrupted.and_then(|stop| stop.reason) {
        println!("stopped early: {reason}");
    }

    let joint = learned.model;
    let (calls, after) = (joint.calls(), joint.true_loss(&held_out, &device));
    let artifacts = Artifacts::create(&args.out)?;
    artifacts.weights("policy.safetensors", &joint.policy)?;
    let summary = json!({
        "task": args.task,
        "algorithm": "joint, in burn-train",
        "seed": args.seed,
        "device": args.device.to_string(),
        "oracle_calls": calls,
        "true_loss_before": before,
        "true_loss_after": after,
    });
    artifacts.json("summary.json", &summary)?;
    println!("true held-out loss   {before:.3e} -> {after:.3e}");
    println!("oracle calls         {calls}, validation included");
    println!("results              {}", args.out.display());
    Ok(())
}

/// Takes away what an earlier run left in the folder, which the summary would mix with this one's.
fn clear(out: &std::path::Path) -> Result<()> {
    if out.join("experiment.log").exists() {
        for folder in ["train", "valid", "checkpoint"].map(|name| out.join(name)) {
            if folder.exists() {
                fs::remove_dir_all(&folder)
                    .with_context(|| format!("cannot clear {}", folder.display()))?;
            }
        }
    }
    Ok(())
}
