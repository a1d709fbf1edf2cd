//! Whether anything grows.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::joint::{Joint, rows};

/// Prints the resident memory, its peak and the time per step of ten equal stretches of a run.
pub(crate) fn run(steps: usize) -> Result<()> {
    let (x, target) = rows(64, 1);
    let mut joint = Joint::new([32, 64], x, target);
    let stretch = steps.div_ceil(10);
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>10}",
        "steps", "resident", "peak", "per step", "loss"
    );
    for part in 1..=10 {
        let start = Instant::now();
        let mut loss = None;
        for _ in 0..stretch {
            loss = Some(joint.step()?);
        }
        let per_step = start.elapsed().as_secs_f64() / stretch as f64;
        let loss = loss.context("at least one step")?.into_scalar::<f32>();
        println!(
            "{:>10} {:>8} KiB {:>8} KiB {:>9.1} us {loss:>10.6}",
            part * stretch,
            kilobytes("VmRSS:")?,
            kilobytes("VmHWM:")?,
            per_step * 1e6
        );
    }
    Ok(())
}

/// What Linux says of this process.
fn kilobytes(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("needs Linux's /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let line = line.with_context(|| format!("no {field} in /proc/self/status"))?;
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    Ok(kilobytes.parse()?)
}
