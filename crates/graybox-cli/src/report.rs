//! `graybox report`: a run on one page of HTML that needs nothing else.
//!
//! `read` is what a run left, `charts` the pictures; every number stands in `summary.json` as well.

mod charts;
mod read;

use std::fmt::Write;

use anyhow::{Context, Result, anyhow};
use graybox::Diagnosis;
use graybox_app::Artifacts;
use serde::{Deserialize, Serialize};

use crate::args::Report;
use crate::chart::escape;
use crate::outcome::{Blame, Done, Failure};
use crate::run_file::sizes;
use crate::run_folder::{REPORT, SETTINGS};
use charts::{actions, failures, loss, surrogate, targets};
use read::Run;

pub(crate) fn run(args: &Report) -> Result<Done, Failure> {
    let runs = args.runs.iter().map(|folder| Run::read_with_seeds(folder));
    let runs: Vec<Vec<Run>> = runs.collect::<Result<_>>().or_usage()?;
    let runs: Vec<Run> = runs.into_iter().flatten().collect();
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.runs[0].join(REPORT));
    std::fs::write(&out, page(&runs)?)
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!("wrote {}", out.display());
    Ok(Done::Finished)
}

/// Writes the report of a run beside its other results.
pub(crate) fn write(artifacts: &Artifacts) -> Result<()> {
    let page = page(&Run::read_with_seeds(artifacts.folder())?)?;
    artifacts.write(REPORT, |path| Ok(std::fs::write(path, page)?))
}

/// A diagnosis as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    title: String,
    evidence: String,
    advice: String,
}

impl From<&Diagnosis> for Told {
    fn from(diagnosis: &Diagnosis) -> Self {
        Self {
            title: diagnosis.title().to_owned(),
            evidence: diagnosis.evidence(),
            advice: diagnosis.advice().to_owned(),
        }
    }
}

fn page(runs: &[Run]) -> Result<String> {
    let run = runs.first().ok_or_else(|| anyhow!("no run to report"))?;
    let task = run.summary["task"].as_str().unwrap_or("a run");
    let mut body = String::new();
    heading(&mut body, run, runs.len())?;
    told(&mut body, run)?;
    // Side by side where there is room.
    writeln!(body, "<div class=\"pair\"><div>")?;
    section(
        &mut body,
        "Loss against oracle calls",
        &loss(runs),
        "No held-out loss was measured.",
    )?;
    writeln!(body, "</div><div>")?;
    cost(&mut body, run)?;
    seeds(&mut body, run)?;
    writeln!(body, "</div></div><div class=\"pair\"><div>")?;
    section(
        &mut body,
        "Outcomes against targets",
        &targets(run),
        "No held-out row was answered.",
    )?;
    writeln!(body, "</div><div>")?;
    section(
        &mut body,
        "The surrogate where the policy lives",
        &surrogate(run),
        "This algorithm trains no surrogate.",
    )?;
    writeln!(body, "</div></div>")?;
    section(
        &mut body,
        "Actions over contexts",
        &actions(run),
        "There are no contexts.",
    )?;
    section(
        &mut body,
        "Where calls fail",
        &failures(run),
        "No call failed.",
    )?;
    settings(&mut body, run)?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}: graybox</title><style>{STYLE}</style></head><body><main>\n{body}</main></body></html>\n",
        escape(task)
    ))
}

