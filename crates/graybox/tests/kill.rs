//! A trainer that is killed at random moments and started again ends with the bits of one that was left alone,
//! and has paid for nothing twice. One that does not wait for its calls depends on when they came, which nobody can
//! repeat: it ends with the bits that its ledger alone comes to, and has paid for nothing twice either.
//!
//! `cargo test -p graybox --test kill` kills a few times; `… --test kill -- 100` a hundred times. The trainer is
//! this program itself, in a process of its own.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use burn::prelude::*;
use graybox::algorithm::{AnchoredConfig, JointConfig};
use graybox::model::{HeadConfig, Layout, MlpConfig, save_weights};
use graybox::oracle::{Description, Dims, FnOracle, Lanes, Ledger, Oracle, Rows};
use graybox::{AlgorithmConfig, Dataset, Problem, Silent, TrainConfig, Trainer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Times the same run is killed before it is let go on to its end.
const KILLS_PER_RUN: usize = 5;
/// Calls at once of a run that does not wait.
const LANES: usize = 3;
const DIMS: Dims = Dims { x: 2, u: 1, y: 1 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [mode, folder] if mode == "train" => train(Path::new(folder), Mode::Waiting),
        [mode, folder] if mode == "train-ahead" => train(Path::new(folder), Mode::Asynchronous),
        [flag] if flag == "--list" => Ok(()),
        _ => {
            let moments = arguments.iter().find_map(|text| text.parse().ok());
            let moments = moments.unwrap_or(2 * KILLS_PER_RUN);
            kill_and_compare(moments, Mode::Waiting)
                .and_then(|()| kill_and_compare(moments, Mode::Asynchronous))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether rounds wait for their calls.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Waiting,
    Asynchronous,
}

impl Mode {
    fn argument(self) -> &'static str {
        match self {
            Self::Waiting => "train",
            Self::Asynchronous => "train-ahead",
        }
    }

    fn algorithm(self) -> AlgorithmConfig {
        let surrogate = MlpConfig::new([8]);
        match self {
            Self::Waiting => AlgorithmConfig::Joint(JointConfig {
                surrogate,
                ..JointConfig::default()
            }),
            Self::Asynchronous => AlgorithmConfig::Anchored(AnchoredConfig {
                surrogate,
                steps_per_call: Some(4.0),
                ..AnchoredConfig::default()
            }),
        }
    }

    /// Calls that may be in the making when a kill comes.
    fn at_once(self) -> u64 {
        match self {
            Self::Waiting => 1,
            Self::Asynchronous => LANES as u64,
        }
    }
}

fn described() -> Description {
    Description::of_sizes("counted", DIMS)
}

fn rows(n: usize, seed: u64) -> Result<Dataset> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    let x = Rows::from_vec(2, draw(2 * n))?;
    let target = Rows::from_vec(1, draw(n))?;
    Ok(Dataset::new(x, target)?)
}

/// The run: its ledger, its checkpoint, and at the end its networks in this folder. The oracle itself notes every
/// call in the file `calls`.
fn train(folder: &Path, mode: Mode) -> Result<()> {
    let calls = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("calls"))?;
    let oracle = FnOracle::new(DIMS, move |x, u| {
        // A failure to note it shows when the calls are counted.
        let _ = (&calls).write_all(format!("{x:?} {u:?}\n").as_bytes());
        if u[0] > 0.9 {
            return Err(graybox::oracle::RowError::Failed("too far".into()));
        }
        Ok([u[0] * u[0] + x[0] * u[0] - 0.3 * x[1]])
    });
    let config = TrainConfig {
        calls: 240,
        batch: Some(8),
        policy: MlpConfig::new([8]),
        algorithm: mode.algorithm(),
        scores: 2,
        asynchronous: mode == Mode::Asynchronous,
        ..TrainConfig::default()
    };
    let actions = HeadConfig::bounded(vec![-1.0], vec![1.0])?;
    let problem = Problem::new(rows(24, 1)?, actions, &Device::default())?;
    let oracle: Box<dyn Oracle> = match mode {
        Mode::Waiting => Box::new(oracle),
        Mode::Asynchronous => Box::new(Lanes::sharing(oracle, LANES)),
    };
    let mut trainer = Trainer::new(config, problem, oracle)?
        .with_held_out(rows(6, 2)?)
        .with_record(Ledger::open(folder.join("ledger.sqlite"), &described())?)
        .with_checkpoint(folder.join("checkpoint"), Duration::from_millis(30));
    let report = trainer.run(&mut Silent)?;
    save_weights(&trainer.policy(), &folder.join("policy"), Layout::Burn)?;
    if let Some(surrogate) = trainer.surrogate() {
        surrogate.save_weights(&folder.join("surrogate"), Layout::Burn)?;
    }
    let told = format!(
        "{:?} {:?} {} {} {} {} {}",
        report.true_loss_before,
        report.true_loss_after,
        report.rounds,
        report.oracle_calls,
        report.failed_calls,
        report.scoring_calls,
        report.paid_calls,
    );
    fs::write(folder.join("report"), told)?;
    Ok(())
}

