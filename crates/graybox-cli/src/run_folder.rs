//! The folder of a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(crate) const POLICY: &str = "policy.json";
pub(crate) const WEIGHTS: &str = "policy.safetensors";
pub(crate) const SETTINGS: &str = "run.toml";
pub(crate) const SUMMARY: &str = "summary.json";
pub(crate) const HELD_OUT: &str = "held_out.csv";
pub(crate) const CALLS: &str = "calls.csv";
pub(crate) const DIAGNOSES: &str = "diagnoses.json";
pub(crate) const LEDGER: &str = "ledger.sqlite";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const REPORT: &str = "report.html";

/// Where the results go if nothing is said: `lens.toml` → `lens`, beside it.
pub(crate) fn beside(settings: &Path) -> PathBuf {
    let folder = settings.with_extension("");
    if folder == settings {
        return settings.with_extension("results");
    }
    folder
}

/// Refuses a folder that holds results, which were paid for.
pub(crate) fn check_free(folder: &Path) -> Result<()> {
    if folder.join(SUMMARY).exists() {
        bail!(
            "{} holds the results of an earlier run: name another folder with --out, go on with it with --resume, \
             or replace it with --overwrite",
            folder.display()
        );
    }
    Ok(())
}

/// Puts an earlier run's answers aside, which were paid for, and forgets where it was.
pub(crate) fn set_aside(folder: &Path) -> Result<()> {
    let (checkpoint, ledger) = (folder.join(CHECKPOINT), folder.join(LEDGER));
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint)
            .with_context(|| format!("cannot remove {}", checkpoint.display()))?;
    }
    if ledger.exists() {
        let numbered = |k: u32| folder.join(format!("ledger-{k}.sqlite"));
        let free = (1..10_000).map(numbered).find(|path| !path.exists());
        let free = free.context("no name is left for the old ledger")?;
        // SQLite keeps the latest answers of a run that was killed in a file beside the ledger.
        for suffix in ["", "-wal"] {
            let named = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if named(&ledger).exists() {
                std::fs::rename(named(&ledger), named(&free))
                    .with_context(|| format!("cannot move {} aside", named(&ledger).display()))?;
            }
        }
    }
    Ok(())
}

/// Refuses a folder without a trained policy.
pub(crate) fn check_trained(folder: &Path) -> Result<()> {
    for name in [POLICY, WEIGHTS] {
        let path = folder.join(name);
        if !path.is_file() {
            bail!(
                "no {name} in {}: give the folder that `graybox train` wrote its results to",
                folder.display()
            );
        }
    }
    Ok(())
}
