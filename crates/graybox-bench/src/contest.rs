//! Contenders take turns, so that whatever else the machine does falls on all of them.
//!
//! That is also why no benchmark library is used: criterion and divan time one function after the other, with good
//! statistics of each, and none of them lets a program in another language take part. What is wanted here is a
//! ratio, and how far it can be trusted: each is computed for three parts of the run as well.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

/// A turn is about this long.
const TURN: Duration = Duration::from_millis(40);
/// Seconds of a step that fits well into a slice of the scheduler's.
const SHORT: f64 = 1e-3;
/// Parts of a run that are looked at one by one.
const PARTS: usize = 3;

/// Anything that can do steps.
pub(crate) struct Contender {
    pub(crate) name: String,
    runner: Runner,
    steps_per_turn: usize,
    turns: Vec<Turn>,
}

enum Runner {
    Native(Box<dyn FnMut()>),
    Peer(Peer),
}

/// What one turn took, per step.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Turn {
    /// The fastest step's wall time, in seconds.
    fastest: f64,
    /// Processor time of all threads, in seconds.
    cpu: f64,
}

struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Contender {
    pub(crate) fn native(name: &str, step: impl FnMut() + 'static) -> Self {
        Self::new(name, Runner::Native(Box::new(step)))
    }

    /// A Python program that does `case` when told to.
    pub(crate) fn peer(python: &Path, name: &str, case: &str) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(name)
            .args(case.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let to = child.stdin.take().context("stdin is piped")?;
        let from = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut peer = Peer { child, to, from };
        let ready = peer
            .line()
            .with_context(|| format!("{name} did not start"))?;
        if ready != "ready" {
            bail!("{name} says {ready:?} instead of \"ready\"");
        }
        Ok(Self::new(name, Runner::Peer(peer)))
    }

    fn new(name: &str, runner: Runner) -> Self {
        Self {
            name: name.to_string(),
            runner,
            steps_per_turn: 1,
            turns: Vec::new(),
        }
    }

    fn turn(&mut self) -> Result<()> {
        let steps = self.steps_per_turn;
        let start = Instant::now();
        let turn = match &mut self.runner {
            Runner::Native(step) => {
                let cpu = ProcessTime::now();
                let mut fastest = f64::INFINITY;
                for _ in 0..steps {
                    let start = Instant::now();
                    step();
                    fastest = fastest.min(start.elapsed().as_secs_f64());
                }
                Turn {
                    fastest,
                    cpu: cpu.elapsed().as_secs_f64() / steps as f64,
                }
            }
            Runner::Peer(peer) => {
                writeln!(peer.to, "{steps}")?;
                peer.to.flush()?;
                serde_json::from_str(&peer.line()?)?
            }
        };
        let per_step = start.elapsed().div_f64(steps as f64);
        self.steps_per_turn = (TURN.as_secs_f64() / per_step.as_secs_f64()).ceil() as usize;
        self.turns.push(turn);
        Ok(())
    }

    fn fastest(&self) -> f64 {
        let turns = self.turns.iter().map(|turn| turn.fastest);
        turns.fold(f64::INFINITY, f64::min)
    }
}

/// Seconds per step: the fastest of short ones, the median of processor time of long ones.
fn seconds(turns: &[Turn], short: bool) -> f64 {
    if short {
        let turns = turns.iter().map(|turn| turn.fastest);
        return turns.fold(f64::INFINITY, f64::min);
    }
    let mut cpu: Vec<f64> = turns.iter().map(|turn| turn.cpu).collect();
    cpu.sort_by(f64::total_cmp);
    cpu[cpu.len() / 2]
}

impl Peer {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("it ended with {status}");
        }
        Ok(line.trim_end().to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends by itself when its input does; whatever happens, it does not stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One step, done by several.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) ours: Contender,
    pub(crate) bound: Option<Contender>,
    /// Name of a peer and what it is asked to do.
    pub(crate) peers: Vec<(&'static str, String)>,
    /// Oracle calls of a step.
    pub(crate) calls: usize,
}

/// Seconds per step, and how they compare.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratios {
    /// Seconds per step.
    pub(crate) ours: f64,
    /// Seconds per step of what was written by hand.
    pub(crate) bound: Option<f64>,
    /// Ours over the bound.
    pub(crate) ratio: Option<f64>,
    /// Least and greatest of the ratio in three parts of the run.
    pub(crate) spread: Option<[f64; 2]>,
    /// Each peer's seconds over the bound's, or over ours where there is no bound.
    pub(crate) peers: BTreeMap<String, f64>,
    /// Seconds per oracle call.
    pub(crate) per_call: f64,
}

/// Lets everybody take turns for this long.
pub(crate) fn run(case: Case, python: Option<&Path>, length: Duration) -> Result<Ratios> {
    let mut contenders = vec![case.ours];
    let has_bound = case.bound.is_some();
    contenders.extend(case.bound);
    if let Some(python) = python {
        for (name, task) in &case.peers {
            match Contender::peer(python, name, task) {
                Ok(peer) => contenders.push(peer),
                Err(error) => eprintln!("without {name}: {error:#}"),
            }
        }
    }
    for contender in &mut contenders {
        // The first turn finds how many steps make one, the second warms up.
        contender.turn()?;
        contender.turn()?;
        contender.turns.clear();
    }
    let start = Instant::now();
    while start.elapsed() < length || contenders[0].turns.len() < 3 {
        for contender in &mut contenders {
            contender.turn()?;
        }
    }
    let own = |contender: &Contender| seconds(&contender.turns, contender.fastest() < SHORT);
    let ours = own(&contenders[0]);
    let bound = has_bound.then(|| own(&contenders[1]));
    // A wall time and a processor time make no ratio: both sides are measured alike.
    let over = |one: &Contender, other: &Contender| {
        let short = one.fastest().max(other.fastest()) < SHORT;
        seconds(&one.turns, short) / seconds(&other.turns, short)
    };
    let reference = &contenders[usize::from(has_bound)];
    let peers = contenders.iter().skip(1 + usize::from(has_bound));
    let peers = peers.map(|peer| (peer.name.clone(), over(peer, reference)));
    let short = contenders[0].fastest().max(reference.fastest()) < SHORT;
    let part = contenders[0].turns.len().div_ceil(PARTS);
    let spread = has_bound.then(|| {
        let ours = contenders[0].turns.chunks(part);
        let ratios = ours.zip(reference.turns.chunks(part));
        let ratios = ratios.map(|(ours, bound)| seconds(ours, short) / seconds(bound, short));
        let widen = |[low, high]: [f64; 2], ratio: f64| [low.min(ratio), high.max(ratio)];
        ratios.fold([f64::INFINITY, 0.0], widen)
    });
    Ok(Ratios {
        ours,
        bound,
        ratio: has_bound.then(|| over(&contenders[0], reference)),
        spread,
        peers: peers.collect(),
        per_call: ours / case.calls as f64,
    })
}