/// Colours by name, told apart by people who confuse red and green (Okabe & Ito, 2008), once for each scheme.
const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--card:#f5f6f8;--ink:#1c2530;--soft:#5b6675;--grid:#dde1e6;--one:#0072b2;--two:#d55e00;--three:#009e73;--well:#006b4f;--warn:#fff4e5;--edge:#e69f00}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1d232a;--ink:#e6eaef;--soft:#9aa5b1;--grid:#333c46;--one:#56b4e9;--two:#f0955a;--three:#3ccf9f;--well:#3ccf9f;--warn:#33291a;--edge:#e69f00}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:20px 16px 60px}h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.2rem;margin:2em 0 .6em}
p{margin:.4em 0}.soft,figcaption{color:var(--soft)}figcaption{font-size:.85rem;text-align:center}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0}
.tile,figure{background:var(--card);border-radius:10px;padding:10px 12px;margin:0}.tile b{display:block;font-size:1.15rem;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:12px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:0 12px}.key{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}svg .label{fill:var(--ink);font-size:13px}
.grid{stroke:var(--grid)}.line{fill:none;stroke-width:2}.guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}.thin{stroke-width:1;opacity:.5}.dot.one{fill:var(--one)}.dot.two{fill:var(--two)}.dot{opacity:.65}.dot.faint{fill:var(--soft);opacity:.3}.band.one{fill:var(--one);opacity:.18}
.told{background:var(--warn);border-left:4px solid var(--edge);border-radius:6px;padding:10px 14px;margin:10px 0}.well{color:var(--well)}
table{border-collapse:collapse;width:100%}td,th{padding:4px 8px;text-align:left;border-bottom:1px solid var(--grid)}td:last-child,th:last-child{text-align:right}
pre{background:var(--card);border-radius:8px;padding:12px;overflow-x:auto;font-size:.85rem}.bar{display:flex;height:16px;border-radius:8px;overflow:hidden;margin:8px 0;background:var(--grid)}.bar i{display:block}
";

fn heading(body: &mut String, run: &Run, n_runs: usize) -> Result<()> {
    let text = |key: &str| escape(run.summary[key].as_str().unwrap_or("?"));
    let loss = |key: &str| number(run.summary[key].as_f64());
    let seed = &run.summary["seed"];
    let seeds = match (n_runs, run.summary["seeds"].is_array()) {
        (1, _) => format!("seed {seed}"),
        (_, true) => format!("the best of {n_runs} seeds, {seed}"),
        (_, false) => format!("{n_runs} runs, this is seed {seed}"),
    };
    writeln!(
        body,
        "<h1>{}</h1><p class=\"soft\">trained by {} on {}, {seeds}; {}</p>",
        text("task"),
        text("algorithm"),
        text("device"),
        sizes(run.oracle.dims())
    )?;
    let tiles = [
        ("true held-out loss before", loss("true_loss_before")),
        ("and after", loss("true_loss_after")),
        (
            "oracle calls charged",
            format!("{}", run.number("oracle_calls")),
        ),
        ("of them failed", format!("{}", run.number("failed_calls"))),
        ("time", seconds(run.number("wall_s"))),
    ];
    writeln!(body, "<div class=\"tiles\">")?;
    for (name, value) in tiles {
        writeln!(
            body,
            "<div class=\"tile\"><span class=\"soft\">{name}</span><b>{value}</b></div>"
        )?;
    }
    Ok(writeln!(body, "</div>")?)
}

fn told(body: &mut String, run: &Run) -> Result<()> {
    writeln!(body, "<h2>What stood out</h2>")?;
    if run.diagnoses.is_empty() {
        writeln!(
            body,
            "<p class=\"well\">Nothing kept this run from learning that the checks know of.</p>"
        )?;
    }
    for Told {
        title,
        evidence,
        advice,
    } in &run.diagnoses
    {
        let mut evidence = escape(evidence);
        if let Some(first) = evidence.get(..1) {
            evidence = first.to_uppercase() + &evidence[1..];
        }
        writeln!(
            body,
            "<div class=\"told\"><b>{}</b><p>{evidence}.</p><p>{}.</p></div>",
            escape(title),
            escape(advice)
        )?;
    }
    Ok(())
}

/// A line for each seed, where there are several.
fn seeds(body: &mut String, run: &Run) -> Result<()> {
    let Some(seeds) = run.summary["seeds"].as_array() else {
        return Ok(());
    };
    writeln!(
        body,
        "<h2>The seeds</h2><table><tr><th>seed</th><th>loss before</th><th>and after</th><th>oracle calls</th></tr>"
    )?;
    for seed in seeds {
        let best = seed["seed"] == run.summary["seed"];
        writeln!(
            body,
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            seed["seed"],
            if best { ", the best" } else { "" },
            number(seed["true_loss_before"].as_f64()),
            number(seed["true_loss_after"].as_f64()),
            seed["oracle_calls"]
        )?;
    }
    Ok(writeln!(
        body,
        "</table><p class=\"soft\">The best was chosen by these losses, so that its own looks a little better than it is.</p>"
    )?)
}

