//! The charts of a report.

use graybox::oracle::Quantity;

use super::read::Run;
use crate::chart::{Axis, Chart};
use crate::evaluate::median;

/// Charts of a kind that are drawn at most.
const MOST: usize = 4;

pub(super) fn loss(runs: &[Run]) -> Vec<String> {
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
    let mut lines = "Line: held-out rows.".to_owned();
    if curves.len() > 1 {
        let (band, middle) = across(&curves);
        for curve in &curves {
            chart = chart.line(curve, "one thin");
        }
        chart = chart.band(&band, "one").line(&middle, "one");
        lines = format!(
            "Held-out rows. Line: median of {} seeds; band: from the least to the greatest.",
            curves.len()
        );
    } else {
        chart = chart.line(&curves[0], "one");
    }
    let caption = format!("{lines} Dots: the rows of each round, exploration included.");
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
        middle.push((place, median(&losses)));
    }
    (band, middle)
}

fn with_unit(quantity: &Quantity, before: &str) -> String {
    let unit = quantity.unit.as_deref().filter(|unit| !unit.is_empty());
    let unit = unit.map_or(String::new(), |unit| format!(" [{unit}]"));
    format!("{before}{}{unit}", quantity.name)
}

pub(super) fn targets(run: &Run) -> Vec<String> {
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
            let miss = run.error_of(dim, "error")?;
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

pub(super) fn surrogate(run: &Run) -> Vec<String> {
    let charts = run.oracle.y.iter().enumerate().take(MOST).filter_map(|(dim, quantity)| {
        let rows = run.held_out.iter();
        let points: Vec<(f64, f64)> = rows
            .filter_map(|row| Some((row.y.as_ref()?[dim], row.predicted.as_ref()?[dim])))
            .collect();
        let miss = run.error_of(dim, "surrogate_error")?;
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

pub(super) fn actions(run: &Run) -> Vec<String> {
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

pub(super) fn failures(run: &Run) -> Vec<String> {
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
