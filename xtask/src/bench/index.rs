//! `bench index`: the speed of indexing the libraries of this system, with all headers in the page cache.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Figures, median, rooms};
use crate::workspace;

/// Libraries per second.
const TARGET: f64 = 50_000.0;

pub fn run(figures: &mut Figures) -> Result<()> {
    let directories = library_directories();
    let arguments = [
        "build",
        "--release",
        "--package",
        "wrap-buddy-ldso",
        "--example",
        "index",
    ];
    workspace::run(&mut workspace::cargo(arguments))?;
    let example = workspace::target_dir()?.join("release/examples/index");
    let printed = workspace::output(Command::new(example).args(&directories))?;
    let mut rounds = printed.lines().map(|line| {
        let (libraries, seconds) = line.split_once(' ').context("two numbers in a line")?;
        Ok((libraries.parse::<f64>()?, seconds.parse::<f64>()?))
    });
    rounds.next().context("a first round")??;
    let rounds: Vec<(f64, f64)> = rounds.collect::<Result<_>>()?;
    let (libraries, _) = *rounds.first().context("a second round")?;
    ensure!(libraries > 0.0, "there is no library to index");
    let seconds = median(rounds.iter().map(|(_, seconds)| *seconds).collect());
    println!(
        "{libraries} libraries in {} directories, {:.1} ms: {:.0} a second",
        directories.len(),
        seconds * 1e3,
        libraries / seconds
    );
    let each = seconds / libraries * 1e6;
    figures.compare("  indexing a library", each, 1e6 / TARGET, " µs");
    Ok(())
}

/// Directories of this system that contain a library.
fn library_directories() -> Vec<PathBuf> {
    let libraries = rooms::of_system(usize::MAX);
    let parents = libraries.iter().filter_map(|library| library.parent());
    let unique: BTreeSet<PathBuf> = parents.map(PathBuf::from).collect();
    unique.into_iter().collect()
}
