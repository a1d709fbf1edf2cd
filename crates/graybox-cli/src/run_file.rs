//! `run.toml`: everything a run is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use graybox::model::HeadConfig;
use graybox::oracle::{Description, Dims, Quantity};
use graybox::{Dataset, SquaredError, Stop, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::data;
use crate::oracle::{OracleSettings, Started};
use crate::outcome::{Blame, Failure};

/// A run's settings. Paths and the program's command start at [`folder`](Self::folder).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFile {
    /// What the run is called; the program's own name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Where paths start; the folder of the file itself if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<PathBuf>,
    /// Who answers.
    pub(crate) oracle: OracleSettings,
    /// What the numbers are called, over the oracle's own words.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub(crate) names: Names,
    /// What to train on.
    pub(crate) data: Data,
    /// Ranges of actions by name, over what the program says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) actions: BTreeMap<String, Range>,
    /// Scales and weights of outcomes by name, over what the program says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outcomes: BTreeMap<String, Unit>,
    /// How to train.
    #[serde(default)]
    pub(crate) train: TrainConfig,
}

/// What contexts, actions and outcomes are called; as the oracle says where a list is empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Names {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) x: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) u: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) y: Vec<String>,
}

impl Names {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts them over the oracle's own.
    pub(crate) fn over(&self, description: &mut Description) -> Result<()> {
        for (list, given, quantities) in [
            ("x", &self.x, &mut description.x),
            ("u", &self.u, &mut description.u),
            ("y", &self.y, &mut description.y),
        ] {
            if given.is_empty() {
                continue;
            }
            if given.len() != quantities.len() {
                bail!(
                    "names.{list} has {} names, but there are {} ({})",
                    given.len(),
                    quantities.len(),
                    names(quantities).join(", ")
                );
            }
            for (quantity, name) in quantities.iter_mut().zip(given) {
                quantity.name.clone_from(name);
            }
        }
        Ok(())
    }
}

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// A CSV file with a header, or a Parquet file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// Columns of the contexts; the program's names if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) x: Vec<String>,
    /// Columns of the wanted outcomes; the program's names if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) target: Vec<String>,
    /// Without a file: rows asked of the program, as `PROGRAM --sample N SEED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sample: Option<usize>,
    /// The SEED.
    pub(crate) sample_seed: u64,
    /// Share of the rows that is held out to score the policy on.
    pub(crate) held_out: f64,
    /// Decides which rows those are; the run's seed if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) split_seed: Option<u64>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            file: None,
            x: Vec::new(),
            target: Vec::new(),
            sample: None,
            sample_seed: 7,
            held_out: 0.2,
            split_seed: None,
        }
    }
}

/// What an action may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How an outcome's error counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unit {
    /// A difference that matters: the loss is the squared error in this unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<f64>,
    /// How much it counts; 0 leaves it out of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
}

/// The path as seen from where the command was started, whatever folder is entered later.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .with_context(|| format!("cannot tell where {} is", path.display()))
        .or_usage()
}

impl RunFile {
    /// Reads settings and goes to the folder where their paths start. Paths of the command line must be
    /// [absolute](absolute) before.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let path = absolute(path)?;
        let run = Self::read(&path).or_usage()?;
        let beside = path.parent().unwrap_or(Path::new("/"));
        let folder = beside.join(run.folder.as_deref().unwrap_or(Path::new("")));
        std::env::set_current_dir(&folder)
            .with_context(|| format!("{}: cannot enter {}", path.display(), folder.display()))
            .or_usage()?;
        Ok(run)
    }

    fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the settings {shown}: `graybox init` writes such a file")
        })?;
        let run: Self = toml::from_str(&text).map_err(|error| anyhow!("{shown}: {error}"))?;
        if run.data.file.is_some() == run.data.sample.is_some() {
            bail!("{shown}: [data] needs either file, CSV or Parquet, or sample, a number of rows");
        }
        run.train
            .check()
            .map_err(|error| anyhow!("{shown}: train.{error}"))?;
        Ok(run)
    }

    /// The settings as a file.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("these settings cannot be written as TOML")
    }

    /// Starts the program, or connects to the servers, as training asks them.
    pub(crate) fn start(&self, stop: &Stop) -> Result<Started, Failure> {
        let (oracle, said) = if self.train.asynchronous {
            self.oracle.start_lanes(stop)?
        } else {
            self.oracle.start(stop)?
        };
        Ok((oracle, self.describe(&said).or_usage()?))
    }

    /// What the oracle says of itself, with the settings' words over it.
    pub(crate) fn describe(&self, said: &Description) -> Result<Description> {
        let mut description = said.clone();
        self.names.over(&mut description)?;
        for (name, range) in &self.actions {
            let action = find(&mut description.u, name, "actions")?;
            if !(range.low.is_finite() && range.high.is_finite() && range.low < range.high) {
                bail!(
                    "actions.{name} has low = {} and high = {}: low must be below high",
                    range.low,
                    range.high
                );
            }
            action.lo = Some(range.low);
            action.hi = Some(range.high);
        }
        for (name, unit) in &self.outcomes {
            let outcome = find(&mut description.y, name, "outcomes")?;
            outcome.scale = unit.scale.or(outcome.scale);
            outcome.weight = unit.weight.or(outcome.weight);
        }
        if let Some(name) = &self.name {
            description.name.clone_from(name);
        }
        if let Some(action) = description
            .u
            .iter()
            .find(|u| u.lo.is_none() || u.hi.is_none())
        {
            bail!(
                "action {:?} has no range: add `{} = {{ low = .., high = .. }}` under [actions]",
                action.name,
                action.name
            );
        }
        Ok(description)
    }

    /// Columns of contexts and of targets.
    pub(crate) fn columns(&self, description: &Description) -> Result<[Vec<String>; 2]> {
        let chosen = |columns: &[String], of: &[Quantity], what: &str| {
            if columns.is_empty() {
                return Ok(names(of));
            }
            if columns.len() != of.len() {
                bail!(
                    "data.{what} names {} columns, but the program has {} ({})",
                    columns.len(),
                    of.len(),
                    names(of).join(", ")
                );
            }
            Ok(columns.to_vec())
        };
        Ok([
            chosen(&self.data.x, &description.x, "x")?,
            chosen(&self.data.target, &description.y, "target")?,
        ])
    }

    /// All rows.
    pub(crate) fn rows(&self, description: &Description) -> Result<Dataset, Failure> {
        if let Some(n) = self.data.sample {
            let (dims, seed) = (description.dims(), self.data.sample_seed);
            let sample = self.oracle.sample(dims, n, seed)?;
            return Dataset::new(sample.x, sample.target).or_usage();
        }
        let [x, target] = self.columns(description).or_usage()?;
        let file = self.data.file.clone().unwrap_or_default();
        data::read(&file, &x, &target).or_usage()
    }

    /// The rows to train on and those held out.
    pub(crate) fn split(&self, rows: &Dataset) -> Result<(Dataset, Dataset), Failure> {
        let seed = self.data.split_seed.unwrap_or(self.train.seed);
        rows.hold_out(self.data.held_out, seed)
            .context("data.held_out")
            .or_usage()
    }
}

