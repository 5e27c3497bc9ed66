//! A chart of how costs grow, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::report::Chart;

const SIZE: (u32, u32) = (960, 600);

/// Draws it into a file; sizes on a logarithmic scale, costs from nothing up. What has no figure is left out.
///
/// # Errors
/// Where there is nothing to draw, or the file can't be written.
pub fn draw(chart: &Chart, path: &Path) -> Result<()> {
    let drawn = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| drawn(&error))?;
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let known = || points().filter(|(x, y)| x.is_finite() && y.is_finite());
    let least = known().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let widest = known().map(|point| point.0).fold(0.0, f64::max);
    let highest = known().map(|point| point.1).fold(0.0, f64::max);
    if !least.is_finite() || highest <= 0.0 {
        return Err(drawn(&"nothing to draw"));
    }
    let mut axes = ChartBuilder::on(&area)
        .caption(&chart.title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (least..widest.max(least * 10.0)).log_scale(),
            0.0..highest * 1.25,
        )
        .map_err(|error| drawn(&error))?;
    axes.configure_mesh()
        .x_desc(chart.x)
        .y_desc(chart.y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()
        .map_err(|error| drawn(&error))?;
    for (number, line) in chart.lines.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let points = line.points.iter().copied();
        let points: Vec<_> = points
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        let marks = points.iter().map(|&at| Circle::new(at, 3, color.filled()));
        axes.draw_series(marks).map_err(|error| drawn(&error))?;
        axes.draw_series(LineSeries::new(points, color.stroke_width(2)))
            .map_err(|error| drawn(&error))?
            .label(&*line.name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2))
            });
    }
    axes.configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|error| drawn(&error))?;
    area.present().map_err(|error| drawn(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Line;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            name: "growth",
            title: "a test".to_owned(),
            x: "how many",
            y: "ns",
            lines: vec![Line {
                name: "rules".to_owned(),
                points,
            }],
        }
    }

    #[test]
    fn a_chart_shows_its_lines() {
        let path = std::env::temp_dir().join(format!("chart-{}.svg", std::process::id()));
        draw(
            &chart(vec![(10.0, 40.0), (65_000.0, 44.0), (70_000.0, f64::NAN)]),
            &path,
        )
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("<svg") && text.contains("rules") && text.contains("how many"));
        assert_eq!(text.matches("<circle").count(), 2, "{text}");
        assert!(draw(&chart(Vec::new()), &path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
