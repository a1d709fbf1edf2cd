//! What each part of the default algorithm is worth: the same runs with the part switched off.

use std::fmt::Write;

use graybox::AlgorithmConfig;

use super::{Entry, Finish, Override, Plan, RaceError};
use crate::statistics::median;

/// A part of the default algorithm, and the settings that switch it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// As they are given to a race.
    pub off: &'static [&'static str],
}

/// The parts, in the order they act in a run.
pub const PARTS: [Part; 13] = [
    Part {
        name: "survey",
        off: &["anchored.survey=0"],
    },
    Part {
        name: "several policies",
        off: &["anchored.population=1"],
    },
    Part {
        name: "constant starts",
        off: &["anchored.constant=0"],
    },
    Part {
        name: "targets that move",
        off: &["anchored.ramp=0"],
    },
    Part {
        name: "exploration",
        off: &[
            "anchored.exploration.initial=1e-3",
            "anchored.exploration.last=1e-3",
        ],
    },
    Part {
        name: "anchors",
        off: &["anchored.anchored=0"],
    },
    Part {
        name: "trust region",
        off: &["anchored.trust=0"],
    },
    Part {
        name: "mending",
        off: &["anchored.mend=false"],
    },
    Part {
        name: "weight decay where calls are few",
        off: &["anchored.decay=0"],
    },
    Part {
        name: "SOAP (Adam instead)",
        off: &["train.optimizer=adam"],
    },
    Part {
        name: "closing phase",
        off: &["anchored.closing=0"],
    },
    Part {
        name: "penalty on what is not made out",
        off: &["anchored.penalty=0"],
    },
    Part {
        name: "calls kept back",
        off: &["anchored.guard=0"],
    },
];

/// The default algorithm on some tasks, whole and without each of its [parts](PARTS).
#[derive(Debug, Clone)]
pub struct Ablation {
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// Calls of every run.
    pub calls: u64,
    /// Seeds, the same with and without a part.
    pub seeds: Vec<u64>,
    /// Settings of all runs.
    pub overrides: Vec<Override>,
}

/// Runs that differ in task and seed alone.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The part they do without; none for the whole algorithm.
    pub without: Option<Part>,
    /// One run for each task and seed.
    pub entries: Vec<Entry>,
}

impl Ablation {
    /// The whole algorithm first, then without each part in turn.
    ///
    /// # Errors
    /// If a task is unknown, or a setting is refused.
    pub fn lanes(&self) -> Result<Vec<Lane>, RaceError> {
        let parts = PARTS.into_iter().map(Some);
        let lane = |without: Option<Part>| {
            let name = AlgorithmConfig::default().name().to_string();
            let mut overrides = self.overrides.clone();
            for setting in without.iter().flat_map(|part| part.off) {
                overrides.push(setting.parse()?);
            }
            let plan = Plan {
                tasks: self.tasks.clone(),
                algorithms: vec![name],
                calls: vec![self.calls],
                seeds: self.seeds.clone(),
                rows: None,
                overrides,
                references: false,
            };
            let entries = plan.entries()?;
            Ok(Lane { without, entries })
        };
        std::iter::once(None).chain(parts).map(lane).collect()
    }
}

/// The lanes as a Markdown table. Without a part: the geometric mean over the seeds of its loss relative to
/// that of the whole algorithm, and in how many seeds it was the larger one. The last column is the geometric mean
/// over the tasks.
pub fn ablation_table(lanes: &[Lane], finishes: &[(Entry, Finish)]) -> String {
    let loss = |entry: &Entry| {
        let (_, finish) = finishes.iter().find(|(run, _)| run == entry)?;
        finish.true_loss_after
    };
    let Some(whole) = lanes.iter().find(|lane| lane.without.is_none()) else {
        return String::new();
    };
    let mut tasks: Vec<&str> = Vec::new();
    for entry in &whole.entries {
        if !tasks.contains(&entry.task.as_str()) {
            tasks.push(&entry.task);
        }
    }
    let mut text = format!("| without | {} | all |\n", tasks.join(" | "));
    writeln!(text, "|---|{}", "--:|".repeat(tasks.len() + 1)).expect(TO_A_STRING);
    for lane in lanes {
        let mut cells = Vec::new();
        let mut logs_of_all = Vec::new();
        for task in &tasks {
            let of_task = |lane: &Lane| -> Vec<Entry> {
                let entries = lane.entries.iter();
                entries
                    .filter(|entry| entry.task == **task)
                    .cloned()
                    .collect()
            };
            if lane.without.is_none() {
                let losses: Vec<f64> = of_task(lane).iter().filter_map(loss).collect();
                cells.push(median(&losses).map_or(NONE.into(), |loss| format!("{loss:.1e}")));
                continue;
            }
            let pairs = of_task(lane).into_iter().zip(of_task(whole));
            let logs: Vec<f64> = pairs
                .filter_map(|(off, on)| Some((loss(&off)? / loss(&on)?).ln()))
                .collect();
            let worse = logs.iter().filter(|log| **log > 0.0).count();
            let ratio = mean(&logs).map(f64::exp);
            cells.push(ratio.map_or(NONE.into(), |ratio| {
                format!("{} ({worse}/{})", factor(ratio), logs.len())
            }));
            logs_of_all.extend(mean(&logs));
        }
        let all = mean(&logs_of_all).map(f64::exp);
        cells.push(all.map_or(NONE.into(), factor));
        let name = lane
            .without
            .map_or("nothing: median loss", |part| part.name);
        writeln!(text, "| {name} | {} |", cells.join(" | ")).expect(TO_A_STRING);
    }
    text
}

const NONE: &str = "–";
const TO_A_STRING: &str = "writing to a string cannot fail";

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Two digits, and no more noughts than can be read.
fn factor(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 1e3 => format!("{ratio:.0e}"),
        ratio if ratio >= 10.0 => format!("{ratio:.0}"),
        ratio if ratio >= 1.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::tests::finish;

    fn ablation() -> Ablation {
        Ablation {
            tasks: vec!["asker".into(), "rotation".into()],
            calls: 100,
            seeds: vec![1, 2],
            overrides: Vec::new(),
        }
    }

    #[test]
    fn every_part_can_be_switched_off_and_changes_the_run() {
        let lanes = ablation().lanes().unwrap();
        assert_eq!(lanes.len(), PARTS.len() + 1);
        for lane in &lanes {
            assert_eq!(lane.entries.len(), 4);
            let whole = lane.entries == lanes[0].entries;
            assert_eq!(whole, lane.without.is_none(), "{:?}", lane.without);
        }
    }

    #[test]
    fn a_part_is_worth_the_geometric_mean_of_what_its_absence_costs() {
        let lanes = ablation().lanes().unwrap();
        let mut finishes = Vec::new();
        for (lane, factors) in lanes.iter().zip([[1.0, 1.0], [2.0, 8.0]]) {
            for (entry, factor) in lane.entries.iter().zip(factors.repeat(2)) {
                let loss = 1e-3 * factor * entry.config.seed as f64;
                finishes.push((entry.clone(), finish(&entry.task, entry.config.seed, loss)));
            }
        }
        let table = ablation_table(&lanes[..2], &finishes);
        let rows: Vec<_> = table.lines().collect();
        assert_eq!(rows[0], "| without | asker | rotation | all |");
        assert_eq!(rows[2], "| nothing: median loss | 1.5e-3 | 1.5e-3 | – |");
        assert_eq!(rows[3], "| survey | 4.0 (2/2) | 4.0 (2/2) | 4.0 |");
    }
}
