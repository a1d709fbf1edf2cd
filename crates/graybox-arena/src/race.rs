//! Algorithms against each other, and against the true gradient, at equal oracle calls.
//!
//! A race is a list of [entries](Entry): what trains on which task, with how many calls and which seed. Every
//! entry is a run of its own, in a process of its own (burn's autodiff keeps one registry per process, behind
//! one lock), and ends in a [`Finish`]. The references, the true gradient used once and used as often as a
//! surrogate uses it, are entries like the others.
//!
//! Counting: whatever touches the oracle in training is charged by
//! [`Metered`](graybox::oracle::Metered), failures and probes included. Only scores are free: the task's
//! objective on fresh contexts, with the noise-free truth.

use graybox::OptimizerKind;
use graybox::{AlgorithmConfig, ConfigError, TrainConfig, TrainError};

use crate::white_box::{ReplayConfig, WhiteBoxConfig};
use crate::{Task, all, by_name, white_box};

mod ablation;
mod entry;
mod finish;
mod finished;
mod overrides;
mod table;
mod workers;

pub use ablation::{Ablation, Lane, PARTS, Part, ablation_table};
pub use entry::{Contender, Entry};
pub use finish::{Finish, Standing, Timings};
pub use finished::{Finished, build_of};
pub use overrides::Override;
pub use table::{Group, groups, table};
pub use workers::run_all;

/// What is to be raced.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names of tasks, or `all`.
    pub tasks: Vec<String>,
    /// Names of algorithms, or `all`; none is the default one.
    pub algorithms: Vec<String>,
    /// Budgets.
    pub calls: Vec<u64>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Training rows; as many as each task says if not stated.
    pub rows: Option<usize>,
    /// Settings that differ from the defaults.
    pub overrides: Vec<Override>,
    /// Whether the true gradient runs as well.
    pub references: bool,
}

impl Plan {
    /// Every run it takes, the references first.
    ///
    /// # Errors
    /// If a task or an algorithm is unknown, a list is empty, or a setting is refused.
    pub fn entries(&self) -> Result<Vec<Entry>, RaceError> {
        if self.tasks.is_empty() {
            return Err(RaceError::NoTask {
                known: known(&task_names()),
            });
        }
        let mut entries = Vec::new();
        for task in self.chosen_tasks()? {
            for &calls in &self.calls {
                for &seed in &self.seeds {
                    let mut contenders = Vec::new();
                    if self.references {
                        contenders.extend(white_box::names().map(str::to_string));
                    }
                    contenders.extend(self.chosen_algorithms()?);
                    for name in contenders {
                        let entry = self.entry(&task, &name, calls, seed)?;
                        if !entries.contains(&entry) {
                            entries.push(entry);
                        }
                    }
                }
            }
        }
        for setting in &self.overrides {
            if !entries.iter().any(|entry| setting.concerns(entry)) {
                return Err(RaceError::IdleOverride(setting.to_string()));
            }
        }
        Ok(entries)
    }

    /// The entries asked for by name, without the references that only accompany them.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    pub fn asked(&self) -> Result<Vec<Entry>, RaceError> {
        let alone = Self {
            references: false,
            overrides: Vec::new(),
            ..self.clone()
        };
        let names: Vec<_> = alone.chosen_algorithms()?;
        let mut entries = self.entries()?;
        entries.retain(|entry| names.iter().any(|name| name == entry.algorithm()));
        Ok(entries)
    }

    fn entry(&self, task: &str, name: &str, calls: u64, seed: u64) -> Result<Entry, RaceError> {
        let mut entry = Entry {
            task: task.to_string(),
            contender: contender(name, calls)?,
            rows: self.rows,
            config: TrainConfig {
                calls,
                seed,
                scores: SCORES,
                ..TrainConfig::default()
            },
        };
        for setting in &self.overrides {
            setting.apply(&mut entry)?;
        }
        entry.check()?;
        Ok(entry)
    }

    fn chosen_tasks(&self) -> Result<Vec<String>, RaceError> {
        let mut chosen = Vec::new();
        for name in &self.tasks {
            let found = match name.as_str() {
                "all" => task_names(),
                name => vec![find(name)?.name()],
            };
            for name in found {
                if !chosen.iter().any(|known| known == name) {
                    chosen.push(name.to_string());
                }
            }
        }
        Ok(chosen)
    }

    fn chosen_algorithms(&self) -> Result<Vec<String>, RaceError> {
        if self.algorithms.is_empty() {
            return Ok(vec![AlgorithmConfig::default().name().to_string()]);
        }
        let mut chosen = Vec::new();
        for name in &self.algorithms {
            let found = match name.as_str() {
                "all" => AlgorithmConfig::all()
                    .iter()
                    .map(AlgorithmConfig::name)
                    .collect(),
                name => vec![contender(name, 1)?.name()],
            };
            for name in found {
                if !chosen.iter().any(|known| known == name) {
                    chosen.push(name.to_string());
                }
            }
        }
        Ok(chosen)
    }
}

/// Scores during a run, for its curve.
const SCORES: u64 = 20;

/// The task of this name.
///
/// # Errors
/// If there is none; the message names those there are.
pub fn find(name: &str) -> Result<std::sync::Arc<dyn Task>, RaceError> {
    by_name(name).ok_or_else(|| RaceError::UnknownTask {
        name: name.to_string(),
        known: known(&task_names()),
    })
}