/// A number as people read it.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "unknown".into();
    };
    if value == 0.0 || !(1e-3..1e5).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 6);
    format!("{value:.*}", digits as usize)
}

fn section(body: &mut String, title: &str, charts: &[String], none: &str) -> Result<()> {
    writeln!(body, "<h2>{title}</h2>")?;
    if charts.is_empty() {
        return Ok(writeln!(body, "<p class=\"soft\">{none}</p>")?);
    }
    Ok(writeln!(
        body,
        "<div class=\"charts\">{}</div>",
        charts.concat()
    )?)
}

fn cost(body: &mut String, run: &Run) -> Result<()> {
    let (calls, failed, scoring) = (
        run.number("oracle_calls"),
        run.number("failed_calls"),
        run.number("scoring_calls"),
    );
    let (oracle, networks) = (run.number("oracle_s"), run.number("networks_s"));
    writeln!(body, "<h2>What it cost</h2>")?;
    if let Some(seeds) = run.summary["seeds"].as_array() {
        let n = seeds.len();
        writeln!(body, "<p class=\"soft\">All {n} seeds together.</p>")?;
    }
    bar(
        body,
        &[
            ("--one", calls - failed),
            ("--two", failed),
            ("--soft", scoring),
        ],
    )?;
    writeln!(
        body,
        "<table><tr><td>{}calls answered, for training</td><td>{}</td></tr>\
         <tr><td>{}calls failed, for training</td><td>{failed}</td></tr>\
         <tr><td>{}calls for scores, not charged</td><td>{scoring}</td></tr></table>",
        key("--one"),
        calls - failed,
        key("--two"),
        key("--soft"),
    )?;
    let warm = run.number("warm_start_answers");
    if warm > 0.0 {
        writeln!(
            body,
            "<p class=\"soft\">Started with {warm} answers that earlier runs had paid for.</p>"
        )?;
    }
    bar(body, &[("--one", oracle), ("--three", networks)])?;
    writeln!(
        body,
        "<table><tr><td>{}waiting for the oracle</td><td>{}</td></tr>\
         <tr><td>{}training the networks</td><td>{}</td></tr></table>",
        key("--one"),
        seconds(oracle),
        key("--three"),
        seconds(networks)
    )?;
    Ok(())
}

/// What a colour of a bar stands for, before its words.
fn key(colour: &str) -> String {
    format!("<i class=\"key\" style=\"background:var({colour})\"></i>")
}

fn bar(body: &mut String, parts: &[(&str, f64)]) -> Result<()> {
    let whole: f64 = parts.iter().map(|(_, part)| part).sum();
    write!(body, "<div class=\"bar\">")?;
    for (colour, part) in parts {
        let share = 100.0 * part / whole.max(f64::MIN_POSITIVE);
        write!(
            body,
            "<i style=\"width:{share:.2}%;background:var({colour})\"></i>"
        )?;
    }
    Ok(writeln!(body, "</div>")?)
}

fn settings(body: &mut String, run: &Run) -> Result<()> {
    let folder = run.folder.display().to_string();
    writeln!(
        body,
        "<h2>How to do it again</h2><pre>graybox train {}/{SETTINGS} --out again\ngraybox evaluate {}\ngraybox \
         export {} --onnx policy.onnx</pre><p class=\"soft\">graybox {}; the same settings, seed and device give \
         the same policy bit for bit.</p><h2>Settings</h2><pre>{}</pre>",
        escape(&folder),
        escape(&folder),
        escape(&folder),
        env!("CARGO_PKG_VERSION"),
        escape(&run.settings)
    )?;
    Ok(())
}

fn seconds(time: f64) -> String {
    match time {
        _ if time < 1.0 => format!("{:.0} ms", 1e3 * time),
        _ if time < 120.0 => format!("{time:.1} s"),
        _ if time < 7200.0 => format!("{:.0} min", time / 60.0),
        _ => format!("{:.1} h", time / 3600.0),
    }
}
