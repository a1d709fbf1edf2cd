//! Charts as SVG that takes its colours from the page, so that it is readable in the dark and in the light.

use std::fmt::Write;

/// Inner size of a chart; the page scales it.
const SIZE: (f64, f64) = (440.0, 320.0);
/// Room for labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (62.0, 14.0, 12.0, 46.0);

/// One axis of a chart.
pub(crate) struct Axis {
    label: String,
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// A linear axis that holds these values, with some room at the ends; none if there are no values.
    pub(crate) fn over(label: &str, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = range(values)?;
        let room = if high > low {
            0.04 * (high - low)
        } else {
            0.5 * low.abs().max(1.0)
        };
        Some(Self {
            label: label.to_owned(),
            low: low - room,
            high: high + room,
            log: false,
        })
    }

    /// A linear axis from zero.
    pub(crate) fn up_to(label: &str, high: f64) -> Self {
        Self {
            label: label.to_owned(),
            low: 0.0,
            high: high.max(1.0),
            log: false,
        }
    }

    /// A logarithmic axis of whole decades; none if no value is positive.
    pub(crate) fn decades(label: &str, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = range(values.filter(|value| *value > 0.0))?;
        let low = 10f64.powf(low.log10().floor());
        Some(Self {
            label: label.to_owned(),
            low,
            high: 10f64.powf(high.log10().ceil()).max(10.0 * low),
            log: true,
        })
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Values to label.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (first, last) = (
                self.low.log10().round() as i32,
                self.high.log10().round() as i32,
            );
            let every = ((last - first) / 6 + 1) as usize;
            return (first..=last)
                .step_by(every)
                .map(|decade| 10f64.powi(decade))
                .collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|digit| digit * decade);
        let step = step
            .clone()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * decade);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|k| k as f64 * step).collect()
    }

    fn shown(&self, value: f64) -> String {
        if self.log {
            return format!("{value:.0e}");
        }
        let step = (self.high - self.low) / 5.0;
        if value != 0.0 && (value.abs() >= 1e5 || step < 1e-3) {
            return format!("{value:.1e}");
        }
        let digits = (-step.log10().floor()).clamp(0.0, 4.0) as usize;
        format!("{value:.digits$}")
    }
}

/// The least and the greatest of finite values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let ends = values.filter(|value| value.is_finite());
    ends.fold(None, |ends: Option<(f64, f64)>, value| {
        let (low, high) = ends.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// A chart being drawn. Classes name colours of the page.
pub(crate) struct Chart {
    x: Axis,
    y: Axis,
    marks: String,
}

impl Chart {
    pub(crate) fn new(x: Axis, y: Axis) -> Self {
        Self {
            x,
            y,
            marks: String::new(),
        }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (left, right, top, bottom) = MARGIN;
        (
            left + self.x.place(x) * (SIZE.0 - left - right),
            SIZE.1 - bottom - self.y.place(y) * (SIZE.1 - top - bottom),
        )
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let points = points.iter().map(|point| {
            let (x, y) = self.at(*point);
            format!("{x:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn line(mut self, points: &[(f64, f64)], class: &str) -> Self {
        let path = self.path(points);
        push(
            &mut self.marks,
            &format!("<polyline class=\"line {class}\" points=\"{path}\"/>"),
        );
        self
    }

    /// The area between two lines at the same places: (x, low, high).
    pub(crate) fn band(mut self, points: &[(f64, f64, f64)], class: &str) -> Self {
        let mut edge: Vec<(f64, f64)> = points.iter().map(|(x, low, _)| (*x, *low)).collect();
        edge.extend(points.iter().rev().map(|(x, _, high)| (*x, *high)));
        let path = self.path(&edge);
        push(
            &mut self.marks,
            &format!("<polygon class=\"band {class}\" points=\"{path}\"/>"),
        );
        self
    }

    pub(crate) fn dots(mut self, points: impl Iterator<Item = (f64, f64)>, class: &str) -> Self {
        for point in points {
            let (x, y) = self.at(point);
            push(
                &mut self.marks,
                &format!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"),
            );
        }
        self
    }

    /// Where both axes, of one range, say the same.
    pub(crate) fn diagonal(self) -> Self {
        let (low, high) = (self.x.low, self.x.high);
        self.line(&[(low, low), (high, high)], "guide")
    }

    /// A horizontal guide, if it lies within the chart.
    pub(crate) fn level(self, y: f64) -> Self {
        if y < self.y.low || y > self.y.high {
            return self;
        }
        let ends = [(self.x.low, y), (self.x.high, y)];
        self.line(&ends, "guide")
    }

    /// The whole figure.
    pub(crate) fn finish(self, caption: &str) -> String {
        let (left, right, top, bottom) = MARGIN;
        let (width, height) = SIZE;
        let mut axes = String::new();
        for tick in self.x.ticks() {
            let (x, _) = self.at((tick, self.y.low));
            let shown = self.x.shown(tick);
            let (from, to, text) = (top, height - bottom, height - bottom + 16.0);
            push(
                &mut axes,
                &format!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\"/>\
                     <text x=\"{x:.1}\" y=\"{text}\" text-anchor=\"middle\">{shown}</text>"
                ),
            );
        }
        for tick in self.y.ticks() {
            let (_, y) = self.at((self.x.low, tick));
            let shown = self.y.shown(tick);
            let (from, to) = (left, width - right);
            push(
                &mut axes,
                &format!(
                    "<line class=\"grid\" x1=\"{from}\" x2=\"{to}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>",
                    left - 6.0,
                    y + 4.0
                ),
            );
        }
        let middle = (left + width - right) / 2.0;
        let centre = (top + height - bottom) / 2.0;
        let (x_label, y_label) = (escape(&self.x.label), escape(&self.y.label));
        format!(
            "<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{axes}\
             <text class=\"label\" x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x_label}</text>\
             <text class=\"label\" transform=\"translate(14 {centre}) rotate(-90)\" text-anchor=\"middle\">\
             {y_label}</text>{marks}</svg><figcaption>{caption}</figcaption></figure>\n",
            label = escape(caption),
            below = height - 10.0,
            marks = self.marks,
            caption = escape(caption)
        )
    }
}

fn push(to: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(to, "{text}");
}

/// Text that stands for itself in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let axis = Axis::over("", [0.0, 9.7].into_iter()).unwrap();
        assert_eq!(axis.ticks(), [0.0, 5.0, 10.0]);
        let axis = Axis::decades("", [0.02, 3.0, -1.0, 0.0].into_iter()).unwrap();
        let shown: Vec<String> = axis
            .ticks()
            .into_iter()
            .map(|tick| axis.shown(tick))
            .collect();
        assert_eq!(shown, ["1e-2", "1e-1", "1e0", "1e1"]);
        assert!(Axis::decades("", [-1.0].into_iter()).is_none());
        assert!(Axis::over("", std::iter::empty()).is_none());
        // A single value still makes an axis.
        assert!(Axis::over("", [3.0].into_iter()).unwrap().ticks().len() > 1);
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let axis = || Axis::up_to("<b>&\"", 1.0);
        let figure = Chart::new(axis(), axis()).finish("</figure><script>");
        assert!(
            !figure.contains("<b>") && !figure.contains("<script>"),
            "{figure}"
        );
    }
}
