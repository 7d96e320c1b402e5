//! `bench page`: a page and a drawing of all saved runs, so that a slower version is noticed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

use crate::workspace::root;

/// Columns of the table: more do not fit on a page.
const RUNS: usize = 5;

const HEAD: &str = "\
# Measurements

The figures of all runs of `cargo xtask bench all --save docs/bench/DATE-MACHINE.json`; `cargo xtask bench page` makes this page from these files, which
also have the value of each round. [performance.md](performance.md) says what the figures mean.

![Each figure as a share of its target: left of the line, the target is reached](measurements.svg)

";

pub fn write() -> Result<()> {
    let docs = root().join("docs");
    let runs = read(&docs.join("bench"))?;
    let page = docs.join("measurements.md");
    fs::write(&page, HEAD.to_owned() + &tables(&runs)?)
        .with_context(|| format!("cannot write {}", page.display()))?;
    draw(&docs.join("measurements.svg"), &runs)
}

/// The saved runs, the newest first.
fn read(directory: &Path) -> Result<Vec<Value>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    ensure!(
        !paths.is_empty(),
        "there is no run in {}: `cargo xtask bench all --save` saves one",
        directory.display()
    );
    let read = |path: &std::path::PathBuf| -> Result<Value> {
        let text = fs::read_to_string(path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is no saved run", path.display()))
    };
    paths.iter().rev().map(read).collect()
}

/// The figures of a run, by their names.
fn figures(run: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let all = run["figures"].as_array().into_iter().flatten();
    all.filter_map(|figure| Some((figure["figure"].as_str()?, figure)))
}

fn tables(runs: &[Value]) -> Result<String> {
    let mut text = String::new();
    let newest = &runs[0];
    let shown = &runs[..runs.len().min(RUNS)];
    for run in shown {
        let machine = &run["machine"];
        let text_of = |key: &str| machine[key].as_str().unwrap_or("unknown");
        let changed = if machine["changed"] == true {
            ", changed"
        } else {
            ""
        };
        writeln!(
            text,
            "- {}: commit {}{changed}; {}, {}, {} processors ({})",
            text_of("date"),
            text_of("commit"),
            text_of("system"),
            text_of("libc"),
            machine["processors"],
            text_of("processor"),
        )?;
    }
    let known: Vec<BTreeMap<&str, &Value>> =
        shown.iter().map(|run| figures(run).collect()).collect();
    let mut bench = "";
    for (name, figure) in figures(newest) {
        let of = figure["bench"].as_str().unwrap_or_default();
        if of != bench {
            bench = of;
            writeln!(text, "\n## cargo xtask bench {bench}\n")?;
            let dates = shown.iter().map(|run| run["machine"]["date"].as_str());
            let dates: Vec<&str> = dates.map(Option::unwrap_or_default).collect();
            writeln!(text, "| | target | {} |", dates.join(" | "))?;
            writeln!(text, "|---|{}", "---|".repeat(dates.len() + 1))?;
        }
        let unit = figure["unit"].as_str().unwrap_or_default();
        let number = |value: &Value| match value.as_f64() {
            Some(value) => format!("{} {unit}", short(value)).trim_end().to_owned(),
            None => String::new(),
        };
        let mut values = Vec::new();
        for run in &known {
            values.push(number(
                run.get(name).map_or(&Value::Null, |one| &one["value"]),
            ));
        }
        let target = match number(&figure["target"]) {
            none if none.is_empty() => none,
            target => format!("≤ {target}"),
        };
        writeln!(text, "| {name} | {target} | {} |", values.join(" | "))?;
    }
    Ok(text)
}

/// With four significant digits.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().expect("it is a number")
}

const WIDTH: u32 = 1000;
const ROW: i32 = 20;
/// Height above the first row.
const TOP: i32 = 44;
/// Pixels for the names.
const NAMES: i32 = 560;
const TEXT: u32 = 14;
/// The largest drawn share of a target; larger ones are at the edge.
const MOST: f64 = 1.5;

const GREY: RGBColor = RGBColor(128, 128, 128);
/// Colours that colour-blind people can distinguish, and that can be seen on a white and on a black page.
const REACHED: RGBColor = RGBColor(0, 130, 200);
const MISSED: RGBColor = RGBColor(213, 94, 0);

/// Draws one row for each figure that has a target: filled circles are of the newest run.
fn draw(path: &Path, runs: &[Value]) -> Result<()> {
    let share = |figure: &Value| match (figure["value"].as_f64(), figure["target"].as_f64()) {
        (Some(value), Some(target)) if target > 0.0 => Some(value / target),
        _ => None,
    };
    let rows: Vec<(&str, f64)> = figures(&runs[0])
        .filter_map(|(name, figure)| Some((name, share(figure)?)))
        .collect();
    let height = TOP + ROW * i32::try_from(rows.len())? + 12;
    let x = |share: f64| NAMES + 16 + (share.min(MOST) / MOST * 400.0) as i32;
    let drawn = (|| {
        let root = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
        let text = |at: HPos| {
            let font = ("sans-serif", TEXT).into_font().color(&GREY);
            font.pos(Pos::new(at, VPos::Center))
        };
        for (at, label) in [(0.0, "0"), (0.5, "half"), (1.0, "target")] {
            let line = [(x(at), TOP - 12), (x(at), height - 12)];
            root.draw(&PathElement::new(
                line,
                GREY.stroke_width(1 + u32::from(at == 1.0)),
            ))?;
            root.draw(&Text::new(label, (x(at), TOP - 24), text(HPos::Center)))?;
        }
        for (row, (name, newest)) in (0..).zip(&rows) {
            let y = TOP + ROW * row;
            root.draw(&Text::new(*name, (NAMES, y), text(HPos::Right)))?;
            for run in runs.iter().skip(1).take(RUNS - 1) {
                let before = figures(run).find(|(other, _)| other == name);
                if let Some(share) = before.and_then(|(_, figure)| share(figure)) {
                    root.draw(&Circle::new((x(share), y), 4, GREY))?;
                }
            }
            let colour = if *newest > 1.0 { MISSED } else { REACHED };
            root.draw(&Circle::new((x(*newest), y), 5, colour.filled()))?;
        }
        Ok(root.present()?)
    })();
    drawn.map_err(|error: Box<dyn std::error::Error>| {
        anyhow!("cannot draw {}: {error}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(date: &str, value: f64) -> Value {
        let figure = json!({"bench": "startup", "figure": "a hello: time", "value": value, "unit": "ms", "target": 2.0});
        json!({"machine": {"date": date, "processors": 2}, "figures": [figure]})
    }

    #[test]
    fn runs_are_columns() {
        let text = tables(&[run("2026-02-01", 1.5), run("2026-01-01", 1.25)]).expect("a table");
        assert!(
            text.contains("| | target | 2026-02-01 | 2026-01-01 |"),
            "{text}"
        );
        assert!(
            text.contains("| a hello: time | ≤ 2 ms | 1.5 ms | 1.25 ms |"),
            "{text}"
        );
    }

    #[test]
    fn a_missed_target_has_another_colour() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("drawing.svg");
        let has_orange = |value| {
            draw(&path, &[run("2026-02-01", value)]).expect("it is drawn");
            fs::read_to_string(&path)
                .expect("it is there")
                .contains("#D55E00")
        };
        assert!(!has_orange(2.0));
        assert!(has_orange(2.1));
    }
}
