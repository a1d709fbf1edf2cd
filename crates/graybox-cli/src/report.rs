//! `graybox report`: a run on one page of HTML that needs nothing else.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use graybox::Diagnosis;
use graybox::oracle::{Description, Quantity};
use graybox_app::Artifacts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::Report;
use crate::chart::{Axis, Chart, escape};
use crate::outcome::{Blame, Done, Failure};
use crate::run_file::sizes;
use crate::run_folder::{CALLS, DIAGNOSES, HELD_OUT, POLICY, REPORT, SETTINGS, SUMMARY};

/// Charts of a kind that are drawn at most.
const MOST: usize = 4;

pub(crate) fn run(args: &Report) -> Result<Done, Failure> {
    let runs = args.runs.iter().map(|folder| Run::read(folder));
    let runs: Vec<Run> = runs.collect::<Result<_>>().or_usage()?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.runs[0].join(REPORT));
    std::fs::write(&out, page(&runs)?)
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!("wrote {}", out.display());
    Ok(Done::Finished)
}

/// Writes the report of a single run beside its other results.
pub(crate) fn write(artifacts: &Artifacts) -> Result<()> {
    let run = Run::read(artifacts.folder())?;
    let page = page(&[run])?;
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

/// What the page shows of a run, read from its folder.
struct Run {
    folder: PathBuf,
    oracle: Description,
    summary: Value,
    settings: String,
    diagnoses: Vec<Told>,
    history: Vec<Line>,
    held_out: Vec<Row>,
    /// (context and action side by side, whether it failed).
    calls: Vec<(Vec<f64>, bool)>,
}

/// A line of the history.
struct Line {
    calls: f64,
    held_out: Option<f64>,
    /// Of the rows of the round.
    loss: Option<f64>,
}

/// A held-out row as it was scored last.
struct Row {
    x: Vec<f64>,
    target: Vec<f64>,
    u: Vec<f64>,
    /// None where the call failed.
    y: Option<Vec<f64>>,
    predicted: Option<Vec<f64>>,
}

impl Run {
    fn read(folder: &Path) -> Result<Self> {
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

    fn number(&self, key: &str) -> f64 {
        self.summary[key].as_f64().unwrap_or(0.0)
    }

    /// The held-out loss at every score.
    fn scores(&self) -> Vec<(f64, f64)> {
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

fn page(runs: &[Run]) -> Result<String> {
    let run = runs.first().ok_or_else(|| anyhow!("no run to report"))?;
    let task = run.summary["task"].as_str().unwrap_or("a run");
    let mut body = String::new();
    heading(&mut body, run, runs.len())?;
    told(&mut body, run)?;
    section(
        &mut body,
        "Loss against oracle calls",
        &loss(runs),
        "No held-out loss was measured.",
    )?;
    section(
        &mut body,
        "Outcomes against targets",
        &targets(run),
        "No held-out row was answered.",
    )?;
    section(
        &mut body,
        "The surrogate where the policy lives",
        &surrogate(run),
        "This algorithm trains no surrogate.",
    )?;
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
    cost(&mut body, run)?;
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
:root{color-scheme:light dark;--paper:#fff;--card:#f5f6f8;--ink:#1c2530;--soft:#5b6675;--grid:#dde1e6;--one:#0072b2;--two:#d55e00;--three:#009e73;--warn:#fff4e5;--edge:#e69f00}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1d232a;--ink:#e6eaef;--soft:#9aa5b1;--grid:#333c46;--one:#56b4e9;--two:#f0955a;--three:#3ccf9f;--warn:#33291a;--edge:#e69f00}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:20px 16px 60px}h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.2rem;margin:2em 0 .6em}
p{margin:.4em 0}.soft,figcaption{color:var(--soft)}figcaption{font-size:.85rem;text-align:center}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0}
.tile,figure{background:var(--card);border-radius:10px;padding:10px 12px;margin:0}.tile b{display:block;font-size:1.15rem;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:12px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}svg .label{fill:var(--ink);font-size:13px}
.grid{stroke:var(--grid)}.line{fill:none;stroke-width:2}.guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}.thin{stroke-width:1;opacity:.5}.dot.one{fill:var(--one)}.dot.two{fill:var(--two)}.dot{opacity:.65}.dot.faint{fill:var(--soft);opacity:.3}.band.one{fill:var(--one);opacity:.18}
.told{background:var(--warn);border-left:4px solid var(--edge);border-radius:6px;padding:10px 14px;margin:10px 0}.well{color:var(--three)}
table{border-collapse:collapse;width:100%}td,th{padding:4px 8px;text-align:left;border-bottom:1px solid var(--grid)}td:last-child,th:last-child{text-align:right}
pre{background:var(--card);border-radius:8px;padding:12px;overflow-x:auto;font-size:.85rem}.bar{display:flex;height:16px;border-radius:8px;overflow:hidden;margin:8px 0;background:var(--grid)}.bar i{display:block}
";

fn heading(body: &mut String, run: &Run, n_runs: usize) -> Result<()> {
    let text = |key: &str| escape(run.summary[key].as_str().unwrap_or("?"));
    let loss = |key: &str| match run.summary[key].as_f64() {
        Some(loss) => format!("{loss:.3e}"),
        None => "unknown".into(),
    };
    let seeds = match n_runs {
        1 => format!("seed {}", run.summary["seed"]),
        _ => format!("{n_runs} runs, this is seed {}", run.summary["seed"]),
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

fn loss(runs: &[Run]) -> Vec<String> {
    let curves: Vec<Vec<(f64, f64)>> = runs.iter().map(Run::scores).collect();
    let rounds = || {
        let lines = runs[0].history.iter();
        lines
            .filter_map(|line| Some((line.calls, line.loss?)))
            .filter(|(_, loss)| *loss > 0.0)
    };
    let every = curves.iter().flatten().copied().chain(rounds());
    let most = every.clone().map(|(calls, _)| calls).fold(0.0, f64::max);
    let Some(y) = Axis::decades("true loss", every.map(|(_, loss)| loss)) else {
        return Vec::new();
    };
    let mut chart = Chart::new(Axis::up_to("oracle calls", most), y).dots(rounds(), "faint");
    let mut caption =
        "Line: held-out rows. Dots: the rows of each round, exploration included.".to_owned();
    if curves.len() > 1 {
        let (band, middle) = across(&curves);
        for curve in &curves {
            chart = chart.line(curve, "one thin");
        }
        chart = chart.band(&band, "one").line(&middle, "one");
        caption = format!(
            "Line: median of {} seeds; band: from the least to the greatest. {caption}",
            curves.len()
        );
    } else {
        chart = chart.line(&curves[0], "one");
    }
    vec![chart.finish(&caption)]
}

/// Least, greatest and middle of several curves, wherever one of them has a point and all have begun.
#[expect(clippy::type_complexity, reason = "a band and a line, used once")]
fn across(curves: &[Vec<(f64, f64)>]) -> (Vec<(f64, f64, f64)>, Vec<(f64, f64)>) {
    let mut places: Vec<f64> = curves.iter().flatten().map(|(calls, _)| *calls).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let (mut band, mut middle) = (Vec::new(), Vec::new());
    for place in places {
        let latest = |curve: &Vec<(f64, f64)>| {
            let known = curve.iter().take_while(|(calls, _)| *calls <= place);
            known.last().map(|(_, loss)| *loss)
        };
        let Some(mut losses) = curves.iter().map(latest).collect::<Option<Vec<f64>>>() else {
            continue;
        };
        losses.sort_by(f64::total_cmp);
        band.push((place, losses[0], losses[losses.len() - 1]));
        middle.push((place, crate::evaluate::median(&losses)));
    }
    (band, middle)
}

fn with_unit(quantity: &Quantity, before: &str) -> String {
    let unit = quantity.unit.as_deref().filter(|unit| !unit.is_empty());
    let unit = unit.map_or(String::new(), |unit| format!(" [{unit}]"));
    format!("{before}{}{unit}", quantity.name)
}

fn targets(run: &Run) -> Vec<String> {
    let charts = run
        .oracle
        .y
        .iter()
        .enumerate()
        .take(MOST)
        .filter_map(|(dim, quantity)| {
            let rows = run.held_out.iter();
            let points: Vec<(f64, f64)> = rows
                .filter_map(|row| Some((row.target[dim], row.y.as_ref()?[dim])))
                .collect();
            let miss = rms(&points)?;
            let caption = format!(
                "{}: {} held-out rows, root mean square error {miss:.2e}",
                quantity.name,
                points.len()
            );
            scatter(
                &points,
                &with_unit(quantity, "wanted "),
                &with_unit(quantity, "reached "),
                &caption,
            )
        });
    charts.collect()
}

fn surrogate(run: &Run) -> Vec<String> {
    let charts = run.oracle.y.iter().enumerate().take(MOST).filter_map(|(dim, quantity)| {
        let rows = run.held_out.iter();
        let points: Vec<(f64, f64)> = rows
            .filter_map(|row| Some((row.y.as_ref()?[dim], row.predicted.as_ref()?[dim])))
            .collect();
        let miss = rms(&points)?;
        let caption = format!(
            "{}: what the surrogate predicts for the policy's actions, root mean square error {miss:.2e}",
            quantity.name
        );
        scatter(&points, &with_unit(quantity, "oracle's "), &with_unit(quantity, "surrogate's "), &caption)
    });
    charts.collect()
}

fn scatter(points: &[(f64, f64)], x: &str, y: &str, caption: &str) -> Option<String> {
    // One range for both, so that equal numbers lie on the diagonal.
    let both = || points.iter().flat_map(|(x, y)| [*x, *y]);
    let (x, y) = (Axis::over(x, both())?, Axis::over(y, both())?);
    let chart = Chart::new(x, y)
        .diagonal()
        .dots(points.iter().copied(), "one");
    Some(chart.finish(caption))
}

/// Root mean square distance of pairs; none of none.
fn rms(points: &[(f64, f64)]) -> Option<f64> {
    let sum: f64 = points.iter().map(|(a, b)| (a - b).powi(2)).sum();
    (!points.is_empty()).then(|| (sum / points.len() as f64).sqrt())
}

fn actions(run: &Run) -> Vec<String> {
    let mut charts = Vec::new();
    for (action, u) in run.oracle.u.iter().enumerate().take(MOST) {
        for (context, x) in run.oracle.x.iter().enumerate().take(MOST) {
            let points: Vec<(f64, f64)> = run
                .held_out
                .iter()
                .map(|row| (row.x[context], row.u[action]))
                .collect();
            let bounds = [u.lo, u.hi].into_iter().flatten();
            let over = points.iter().map(|(_, u)| *u).chain(bounds.clone());
            let axes = Axis::over(&with_unit(x, ""), points.iter().map(|(x, _)| *x))
                .zip(Axis::over(&with_unit(u, ""), over));
            let Some((x_axis, y_axis)) = axes else {
                continue;
            };
            let chart = bounds.fold(Chart::new(x_axis, y_axis), Chart::level);
            let chart = chart.dots(points.into_iter(), "one");
            charts.push(chart.finish(&format!("{} over {}; dashed: its bounds", u.name, x.name)));
        }
    }
    charts
}

fn failures(run: &Run) -> Vec<String> {
    let failed: Vec<&Vec<f64>> = run
        .calls
        .iter()
        .filter(|call| call.1)
        .map(|call| &call.0)
        .collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let quantities: Vec<&Quantity> = run.oracle.x.iter().chain(&run.oracle.u).collect();
    // The two numbers whose mean differs most between failed and answered calls.
    let apart = |column: usize| {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
            if n > 0.0 { sum / n } else { 0.0 }
        };
        let all = mean(&mut run.calls.iter().map(|call| call.0[column]));
        let of_failed = mean(&mut failed.iter().map(|call| call[column]));
        let spread = mean(&mut run.calls.iter().map(|call| (call.0[column] - all).powi(2))).sqrt();
        (of_failed - all).abs() / spread.max(f64::MIN_POSITIVE)
    };
    let mut columns: Vec<(usize, f64)> = (0..quantities.len())
        .map(|column| (column, apart(column)))
        .collect();
    columns.sort_by(|a, b| b.1.total_cmp(&a.1));
    let [(first, _), (second, _)] = match columns[..] {
        [only] => [only, only],
        [first, second, ..] => [first, second],
        [] => return Vec::new(),
    };
    let axis = |column: usize| {
        let values = run.calls.iter().map(|call| call.0[column]);
        Axis::over(&with_unit(quantities[column], ""), values)
    };
    let Some((x, y)) = axis(first).zip(axis(second)) else {
        return Vec::new();
    };
    let place = |asked: &Vec<f64>| (asked[first], asked[second]);
    let answered = run
        .calls
        .iter()
        .filter(|call| !call.1)
        .map(|call| place(&call.0));
    let chart = Chart::new(x, y)
        .dots(answered, "one")
        .dots(failed.iter().map(|asked| place(asked)), "two");
    let caption = format!(
        "{} of the latest {} calls failed (orange), over the two numbers that tell them apart best",
        failed.len(),
        run.calls.len()
    );
    vec![chart.finish(&caption)]
}

fn cost(body: &mut String, run: &Run) -> Result<()> {
    let (calls, failed, scoring) = (
        run.number("oracle_calls"),
        run.number("failed_calls"),
        run.number("scoring_calls"),
    );
    let (wall, oracle) = (run.number("wall_s"), run.number("oracle_s"));
    let networks = (wall - oracle).max(0.0);
    writeln!(body, "<h2>What it cost</h2>")?;
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
        "<table><tr><td>calls answered, for training</td><td>{}</td></tr>\
         <tr><td>calls failed, for training</td><td>{failed}</td></tr>\
         <tr><td>calls for scores, not charged</td><td>{scoring}</td></tr></table>",
        calls - failed
    )?;
    bar(body, &[("--one", oracle), ("--three", networks)])?;
    writeln!(
        body,
        "<table><tr><td>waiting for the oracle</td><td>{}</td></tr>\
         <tr><td>training the networks</td><td>{}</td></tr></table>",
        seconds(oracle),
        seconds(networks)
    )?;
    Ok(())
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