/// The loss that the settings ask for.
pub(crate) fn objective(description: &Description) -> Result<SquaredError, Failure> {
    SquaredError::weighted(&description.scales(), &description.weights()).or_usage()
}

/// What actions may be.
pub(crate) fn head(description: &Description) -> Result<HeadConfig, Failure> {
    let (low, high) = description.action_bounds().unwrap_or_default();
    HeadConfig::bounded(low, high).or_usage()
}

/// The names of quantities.
pub(crate) fn names(of: &[Quantity]) -> Vec<String> {
    of.iter().map(|quantity| quantity.name.clone()).collect()
}

/// The sizes in words.
pub(crate) fn sizes(dims: Dims) -> String {
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    [(dims.x, "context"), (dims.u, "action"), (dims.y, "outcome")]
        .map(|(n, what)| counted(n, what))
        .join(", ")
}

fn find<'a>(among: &'a mut [Quantity], name: &str, table: &str) -> Result<&'a mut Quantity> {
    let known = names(among).join(", ");
    among
        .iter_mut()
        .find(|quantity| quantity.name == name)
        .with_context(|| format!("[{table}] names {name:?}; the program has {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RunFile> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RunFile::read(file.path())
    }

    const SMALL: &str = "[oracle]\ncommand = [\"./f\"]\n[data]\nfile = \"d.csv\"\n";

    #[test]
    fn settings_are_written_as_they_are_read() {
        let mut run = read(SMALL).unwrap();
        run.actions.insert(
            "a b".into(),
            Range {
                low: 0.1,
                high: 2.0,
            },
        );
        run.train.algorithm = graybox::AlgorithmConfig::default();
        assert_eq!(read(&run.to_toml().unwrap()).unwrap(), run);
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named_with_its_line() {
        let message = read(&format!("{SMALL}held = 0.1\n"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("line 5") && message.contains("held"),
            "{message}"
        );
    }

    #[test]
    fn a_setting_outside_its_meaning_is_named() {
        let message = read(&format!("{SMALL}[train]\ncalls = 0\n")).unwrap_err();
        assert!(
            message.to_string().contains("train.calls is 0"),
            "{message}"
        );
    }

    #[test]
    fn data_comes_from_one_place() {
        let message = read("[oracle]\ncommand = [\"./f\"]\n[data]\n").unwrap_err();
        assert!(message.to_string().contains("either file"), "{message}");
    }

    #[test]
    fn the_settings_speak_over_the_program_and_only_of_what_it_has() {
        let said = r#"{"x":[{}],"u":[{"name":"angle"}],"y":[{"name":"range","scale":2}]}"#;
        let said = Description::from_json(said).unwrap();
        let mut run = read(SMALL).unwrap();
        let message = run.describe(&said).unwrap_err().to_string();
        assert!(message.contains("\"angle\" has no range"), "{message}");

        run.actions.insert(
            "angle".into(),
            Range {
                low: 0.0,
                high: 1.5,
            },
        );
        let unit = Unit {
            scale: None,
            weight: Some(3.0),
        };
        run.outcomes.insert("range".into(), unit);
        let described = run.describe(&said).unwrap();
        assert_eq!(described.action_bounds(), Some((vec![0.0], vec![1.5])));
        assert_eq!(
            (described.scales(), described.weights()),
            (vec![2.0], vec![3.0])
        );

        run.actions.insert(
            "angel".into(),
            Range {
                low: 0.0,
                high: 1.0,
            },
        );
        let message = run.describe(&said).unwrap_err().to_string();
        assert!(
            message.contains("\"angel\"; the program has angle"),
            "{message}"
        );
    }
}
