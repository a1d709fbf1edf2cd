//! What a run leaves behind.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::module::Module;
use graybox::oracle::Dims;
use graybox::{Facts, Progress, RunReport, Trainer};
use graybox_model::{Layout, Policy, save_weights};
use serde::Serialize;

use crate::{Curve, DeviceName, learning_curves};

/// What every run and example says of itself, with the same keys everywhere.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What was to be learned.
    pub task: String,
    /// What trained it.
    pub algorithm: String,
    /// Decides every random choice.
    pub seed: u64,
    /// Where the networks lived.
    pub device: String,
    /// Widths of context, action and outcome.
    #[serde(flatten)]
    pub dims: Dims,
    /// Calls charged.
    pub oracle_calls: u64,
    /// Charged calls that failed.
    pub failed_calls: u64,
    /// Calls for scores, not charged.
    pub scoring_calls: u64,
    /// Mean true loss on held-out rows before training.
    pub true_loss_before: Option<f64>,
    /// The same after it.
    pub true_loss_after: Option<f64>,
    /// What training with the true gradient reaches with as many calls; null where it is unknown.
    pub white_box_loss: Option<f64>,
    /// Calls per row of a batch, what the steps follow, and how that is biased.
    pub facts: Facts,
    /// Why the run ended, and what kept it from learning.
    pub ending: graybox::Ending,
    /// What kept it from learning, in words.
    pub diagnoses: Vec<String>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of them spent in the oracle.
    pub oracle_s: f64,
}

impl Summary {
    /// A summary of a run.
    pub fn new<P: Policy>(
        task: &str,
        device: &DeviceName,
        trainer: &Trainer<P>,
        run: &RunReport,
    ) -> Self {
        let facts = trainer.facts();
        Self {
            task: task.to_string(),
            algorithm: facts.name.to_string(),
            seed: trainer.config().seed,
            device: device.to_string(),
            dims: trainer.problem().dims(),
            oracle_calls: run.oracle_calls,
            failed_calls: run.failed_calls,
            scoring_calls: run.scoring_calls,
            true_loss_before: run.true_loss_before,
            true_loss_after: run.true_loss_after,
            white_box_loss: None,
            facts,
            ending: run.ending,
            diagnoses: run.diagnoses.iter().map(ToString::to_string).collect(),
            wall_s: run.wall_s,
            oracle_s: run.oracle_s,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |loss: Option<f64>| loss.map_or("unknown".into(), |loss| format!("{loss:.3e}"));
        let (before, after) = (shown(self.true_loss_before), shown(self.true_loss_after));
        writeln!(f, "true held-out loss   {before} -> {after}")?;
        if let Some(loss) = self.white_box_loss {
            writeln!(
                f,
                "white box            {loss:.3e} with the true gradient and as many calls"
            )?;
        }
        let (calls, failed) = (self.oracle_calls, self.failed_calls);
        writeln!(f, "oracle calls         {calls} ({failed} failed)")?;
        let facts = &self.facts;
        writeln!(f, "calls per row        {}", facts.calls_per_row)?;
        writeln!(f, "steps follow         {}", facts.estimates)?;
        write!(f, "biased by            {}", facts.bias)?;
        for diagnosis in &self.diagnoses {
            write!(f, "\nstuck                {diagnosis}")?;
        }
        Ok(())
    }
}

/// A folder of results. Every file is written aside and renamed, so that none is ever half there.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file through a function that is given the name to write to.
    ///
    /// # Errors
    /// If the function fails or the file cannot be put in place.
    pub fn write(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        // The extension stays, since some writers add their own.
        let aside = self.folder.join(format!(".partial-{name}"));
        let path = self.folder.join(name);
        write(&aside)
            .and_then(|()| Ok(fs::rename(&aside, &path)?))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes anything serde can, as indented JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)? + "\n";
        self.write(name, |path| Ok(fs::write(path, text)?))
    }

    /// Writes everything a run leaves: `policy.safetensors`, `surrogate.safetensors` where there is one,
    /// `config.json`, `history.csv`, `summary.json` and `learning.svg` where there is something to draw.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn run<P: Policy>(
        &self,
        trainer: &Trainer<P>,
        summary: &Summary,
        curves: &[Curve],
    ) -> Result<()> {
        self.weights("policy.safetensors", &trainer.policy())?;
        if let Some(surrogate) = trainer.surrogate() {
            self.write("surrogate.safetensors", |path| {
                Ok(surrogate.save_weights(path, Layout::Burn)?)
            })?;
        }
        self.json("config.json", trainer.config())?;
        self.history("history.csv", &trainer.history().lines)?;
        self.json("summary.json", summary)?;
        if curves.iter().any(Curve::can_be_drawn) {
            self.write("learning.svg", |path| {
                learning_curves(path, &summary.task, curves)
            })?;
        }
        Ok(())
    }

    /// Writes a module's weights in burn's layout.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn weights(&self, name: &str, module: &impl Module) -> Result<()> {
        self.write(name, |path| Ok(save_weights(module, path, Layout::Burn)?))
    }

    /// Writes a run's history, one line a round. A number that was not measured is an empty field.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn history(&self, name: &str, lines: &[Progress]) -> Result<()> {
        let terms: BTreeSet<_> = lines.iter().flat_map(|line| line.terms.keys()).collect();
        self.write(name, |path| {
            let mut writer = csv::Writer::from_path(path)?;
            let fixed = ["round", "calls", "failed", "loss", "held_out"];
            writer.write_record(fixed.iter().chain(terms.iter().copied()))?;
            let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:e}"));
            for line in lines {
                let mut record = vec![
                    line.round.to_string(),
                    line.calls.to_string(),
                    line.failed.to_string(),
                    number(line.loss),
                    number(line.held_out),
                ];
                record.extend(
                    terms
                        .iter()
                        .map(|term| number(line.terms.get(*term).copied())),
                );
                writer.write_record(record)?;
            }
            Ok(writer.flush()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_a_column_for_every_term() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::create(folder.path()).unwrap();
        let lines = [
            Progress {
                calls: 8,
                held_out: Some(0.5),
                ..Progress::default()
            },
            Progress {
                round: 1,
                calls: 16,
                loss: Some(0.25),
                terms: [("fit", 0.125)].into(),
                ..Progress::default()
            },
        ];
        artifacts.history("history.csv", &lines).unwrap();
        let text = fs::read_to_string(folder.path().join("history.csv")).unwrap();
        assert_eq!(
            text,
            "round,calls,failed,loss,held_out,fit\n0,8,0,,5e-1,\n1,16,0,2.5e-1,,1.25e-1\n"
        );
    }

    #[test]
    fn a_writer_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::create(folder.path()).unwrap();
        artifacts.json("summary.json", &1).unwrap();
        let failed = artifacts.write("summary.json", |_| anyhow::bail!("no"));
        assert!(failed.unwrap_err().to_string().contains("summary.json"));
        assert_eq!(
            fs::read_to_string(folder.path().join("summary.json")).unwrap(),
            "1\n"
        );
    }
}
