//! Standings of several seeds, summed up.

use std::fmt::Write;

use super::Standing;
use crate::statistics::{Spread, median};

/// All seeds of one algorithm on one task with the same number of calls.
#[derive(Debug, Clone)]
pub struct Group {
    /// What was to be learned.
    pub task: String,
    /// What trained it.
    pub algorithm: String,
    /// Calls that were granted.
    pub calls: u64,
    /// One standing per seed.
    pub standings: Vec<Standing>,
}

/// Parts standings by task, calls and algorithm, in the order they first come.
pub fn groups(standings: &[Standing]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for standing in standings {
        let finish = &standing.finish;
        let same = |group: &&mut Group| {
            (&group.task, &group.algorithm, group.calls)
                == (&finish.task, &finish.algorithm, finish.calls)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.standings.push(standing.clone()),
            None => groups.push(Group {
                task: finish.task.clone(),
                algorithm: finish.algorithm.clone(),
                calls: finish.calls,
                standings: vec![standing.clone()],
            }),
        }
    }
    groups
}

impl Group {
    fn all(&self, value: impl Fn(&Standing) -> Option<f64>) -> Vec<f64> {
        self.standings.iter().filter_map(value).collect()
    }

    fn middle(&self, value: impl Fn(&Standing) -> Option<f64>) -> Option<f64> {
        median(&self.all(value))
    }

    /// True losses after training.
    pub fn loss(&self) -> Option<Spread> {
        Spread::of(&self.all(|standing| standing.finish.true_loss_after))
    }

    /// Median loss of the true gradient with as many calls, each used once.
    pub fn white_box(&self) -> Option<f64> {
        self.middle(|standing| standing.white_box_loss)
    }

    /// Median loss of the true gradient with as many calls, each used many times.
    pub fn white_box_replay(&self) -> Option<f64> {
        self.middle(|standing| standing.white_box_replay_loss)
    }

    /// Median of the calls after which a run first scored what the true gradient ends with; none if fewer
    /// than half of the runs did.
    pub fn calls_to_white_box(&self) -> Option<f64> {
        let first = |standing: &Standing| {
            let goal = standing.white_box_loss?;
            let reached = |(_, loss): &&(u64, f64)| *loss <= goal;
            let (calls, _) = standing.finish.curve.iter().find(reached)?;
            Some(*calls as f64)
        };
        let calls = self
            .standings
            .iter()
            .map(|s| first(s).unwrap_or(f64::INFINITY));
        median(&calls.collect::<Vec<_>>()).filter(|calls| calls.is_finite())
    }

    /// The median curve of true losses: (calls, loss), at the calls where every seed has been scored.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let curves: Vec<_> = self.standings.iter().map(|s| &s.finish.curve).collect();
        let n = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
        let point = |k: usize| {
            let column = |of: fn(&(u64, f64)) -> f64| {
                let values: Vec<f64> = curves.iter().map(|curve| of(&curve[k])).collect();
                median(&values)
            };
            Some((
                column(|(calls, _)| *calls as f64)? as u64,
                column(|(_, loss)| *loss)?,
            ))
        };
        (0..n).filter_map(point).collect()
    }
}

const HEADER: &str = "\
| task | calls | algorithm | seeds | median | quartiles | 95 % of the median | worst | true gradient | true gradient, replayed | floor | published | calls to true gradient | failed | last 200 valid | no outcome | cos(J̃, J) | s without F | ms a round | of it F |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// The groups as a Markdown table. Losses are noise-free, on fresh contexts, in the task's units.
pub fn table(groups: &[Group]) -> String {
    let mut text = HEADER.to_string();
    for group in groups {
        let loss = group.loss();
        let cell =
            |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.1e}"));
        let share =
            |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.2}"));
        let whole =
            |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.0}"));
        let pair = |value: Option<[f64; 2]>| {
            value.map_or("–".to_string(), |[low, high]| {
                format!("{low:.1e} – {high:.1e}")
            })
        };
        let of = |value: fn(&Standing) -> Option<f64>| group.middle(value);
        let cells = [
            group.task.clone(),
            group.calls.to_string(),
            group.algorithm.clone(),
            group.standings.len().to_string(),
            cell(loss.map(|loss| loss.median)),
            pair(loss.map(|loss| loss.quartiles)),
            pair(loss.map(|loss| loss.interval)),
            cell(loss.map(|loss| loss.worst)),
            cell(group.white_box()),
            cell(group.white_box_replay()),
            cell(of(|standing| standing.floor)),
            cell(of(|standing| standing.published)),
            whole(group.calls_to_white_box()),
            whole(of(|standing| Some(standing.finish.failed_calls as f64))),
            share(of(|standing| standing.finish.last_valid_share)),
            share(of(|standing| Some(standing.finish.undefined_share))),
            share(of(|standing| standing.finish.jacobian_cosine)),
            whole(of(|standing| {
                Some(standing.finish.wall_s - standing.finish.oracle_s)
            })),
            of(|standing| Some(standing.timings.round_ms))
                .map_or("–".into(), |ms| format!("{ms:.1}")),
            share(of(|standing| Some(standing.timings.oracle))),
        ];
        writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::Finish;
    use crate::race::tests::finish;

    fn standing(seed: u64, loss: f64) -> Standing {
        let finish = finish("asker", seed, loss);
        let all = [Finish {
            algorithm: "white_box".into(),
            true_loss_after: Some(0.1),
            ..finish.clone()
        }];
        Standing::new(&finish, &all).unwrap()
    }

    #[test]
    fn seeds_are_summed_up_beside_their_references() {
        let standings = [standing(1, 0.0625), standing(2, 0.03125)];
        let groups = groups(&standings);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].calls_to_white_box(), Some(50.0));
        assert_eq!(groups[0].curve()[2], (100, 0.046_875));
        let text = table(&groups);
        assert_eq!(text.lines().count(), 3);
        let row = text.lines().last().unwrap();
        assert!(
            row.starts_with("| asker | 100 | joint | 2 | 4.7e-2 |"),
            "{row}"
        );
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(row), columns(text.lines().next().unwrap()));
    }
}
