//! Every figure the READMEs state, measured again by the command that stands beside it.
//!
//! A figure is written once, in the README; what is here says where it stands, how to measure it and how far it
//! may be off. Losses of trained networks differ between kinds of processor, since rounding does, so a band is a
//! factor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A figure may be this many times larger or smaller than it is stated.
const BAND: f64 = 3.0;

/// Where results go, below the root.
const OUT: &str = "target/graybox/figures";

/// A table with a figure or more per row, and what measures them.
struct Table {
    file: &'static str,
    /// What the line with the column names begins with.
    header: &'static str,
    /// Columns of figures, counted from zero.
    columns: &'static [Column],
    /// Arguments of cargo.
    command: &'static [&'static str],
    /// Summaries the command leaves, and the picture that stands beside the table.
    summaries: &'static str,
    picture: Option<(&'static str, &'static str)>,
}

/// A column and how to find its figure in the row with a name.
type Column = (usize, fn(&Value, &str) -> Option<f64>);

const TABLES: [Table; 2] = [
    Table {
        file: "README.md",
        header: "| method | true loss",
        columns: &[(1, |summaries, name| {
            if name == "white box" {
                return summaries.get(0)?["white_box_loss"].as_f64();
            }
            let mut summaries = summaries.as_array()?.iter();
            summaries.find(|summary| summary["algorithm"] == name)?["true_loss_after"].as_f64()
        })],
        command: &[
            "run",
            "--release",
            "--example",
            "compare_methods",
            "--",
            "--out",
            "target/graybox/figures/compare_methods",
        ],
        summaries: "compare_methods/summary.json",
        picture: Some((
            "compare_methods/comparison.svg",
            "assets/pictures/compare_methods.svg",
        )),
    },
    Table {
        file: "README.md",
        header: "| task | default",
        columns: &[
            (1, |runs, task| median(runs, task, "true_loss_after")),
            (2, |runs, task| median(runs, task, "white_box_loss")),
            (3, |runs, task| median(runs, task, "white_box_replay_loss")),
        ],
        command: &[
            "run",
            "--release",
            "--example",
            "race",
            "--",
            "actuator",
            "asker",
            "asker_kinked",
            "ballistics",
            "fold",
            "robotic_arm",
            "scaling64",
            "sine_wave",
            "--json",
            "target/graybox/figures/race.json",
        ],
        summaries: "race.json",
        picture: None,
    },
];

/// The median of a figure over the runs on a task.
fn median(runs: &Value, task: &str, figure: &str) -> Option<f64> {
    let runs = runs.as_array()?.iter().filter(|run| run["task"] == task);
    let figures = runs.map(|run| run[figure].as_f64());
    let figures: Vec<f64> = figures.collect::<Option<_>>()?;
    graybox_arena::statistics::median(&figures)
}

/// Measures every figure. With `write`, those that are off and their pictures are put right in place of a
/// complaint.
pub(crate) fn run(write: bool) -> Result<()> {
    let root = root()?;
    let mut off = 0;
    for table in &TABLES {
        cargo(&root, table.command)?;
        let summaries = fs::read_to_string(root.join(OUT).join(table.summaries))?;
        let summaries = serde_json::from_str(&summaries)?;
        let path = root.join(table.file);
        let text = fs::read_to_string(&path)?;
        let (text, wrong) = check(table, &text, &summaries)?;
        off += wrong;
        if write {
            fs::write(&path, text)?;
            if let Some((from, to)) = table.picture {
                fs::copy(root.join(OUT).join(from), root.join(to))?;
            }
        }
    }
    if off > 0 && !write {
        bail!("{off} figures are off by more than {BAND} times; `figures --write` puts them right");
    }
    Ok(())
}

/// Compares a table with what was measured: the text with the measured figures in it, and how many are outside
/// their band.
fn check(table: &Table, text: &str, summaries: &Value) -> Result<(String, usize)> {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let header = lines.iter().position(|line| line.starts_with(table.header));
    let header = header.with_context(|| format!("{} has lost {:?}", table.file, table.header))?;
    let mut wrong = 0;
    let rows = lines[header + 2..].iter_mut();
    for line in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let mut replaced: Vec<String> = cells.iter().map(ToString::to_string).collect();
        for (column, find) in table.columns {
            let stated = cells.get(*column).copied().unwrap_or_default();
            let stated: f64 = stated
                .parse()
                .with_context(|| format!("{}: {name} states {stated:?}", table.file))?;
            let measured = find(summaries, name);
            let measured = measured.with_context(|| format!("nothing measures {name}"))?;
            ensure!(measured.is_finite(), "{name} came to {measured}");
            let fits = (stated / BAND..=stated * BAND).contains(&measured);
            wrong += usize::from(!fits);
            let verdict = if fits { "" } else { "  off" };
            println!("{name:<20} stated {stated:>8.1e}  measured {measured:>8.1e}{verdict}");
            replaced[*column] = format!("{measured:.1e}");
        }
        *line = format!("| {} |", replaced.join(" | "));
    }
    Ok((lines.join("\n") + "\n", wrong))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .status()?;
    ensure!(
        status.success(),
        "cargo {} failed: {status}",
        arguments.join(" ")
    );
    Ok(())
}

/// The root of the working tree, from wherever in it this was started.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here
        .ancestors()
        .find(|folder| folder.join("crates/README.md").exists());
    Ok(root
        .context("start this inside the repository")?
        .to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_figure_outside_its_band_is_found_and_can_be_put_right() {
        let text = "before\n| method | true loss | why |\n| --- | --- | --- |\n| `a` | 1.0e-3 | x |\n\
                    | `b` | 2.0e-2 | y |\n| white box | 5.0e-4 | z |\n\nafter\n";
        let summaries = json!([
            {"algorithm": "a", "true_loss_after": 2.5e-3, "white_box_loss": 5e-4},
            {"algorithm": "b", "true_loss_after": 6.5e-2},
        ]);
        let (put_right, wrong) = check(&TABLES[0], text, &summaries).unwrap();
        assert_eq!(wrong, 1);
        assert!(put_right.contains("| `b` | 6.5e-2 | y |"), "{put_right}");
        assert!(put_right.starts_with("before\n") && put_right.ends_with("\nafter\n"));
        let (_, wrong) = check(&TABLES[0], &put_right, &summaries).unwrap();
        assert_eq!(wrong, 0);
    }

    #[test]
    fn a_row_that_nothing_measures_is_an_error() {
        let text = "| method | true loss |\n| --- | --- |\n| `gone` | 1.0e-3 |\n";
        let error = check(&TABLES[0], text, &json!([])).unwrap_err();
        assert_eq!(error.to_string(), "nothing measures gone");
    }
}
