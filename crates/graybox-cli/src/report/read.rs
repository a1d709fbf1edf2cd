//! What a run left in its folder, read back.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use graybox::oracle::Description;
use serde_json::Value;

use super::Told;
use crate::run_folder::{CALLS, DIAGNOSES, HELD_OUT, POLICY, SETTINGS, SUMMARY};

/// What the page shows of a run, read from its folder.
pub(super) struct Run {
    pub(super) folder: PathBuf,
    pub(super) oracle: Description,
    pub(super) summary: Value,
    pub(super) settings: String,
    pub(super) diagnoses: Vec<Told>,
    pub(super) history: Vec<Line>,
    pub(super) held_out: Vec<Row>,
    /// (context and action side by side, whether it failed).
    pub(super) calls: Vec<(Vec<f64>, bool)>,
}

/// A line of the history.
pub(super) struct Line {
    pub(super) calls: f64,
    pub(super) held_out: Option<f64>,
    /// Of the rows of the round.
    pub(super) loss: Option<f64>,
}

/// A held-out row as it was scored last.
pub(super) struct Row {
    pub(super) x: Vec<f64>,
    pub(super) target: Vec<f64>,
    pub(super) u: Vec<f64>,
    /// None where the call failed.
    pub(super) y: Option<Vec<f64>>,
    pub(super) predicted: Option<Vec<f64>>,
}

impl Run {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "cannot read {}: give the folder that `graybox train` wrote its results to",
                    path.display()
                )
            })
        };
        let broken = |name: &str| format!("{} is broken", folder.join(name).display());
        let summary = serde_json::from_str(&text(SUMMARY)?).with_context(|| broken(SUMMARY))?;
        let policy: Value = serde_json::from_str(&text(POLICY)?).with_context(|| broken(POLICY))?;
        let oracle: Description =
            serde_json::from_value(policy["oracle"].clone()).with_context(|| broken(POLICY))?;
        let diagnoses =
            serde_json::from_str(&text(DIAGNOSES)?).with_context(|| broken(DIAGNOSES))?;
        Ok(Self {
            folder: folder.to_owned(),
            settings: text(SETTINGS)?,
            history: history(&text("history.csv")?).with_context(|| broken("history.csv"))?,
            held_out: held_out(&text(HELD_OUT)?, &oracle).with_context(|| broken(HELD_OUT))?,
            calls: calls(&text(CALLS)?, &oracle).with_context(|| broken(CALLS))?,
            oracle,
            summary,
            diagnoses,
        })
    }

    /// The run, and after it the others of its seeds, where there are several.
    pub(super) fn read_with_seeds(folder: &Path) -> Result<Vec<Self>> {
        let run = Self::read(folder)?;
        let seeds = run.summary["seeds"].as_array().cloned().unwrap_or_default();
        let others = seeds
            .iter()
            .filter(|seed| seed["seed"] != run.summary["seed"]);
        let others = others
            .map(|seed| Self::read(&folder.join(seed["folder"].as_str().unwrap_or_default())));
        let others = others.collect::<Result<Vec<_>>>()?;
        Ok(std::iter::once(run).chain(others).collect())
    }

    /// How far an outcome is off on the held-out rows: `error`, or `surrogate_error`.
    pub(super) fn error_of(&self, dim: usize, which: &str) -> Option<f64> {
        self.summary["held_out"]["outcomes"][dim][which].as_f64()
    }

    pub(super) fn number(&self, key: &str) -> f64 {
        self.summary[key].as_f64().unwrap_or(0.0)
    }

    /// The held-out loss at every score.
    pub(super) fn scores(&self) -> Vec<(f64, f64)> {
        let lines = self.history.iter();
        lines
            .filter_map(|line| Some((line.calls, line.held_out?)))
            .filter(|(_, loss)| *loss > 0.0)
            .collect()
    }
}

fn records(text: &str) -> Result<Vec<csv::StringRecord>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.records().map(|record| Ok(record?)).collect()
}

fn history(text: &str) -> Result<Vec<Line>> {
    let rows = records(text)?;
    let rows = rows.iter().map(|row| {
        let number = |column: usize| row.get(column).and_then(|field| field.parse::<f64>().ok());
        Ok(Line {
            calls: number(1).context("a line without calls")?,
            held_out: number(4),
            loss: number(3),
        })
    });
    rows.collect()
}

fn held_out(text: &str, oracle: &Description) -> Result<Vec<Row>> {
    let (d_x, d_u, d_y) = (oracle.x.len(), oracle.u.len(), oracle.y.len());
    let rows = records(text)?;
    let rows = rows.iter().map(|row| {
        let numbers = |from: usize, n: usize| -> Option<Vec<f64>> {
            (from..from + n)
                .map(|column| row.get(column)?.parse().ok())
                .collect()
        };
        let known = "a row without context, target or action";
        let at_y = d_x + d_y + d_u;
        // Outcome, prediction, loss and error, or the same without a prediction.
        let has_prediction = row.len() == at_y + 2 * d_y + 2;
        Ok(Row {
            x: numbers(0, d_x).context(known)?,
            target: numbers(d_x, d_y).context(known)?,
            u: numbers(d_x + d_y, d_u).context(known)?,
            y: numbers(at_y, d_y),
            predicted: numbers(at_y + d_y, d_y).filter(|_| has_prediction),
        })
    });
    rows.collect()
}

fn calls(text: &str, oracle: &Description) -> Result<Vec<(Vec<f64>, bool)>> {
    let width = oracle.x.len() + oracle.u.len();
    let rows = records(text)?;
    let rows = rows.iter().map(|row| {
        let asked: Option<Vec<f64>> = (0..width)
            .map(|column| row.get(column)?.parse().ok())
            .collect();
        let failed = row
            .iter()
            .next_back()
            .is_some_and(|error| !error.is_empty());
        Ok((asked.context("a call without context or action")?, failed))
    });
    rows.collect()
}
