//! Draws start times.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The times of one search method.
pub struct Line {
    pub name: &'static str,
    /// Numbers of libraries or directories, and milliseconds.
    pub points: Vec<(usize, f64)>,
}

/// What the drawing shows.
pub struct Labels<'a> {
    pub title: &'a str,
    /// The machine and the number of rounds.
    pub subtitle: &'a str,
    /// The horizontal axis.
    pub counted: &'a str,
    /// The line with which the others are compared, by its name.
    pub compared_with: &'a str,
}

/// Colours that colour-blind people can distinguish, and that can be seen on a white and on a black page.
const COLOURS: [RGBColor; 5] = [
    RGBColor(128, 128, 128),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 130, 200),
    RGBColor(0, 158, 115),
];

/// Of axes and text.
const GREY: RGBColor = RGBColor(128, 128, 128);

const SIZE: (u32, u32) = (860, 460);

/// Height of a title, and of other text.
const TITLE: u32 = 22;
const TEXT: u32 = 17;

/// Pixels on the right for the names of lines, and between two names.
const NAMES: u32 = 210;
const BETWEEN_NAMES: i32 = 20;

/// Width of the last line. Earlier lines are wider, so that they are visible below it.
const WIDTH: usize = 2;

/// Draws `lines` into an SVG file with a transparent background. Next to its end, each line has its name, and its last time as a
/// multiple of that of the compared line.
pub fn draw(path: &Path, labels: &Labels<'_>, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|point| point.0).max().unwrap_or(1);
    let longest = points().map(|point| point.1).fold(0.0, f64::max);
    let last = |line: &Line| line.points.last().map_or(0.0, |point| point.1);
    let compared = lines.iter().find(|line| line.name == labels.compared_with);
    let drawn = (|| {
        let text = |size: u32| ("sans-serif", size).into_font().color(&GREY);
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.draw(&Text::new(labels.title, (16, 12), text(TITLE)))?;
        root.draw(&Text::new(labels.subtitle, (16, 42), text(TEXT)))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_top(76)
            .margin_right(NAMES)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(0..most, 0.0..longest * 1.05)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.3))
            .axis_style(GREY)
            .label_style(text(TEXT))
            .x_desc(labels.counted)
            .y_desc("milliseconds")
            .draw()?;
        let mut ends = Vec::new();
        for (index, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let width = WIDTH + 2 * (lines.len() - 1 - index);
            let style = colour.stroke_width(u32::try_from(width)?);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            let (_, y) = chart.backend_coord(&(most, last(line)));
            let name = match compared {
                Some(compared) if last(compared) != 0.0 && compared.name != line.name => {
                    format!("{} {:.2}×", line.name, last(line) / last(compared))
                }
                _ => line.name.to_owned(),
            };
            ends.push((y, name, colour));
        }
        // From the bottom: names keep a distance.
        ends.sort_by_key(|(y, ..)| std::cmp::Reverse(*y));
        let mut lowest = i32::MAX;
        let left = i32::try_from(SIZE.0 - NAMES)? + 8;
        for (y, name, colour) in ends {
            lowest = y.min(lowest.saturating_sub(BETWEEN_NAMES));
            let style = text(TEXT)
                .color(colour)
                .pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(name, (left, lowest), style))?;
        }
        Ok(root.present()?)
    })();
    drawn.map_err(|error: Box<dyn std::error::Error>| {
        anyhow!("cannot draw {}: {error}", path.display())
    })
}
