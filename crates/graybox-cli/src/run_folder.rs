//! The folder of a run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

pub(crate) const POLICY: &str = "policy.json";
pub(crate) const WEIGHTS: &str = "policy.safetensors";
pub(crate) const SETTINGS: &str = "run.toml";
pub(crate) const SUMMARY: &str = "summary.json";
pub(crate) const HELD_OUT: &str = "held_out.csv";
pub(crate) const CALLS: &str = "calls.csv";
pub(crate) const DIAGNOSES: &str = "diagnoses.json";
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
pub(crate) fn check_free(folder: &Path, overwrite: bool) -> Result<()> {
    if !overwrite && folder.join(SUMMARY).exists() {
        bail!(
            "{} holds the results of an earlier run: name another folder with --out, or replace them with \
             --overwrite",
            folder.display()
        );
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