fn spawn(folder: &Path, mode: Mode) -> Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    Ok(command.arg(mode.argument()).arg(folder).spawn()?)
}

/// What a run that a killed one must equal left in its folder: one that was left alone, or, where it depends on when
/// answers came, one of the same ledger and nothing else.
fn expected(mode: Mode, alone: &Path, killed: &Path) -> Result<Vec<Vec<u8>>> {
    let read = |folder: &Path| -> Result<Vec<Vec<u8>>> {
        let names = ["policy", "surrogate", "report"];
        Ok(names
            .map(|name| fs::read(folder.join(name)))
            .into_iter()
            .collect::<std::io::Result<_>>()?)
    };
    if mode == Mode::Waiting {
        return read(alone);
    }
    let again = tempfile::tempdir()?;
    fs::copy(
        killed.join("ledger.sqlite"),
        again.path().join("ledger.sqlite"),
    )?;
    if !spawn(again.path(), mode)?.wait()?.success() {
        return Err("a run failed that had a whole ledger".into());
    }
    if fs::metadata(again.path().join("calls"))?.len() > 0 {
        return Err("a run asked although its ledger had every answer".into());
    }
    read(again.path())
}

fn kill_and_compare(moments: usize, mode: Mode) -> Result<()> {
    let all = tempfile::tempdir()?;
    let folder = |name: String| -> Result<PathBuf> {
        let folder = all.path().join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    };

    let alone = folder("alone".into())?;
    let start = Instant::now();
    if !spawn(&alone, mode)?.wait()?.success() {
        return Err("the run that was left alone failed".into());
    }
    let mut longest = start.elapsed();

    let mut rng = StdRng::seed_from_u64(7);
    let (mut kills, mut asked_again) = (0, 0);
    for run in 0..10 * moments {
        if kills >= moments {
            break;
        }
        let killed = folder(format!("killed-{run}"))?;
        let mut kills_here = 0;
        loop {
            let mut child = spawn(&killed, mode)?;
            if kills_here < KILLS_PER_RUN {
                // Anywhere in the run, so most kills fall before its end.
                let until = Instant::now() + longest.mul_f64(rng.random_range(0.0..0.7));
                while Instant::now() < until && child.try_wait()?.is_none() {
                    std::thread::yield_now();
                }
                if child.try_wait()?.is_none() {
                    child.kill()?;
                    child.wait()?;
                    kills_here += 1;
                    continue;
                }
            }
            let start = Instant::now();
            if !child.wait()?.success() {
                return Err(format!("run {run} failed after it had been killed").into());
            }
            longest = longest.max(start.elapsed());
            break;
        }
        let kept = Ledger::open(killed.join("ledger.sqlite"), &described())?.len()?;
        let report = fs::read_to_string(killed.join("report"))?;
        let all = report.split(' ').next_back().unwrap_or_default();
        if kept.to_string() != all {
            return Err(format!("the ledger of run {run} has {kept} rows, not {all}").into());
        }
        let expected = expected(mode, &alone, &killed)?;
        for (name, expected) in ["policy", "surrogate", "report"].into_iter().zip(expected) {
            if expected != fs::read(killed.join(name))? {
                return Err(format!("{name} of run {run} differs after {kills_here} kills").into());
            }
        }
        // A row that was being computed when the kill came was never answered, so it is asked again.
        let paid = fs::read_to_string(killed.join("calls"))?.lines().count();
        let again = paid as u64 - kept;
        if again > kills_here as u64 * mode.at_once() {
            return Err(format!("{again} calls repeated after {kills_here} kills").into());
        }
        asked_again += again;
        kills += kills_here;
    }
    if kills < moments {
        return Err(format!("only {kills} kills: the runs end too soon").into());
    }
    println!(
        "{mode:?}, {kills} kills: every run ended with the same bits; {asked_again} calls that had not been answered yet were \
         made again, no answered one"
    );
    Ok(())
}
