//! What runs beside each other cost each other: as threads of one process, and as processes.
//!
//! burn keeps the graphs of a process in one registry behind a lock, which every tracked operation takes. Whether
//! that matters is a question of how much of a step is tracked operations.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::joint::{Joint, rows};

/// Joint steps of a turn.
const STEPS: usize = 2_000;
const TURNS: usize = 15;

/// Prints the steps per second of one run, and of as many as asked in threads and in processes, in turns.
pub(crate) fn run(workers: usize) -> Result<()> {
    let processes = (0..workers).map(|_| Worker::start());
    let mut processes = processes.collect::<Result<Vec<_>>>()?;
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..TURNS {
        let seconds = [threads(1)?, threads(workers)?, together(&mut processes)?];
        for (fastest, seconds) in fastest.iter_mut().zip(seconds) {
            *fastest = fastest.min(seconds);
        }
    }
    let alone = STEPS as f64 / fastest[0];
    println!("one run: {alone:.0} steps/s");
    for (name, seconds) in [("threads", fastest[1]), ("processes", fastest[2])] {
        let all = (workers * STEPS) as f64 / seconds;
        println!(
            "{workers} {name}: {all:.0} steps/s, {:.2} of one run's times {workers}",
            all / alone / workers as f64
        );
    }
    Ok(())
}

/// The process that does the steps of a turn for every line it reads, and prints its seconds.
pub(crate) fn work() -> Result<()> {
    let mut joint = warm()?;
    println!("ready");
    for _ in std::io::stdin().lines() {
        println!("{}", turn(&mut joint)?);
    }
    Ok(())
}

fn warm() -> Result<Joint> {
    let (x, target) = rows(64, 1);
    let mut joint = Joint::new([32, 64], x, target);
    for _ in 0..200 {
        joint.step()?;
    }
    Ok(joint)
}

fn turn(joint: &mut Joint) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..STEPS {
        joint.step()?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds until the last of so many threads is done.
fn threads(workers: usize) -> Result<f64> {
    let barrier = Barrier::new(workers);
    let work = || -> Result<f64> {
        let joint = warm();
        barrier.wait();
        turn(&mut joint?)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut last = 0.0f64;
        for thread in all {
            last = last.max(thread.join().ok().context("a thread panicked")??);
        }
        Ok(last)
    })
}

fn together(processes: &mut [Worker]) -> Result<f64> {
    for worker in processes.iter_mut() {
        writeln!(worker.to)?;
        worker.to.flush()?;
    }
    let mut last = 0.0f64;
    for worker in processes {
        last = last.max(worker.line()?.parse()?);
    }
    Ok(last)
}

struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().context("stdin is piped")?;
        let from = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut worker = Self { child, to, from };
        worker.line()?;
        Ok(worker)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim_end().to_string())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
