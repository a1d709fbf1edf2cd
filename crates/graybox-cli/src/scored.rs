//! Rows that the oracle has scored: what was wanted, what was done, and what came of it.

use std::path::Path;

use anyhow::{Context, Result};
use graybox::oracle::{Description, Outcome, Rows};
use graybox::{Dataset, Objective};
use graybox_app::Artifacts;

use crate::run_file::names;

/// A policy's actions on some rows, and their outcomes.
pub(crate) struct Scored {
    pub(crate) data: Dataset,
    pub(crate) u: Rows,
    pub(crate) outcomes: Vec<Outcome>,
    /// What a surrogate predicted for the same actions, if there is one.
    pub(crate) predicted: Option<Vec<Vec<f32>>>,
}

impl Scored {
    /// The loss of every row that was answered.
    pub(crate) fn losses(&self, objective: &dyn Objective) -> Vec<Option<f64>> {
        let rows = self.outcomes.iter().zip(self.data.target().iter());
        rows.map(|(y, target)| Some(objective.value(y.as_ref().ok()?, target)))
            .collect()
    }

    /// Writes a line per row.
    pub(crate) fn write(
        &self,
        path: &Path,
        description: &Description,
        objective: &dyn Objective,
    ) -> Result<()> {
        let mut writer = csv::Writer::from_path(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut header = names(&description.x);
        let y = names(&description.y);
        header.extend(y.iter().map(|name| format!("wanted_{name}")));
        header.extend(names(&description.u));
        header.extend(y.iter().cloned());
        if self.predicted.is_some() {
            header.extend(y.iter().map(|name| format!("predicted_{name}")));
        }
        header.extend(["loss".into(), "error".into()]);
        writer.write_record(&header)?;

        for (row_idx, loss) in self.losses(objective).into_iter().enumerate() {
            let known = [
                self.data.x().row(row_idx),
                self.data.target().row(row_idx),
                self.u.row(row_idx),
            ];
            let mut record: Vec<String> = known.concat().iter().map(ToString::to_string).collect();
            match &self.outcomes[row_idx] {
                Ok(y) => record.extend(y.iter().map(ToString::to_string)),
                Err(_) => record.extend(y.iter().map(|_| String::new())),
            }
            if let Some(predicted) = &self.predicted {
                record.extend(predicted[row_idx].iter().map(ToString::to_string));
            }
            record.push(loss.map_or(String::new(), |loss| loss.to_string()));
            let error = self.outcomes[row_idx].as_ref().err();
            record.push(error.map_or(String::new(), ToString::to_string));
            writer.write_record(&record)?;
        }
        Ok(writer.flush()?)
    }

    /// Writes it into a folder of results.
    pub(crate) fn put(
        &self,
        artifacts: &Artifacts,
        name: &str,
        description: &Description,
        objective: &dyn Objective,
    ) -> Result<()> {
        artifacts.write(name, |path| self.write(path, description, objective))
    }
}