fn task_names() -> Vec<&'static str> {
    all().iter().map(|task| task.name()).collect()
}

fn contender(name: &str, calls: u64) -> Result<Contender, RaceError> {
    if name == white_box::NAME {
        return Ok(Contender::WhiteBox(WhiteBoxConfig::for_calls(calls)));
    }
    for optimizer in [OptimizerKind::Soap, OptimizerKind::Adam] {
        let replay = ReplayConfig::with(optimizer);
        if name == replay.name() {
            return Ok(Contender::WhiteBoxReplay(replay));
        }
    }
    let algorithms = AlgorithmConfig::all();
    let found = algorithms.iter().find(|config| config.name() == name);
    let found = found.cloned().map(Contender::Algorithm);
    found.ok_or_else(|| {
        let mut names: Vec<_> = algorithms.iter().map(AlgorithmConfig::name).collect();
        names.extend(white_box::names());
        RaceError::UnknownAlgorithm {
            name: name.to_string(),
            known: known(&names),
        }
    })
}

fn known(names: &[&str]) -> String {
    names.join(", ")
}

/// Why a race cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RaceError {
    /// Nothing to race on.
    #[error("name at least one task, or `all`: {known}")]
    NoTask {
        /// The tasks there are.
        known: String,
    },
    /// A task that does not exist.
    #[error("no task {name:?}; there are {known}, and `all`")]
    UnknownTask {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// An algorithm that does not exist.
    #[error("no algorithm {name:?}; there are {known}, and `all`")]
    UnknownAlgorithm {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A setting that cannot be read.
    #[error("cannot set {setting:?}: {reason}")]
    Override {
        /// As it was given.
        setting: String,
        /// Why.
        reason: String,
    },
    /// A setting of an algorithm that does not run.
    #[error("{0:?} sets nothing: no such algorithm is in this race")]
    IdleOverride(String),
    /// A setting outside its meaning.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run that failed.
    #[error("{entry}: {source}")]
    Train {
        /// Which.
        entry: String,
        /// Why.
        source: TrainError,
    },
    /// A process that did not do its run.
    #[error("{entry}: {reason}")]
    Worker {
        /// Which.
        entry: String,
        /// What it said.
        reason: String,
    },
    /// The file of finished runs.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use graybox::oracle::Dims;

    /// What a run might have come to.
    pub(super) fn finish(task: &str, seed: u64, loss: f64) -> Finish {
        Finish {
            task: task.into(),
            algorithm: "joint".into(),
            seed,
            device: "flex".into(),
            dims: Dims::new(2, 1, 2),
            calls: 100,
            oracle_calls: 100,
            failed_calls: 0,
            scoring_calls: 0,
            true_loss_before: Some(1.0),
            true_loss_after: Some(loss),
            undefined_share: 0.0,
            last_valid_share: None,
            jacobian_cosine: None,
            rounds: 10,
            stopped: false,
            facts: serde_json::Value::Null,
            diagnoses: Vec::new(),
            wall_s: 3.0,
            oracle_s: 1.0,
            curve: vec![(0, 1.0), (50, 0.1), (100, loss)],
        }
    }

    fn plan(task: &str, algorithm: &str) -> Plan {
        Plan {
            tasks: vec![task.into()],
            algorithms: vec![algorithm.into()],
            calls: vec![100],
            seeds: vec![1, 2],
            rows: None,
            overrides: Vec::new(),
            references: true,
        }
    }

    #[test]
    fn every_seed_runs_with_all_references() {
        let entries = plan("asker", "joint").entries().unwrap();
        let names: Vec<_> = entries.iter().map(Entry::algorithm).collect();
        let once = [
            "white_box",
            "white_box_replay",
            "white_box_replay_adam",
            "joint",
        ];
        assert_eq!(names, [once, once].concat());
        assert_eq!(plan("asker", "joint").asked().unwrap().len(), 2);
    }

    #[test]
    fn what_is_unknown_is_named_with_what_there_is() {
        let message = plan("asker", "magic").entries().unwrap_err().to_string();
        assert!(message.contains("magic") && message.contains("finite_difference"));
        let message = plan("moon", "joint").entries().unwrap_err().to_string();
        assert!(message.contains("moon") && message.contains("robotic_arm"));
    }

    #[test]
    fn a_setting_reaches_its_algorithm_and_no_other() {
        let mut plan = plan("asker", "joint");
        plan.overrides = vec!["joint.lambda=2.5".parse().unwrap()];
        let entries = plan.entries().unwrap();
        let changed = |entry: &&Entry| format!("{entry:?}").contains("lambda: 2.5");
        assert_eq!(entries.iter().filter(changed).count(), 2);
        plan.overrides = vec!["spsa.pairs=2".parse().unwrap()];
        assert!(matches!(plan.entries(), Err(RaceError::IdleOverride(_))));
        for (setting, part) in [
            ("joint.lamda=1", "lamda"),
            ("joint.lambda=-1", "joint.lambda"),
            ("train.calls=0", "calls"),
        ] {
            plan.overrides = vec![setting.parse().unwrap()];
            let message = plan.entries().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
