//! Loss against oracle calls, as an SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use graybox::{History, Progress};
use plotters::prelude::*;

/// One line of a picture: positive losses at growing numbers of calls.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What the legend says.
    pub name: String,
    /// (calls, loss), in order.
    pub points: Vec<(u64, f64)>,
}

impl Curve {
    /// The held-out losses of a run, where they were measured.
    pub fn held_out(name: &str, history: &History) -> Self {
        let scored = |line: &Progress| Some((line.calls, line.held_out?));
        Self {
            name: name.to_string(),
            points: history.lines.iter().filter_map(scored).collect(),
        }
    }

    /// Whether it has more than one point, one of them with a positive loss.
    pub fn can_be_drawn(&self) -> bool {
        self.points.len() > 1 && self.points.iter().any(|(_, loss)| *loss > 0.0)
    }
}

/// Colours told apart by people who confuse red and green (Okabe & Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// Draws curves on a logarithmic axis of losses.
///
/// # Errors
/// If there is no point with a positive loss or the file cannot be written.
pub fn learning_curves(path: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let positive = || points().map(|(_, loss)| *loss).filter(|loss| *loss > 0.0);
    let calls = points().map(|(calls, _)| *calls).max().unwrap_or(0).max(1);
    let low = positive().fold(f64::INFINITY, f64::min);
    let high = positive().fold(0.0, f64::max);
    if low > high {
        return Err(anyhow!("nothing to draw: no positive loss was measured"));
    }
    // Whole decades, so that the axis has labels.
    let low = 10f64.powf(low.log10().floor());
    let high = 10f64.powf(high.log10().ceil()).max(10.0 * low);

    // A long legend stands beside the curves, not on them.
    let room = if curves.len() > 4 { calls / 3 } else { 0 };

    let root = SVGBackend::new(path, (760, 460)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    root.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        // Room for the half of the last label that stands beyond the axis.
        .margin_right(30)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0u64..calls + room, (low..high).log_scale())
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("oracle calls")
        .y_desc("true loss on held-out rows")
        .y_label_formatter(&|loss| format!("{loss:.0e}"))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.12))
        .draw()
        .map_err(|e| failed(&e))?;
    for (idx, curve) in curves.iter().enumerate() {
        let style = COLOURS[idx % COLOURS.len()].stroke_width(2);
        let points = curve.points.iter().filter(|(_, loss)| *loss > 0.0).copied();
        // A colour that comes again is dashed.
        let (drawn, key) = if idx < COLOURS.len() {
            (chart.draw_series(LineSeries::new(points, style)), 18)
        } else {
            (
                chart.draw_series(DashedLineSeries::new(points, 5, 4, style)),
                7,
            )
        };
        drawn
            .map_err(|e| failed(&e))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + key, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(|e| failed(&e))?;
    root.present().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_title_axes_and_legend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learning.svg");
        let curve = Curve {
            name: "joint".into(),
            points: vec![(0, 1.0), (100, 0.01), (200, 0.0)],
        };
        learning_curves(&path, "cannon", &[curve]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["cannon", "oracle calls", "joint", "<polyline"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let path = Path::new("never written");
        assert!(learning_curves(path, "empty", &[]).is_err());
        assert!(!path.exists());
    }
}
