//! Several seeds in one `train`: a run for each, and the best of them as the result.

use std::path::Path;

use anyhow::{Context, Result};
use graybox_app::{Artifacts, Summary};

use crate::log::Log;
use crate::outcome::{Done, Failure};
use crate::report;
use crate::run_folder::{SUMMARY, set_aside};
use crate::summary::OfSeed;
use crate::train::{Job, Trained};

/// What the best run leaves in the folder of all. Its checkpoint stays where it is.
const TAKEN: [&str; 10] = [
    "policy.json",
    "policy.safetensors",
    "surrogate.safetensors",
    "config.json",
    "run.toml",
    "history.csv",
    "held_out.csv",
    "calls.csv",
    "learning.svg",
    "diagnoses.json",
];

/// Trains one seed after the other into folders below `out`, and leaves the best policy in `out` itself.
///
/// All seeds are scored on the same held-out rows, so that their losses can be compared, and keep their answers in
/// one ledger.
pub(crate) fn train(
    job: &mut Job,
    seeds: &[u64],
    out: &Path,
    log: &mut Option<Log>,
) -> Result<Done, Failure> {
    job.run.data.split_seed.get_or_insert(job.run.train.seed);
    let artifacts = Artifacts::create(out)?;
    if job.overwrite {
        set_aside(out)?;
    }
    let mut runs: Vec<(OfSeed, Summary)> = Vec::new();
    for seed in seeds {
        job.run.train.seed = *seed;
        let folder = format!("seed-{seed}");
        let Trained { summary, end } = job.train(&out.join(&folder), log)?;
        let loss = |loss: Option<f64>| loss.map_or("unknown".into(), |loss| format!("{loss:.3e}"));
        println!(
            "{:<20} {} -> {} with {} calls ({} failed)",
            format!("seed {seed}"),
            loss(summary.true_loss_before),
            loss(summary.true_loss_after),
            summary.oracle_calls,
            summary.failed_calls
        );
        // What ends one run early would end the others as well.
        if end? == Done::Interrupted {
            println!("results              {}; --resume goes on", out.display());
            return Ok(Done::Interrupted);
        }
        runs.push((of_seed(&summary, folder), summary));
    }
    let loss = |run: &(OfSeed, Summary)| run.0.true_loss_after.unwrap_or(f64::INFINITY);
    let best = (0..runs.len()).min_by(|a, b| loss(&runs[*a]).total_cmp(&loss(&runs[*b])));
    let best = best.context("no seed was given")?;
    leave(&artifacts, &runs, best)?;

    let all = |count: fn(&OfSeed) -> u64| runs.iter().map(|(run, _)| count(run)).sum::<u64>();
    println!("{}", runs[best].1);
    println!(
        "best of {} seeds      {}; it was chosen by these rows, so new ones may be a little worse",
        runs.len(),
        runs[best].0.seed
    );
    println!(
        "calls of all seeds   {} ({} failed), and {} for scores",
        all(|run| run.oracle_calls),
        all(|run| run.failed_calls),
        all(|run| run.scoring_calls)
    );
    println!("results              {}", out.display());
    Ok(Done::Finished)
}

fn of_seed(summary: &Summary, folder: String) -> OfSeed {
    OfSeed {
        seed: summary.seed,
        folder,
        true_loss_before: summary.true_loss_before,
        true_loss_after: summary.true_loss_after,
        oracle_calls: summary.oracle_calls,
        failed_calls: summary.failed_calls,
        scoring_calls: summary.scoring_calls,
    }
}

/// Puts the best run's results into the folder of all, with the costs of all.
fn leave(artifacts: &Artifacts, runs: &[(OfSeed, Summary)], best: usize) -> Result<()> {
    let from = artifacts.folder().join(&runs[best].0.folder);
    for name in TAKEN {
        let found = from.join(name);
        if found.exists() {
            artifacts.write(name, |path| Ok(std::fs::copy(&found, path).map(drop)?))?;
        }
    }
    let path = from.join(SUMMARY);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut whole: serde_json::Value = serde_json::from_str(&text)?;
    let sum = |key: &str, of: &dyn Fn(&Summary) -> f64| {
        (
            key.to_owned(),
            runs.iter().map(|(_, run)| of(run)).sum::<f64>(),
        )
    };
    for (key, value) in [
        sum("wall_s", &|run| run.wall_s),
        sum("oracle_s", &|run| run.oracle_s),
        sum("networks_s", &|run| (run.wall_s - run.oracle_s).max(0.0)),
    ] {
        whole[key] = value.into();
    }
    let count = |of: fn(&OfSeed) -> u64| runs.iter().map(|(run, _)| of(run)).sum::<u64>();
    whole["oracle_calls"] = count(|run| run.oracle_calls).into();
    whole["failed_calls"] = count(|run| run.failed_calls).into();
    whole["scoring_calls"] = count(|run| run.scoring_calls).into();
    let of_all: Vec<&OfSeed> = runs.iter().map(|(run, _)| run).collect();
    whole["seeds"] = serde_json::to_value(of_all)?;
    artifacts.json(SUMMARY, &whole)?;
    report::write(artifacts)
}
