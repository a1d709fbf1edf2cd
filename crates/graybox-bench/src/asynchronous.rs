//! Slow, uneven calls and networks that train: runs that wait, and runs that do not.
//!
//! Every call takes between 10 and 200 ms, at random, on one of eight lanes. If lanes never idled, a run would take as
//! long as its calls shared out among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use graybox::oracle::{FnOracle, Lanes, RowError};
use graybox::{Observer, Progress, TrainConfig, Trainer};
use graybox_app::DeviceName;
use graybox_arena::{Task, Truth, by_name};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const LANES: usize = 8;
const CALLS: u64 = 600;
const SEEDS: [u64; 3] = [1, 2, 3];
/// Held-out rows, scored at no calls and without the wait.
const SCORED: usize = 500;

/// Prints, for each seed, how long the networks take alone, and what share of its time a run keeps its lanes busy.
pub(crate) fn run(task: &str) -> Result<()> {
    let task = by_name(task).with_context(|| format!("there is no task {task}"))?;
    println!(
        "{CALLS} calls of 10 to 200 ms on {LANES} lanes, {}",
        task.name()
    );
    println!(
        "{:<6} {:>14} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "seed", "networks alone", "run", "seconds", "lanes busy", "in rounds", "true loss"
    );
    for seed in SEEDS {
        let free = once(&task, seed, false, Duration::ZERO)?;
        for asynchronous in [false, true] {
            let slow = once(&task, seed, asynchronous, Duration::from_millis(200))?;
            println!(
                "{seed:<6} {:>12.1} s {:>10} {:>10.1} {:>10.2} {:>12.2} {:>10.1e}",
                free.seconds,
                if asynchronous { "waits not" } else { "waits" },
                slow.seconds,
                slow.busy / slow.seconds,
                slow.busy_in_rounds / slow.rounds,
                slow.loss,
            );
        }
    }
    Ok(())
}

/// What a run came to.
struct Timed {
    seconds: f64,
    /// Until the calls for rounds were spent and networks alone were trained on.
    rounds: f64,
    /// Seconds that a lane was busy, of all lanes the mean.
    busy: f64,
    busy_in_rounds: f64,
    loss: f64,
}

/// The time of every line of progress, and how busy lanes had been until then.
struct Watch {
    start: Instant,
    busy: Arc<AtomicU64>,
    lines: Vec<(f64, f64)>,
}

impl Watch {
    fn now(&self) -> (f64, f64) {
        let busy = self.busy.load(Ordering::Relaxed) as f64 / 1e6;
        (self.start.elapsed().as_secs_f64(), busy / LANES as f64)
    }
}

impl Observer for Watch {
    fn progress(&mut self, _: &Progress) {
        self.lines.push(self.now());
    }
}

/// A run whose calls take at most so long.
fn once(task: &Arc<dyn Task>, seed: u64, asynchronous: bool, longest: Duration) -> Result<Timed> {
    let busy = Arc::new(AtomicU64::new(0));
    let (counted, called) = (Arc::clone(&busy), AtomicU64::new(0));
    let asked = Arc::clone(task);
    let oracle = FnOracle::new(task.dims(), move |x, u| -> Result<Vec<f64>, RowError> {
        let call = called.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64((seed << 32) | call);
        let pause = longest.mul_f64(rng.random_range(0.05..=1.0));
        thread::sleep(pause);
        counted.fetch_add(pause.as_micros() as u64, Ordering::Relaxed);
        asked.evaluate(x, u)
    });
    let config = TrainConfig {
        calls: CALLS,
        seed,
        asynchronous,
        ..TrainConfig::default()
    };
    let device = "flex".parse::<DeviceName>()?.open()?;
    let problem = task.problem(task.training(seed), &device)?;
    let mut trainer = Trainer::new(config, problem, Lanes::sharing(oracle, LANES))?
        .with_held_out(task.sample(SCORED, seed + 1_000))
        .with_truth(Truth(Arc::clone(task)));
    let mut watch = Watch {
        start: Instant::now(),
        busy,
        lines: Vec::new(),
    };
    let report = trainer.run(&mut watch)?;
    let (seconds, busy) = watch.now();
    // The closing phase has a line of its own, and the score at the end.
    let last = watch
        .lines
        .len()
        .checked_sub(3)
        .and_then(|nth| watch.lines.get(nth));
    let (rounds, busy_in_rounds) = *last.context("the run ended before its closing phase")?;
    Ok(Timed {
        seconds,
        rounds,
        busy,
        busy_in_rounds,
        loss: report.true_loss_after.unwrap_or(f64::NAN),
    })
}
