//! Draws start times.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// The times of one search method.
pub struct Line {
    pub name: &'static str,
    /// Numbers of libraries or directories, and milliseconds.
    pub points: Vec<(usize, f64)>,
}

/// Colours that colour-blind people can distinguish.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
];

const SIZE: (u32, u32) = (760, 420);

/// Width of the last line. Earlier lines are wider, so that they are visible below it.
const WIDTH: usize = 2;

/// Draws `lines` over the number of `counted` into an SVG file.
pub fn draw(path: &Path, counted: &str, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|point| point.0).max().unwrap_or(1);
    let longest = points().map(|point| point.1).fold(0.0, f64::max);
    let drawn = (|| {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(0..most, 0.0..longest * 1.05)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(counted)
            .y_desc("start, milliseconds (median)")
            .draw()?;
        for (index, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let width = WIDTH + 2 * (lines.len() - 1 - index);
            let style = colour.stroke_width(u32::try_from(width)?);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(1))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(root.present()?)
    })();
    drawn.map_err(|error: Box<dyn std::error::Error>| {
        anyhow!("cannot draw {}: {error}", path.display())
    })
}
