//! `cargo xtask bench`: measures every claim about size and speed.

mod against;
mod blind;
mod build;
mod bundle;
mod disk;
mod figures;
mod index;
mod launch;
mod page;
mod patch;
mod rooms;
mod search;
mod size;
mod startup;
mod trees;
mod watch;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;
use figures::Figures;

#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    bench: Bench,
    /// Fail when a target is missed
    #[arg(long, global = true)]
    check: bool,
    /// Write the figures, the value of each round and the machine to this file, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// A benchmark.
#[derive(clap::Subcommand)]
enum Bench {
    /// All benches below that need no argument and no download
    All,
    /// Sizes of every stub and loader; fails above the budgets
    Size,
    /// Processor time to build the tool from a clone, and the tool's size
    Build,
    /// Sizes of bundles, and times of their programs' starts, compared with other ways to move a program
    Bundle(bundle::Options),
    /// Time, page faults and system calls of a wrapped program's start
    Startup(startup::Options),
    /// Time to wrap many programs at once, and one very large program
    Patch,
    /// Number of real libraries with room for a search path; writes nothing
    Rooms(rooms::Options),
    /// Time to find libraries at a start, with each search method
    Search(search::Options),
    /// Speed of indexing the libraries of this system
    Index,
    /// Time to wrap large trees, compared with patchelf and with one thread, and to scan many files
    Trees(trees::Options),
    /// Times of this tool and of another build of it, such as one of an older commit
    Against(against::Options),
    /// Cost of watching a large tree, and delay until a new program is wrapped
    Watch,
    /// Write docs/measurements.md from the saved runs in docs/bench
    Page,
}

/// The benches of [`Bench::All`]: first those that need a quiet machine most.
const ALL: [&str; 9] = [
    "startup", "bundle", "search", "patch", "trees", "index", "watch", "size", "build",
];

pub fn run(options: &Options) -> Result<()> {
    let mut figures = Figures::default();
    match &options.bench {
        Bench::All => all(&mut figures)?,
        Bench::Size => size::run(&mut figures)?,
        Bench::Build => build::run(&mut figures)?,
        Bench::Bundle(options) => bundle::run(options, &mut figures)?,
        Bench::Startup(options) => startup::run(options, &mut figures)?,
        Bench::Patch => patch::run(&mut figures)?,
        Bench::Rooms(options) => rooms::run(options, &mut figures)?,
        Bench::Search(options) => search::run(options, &mut figures)?,
        Bench::Index => index::run(&mut figures)?,
        Bench::Trees(options) => trees::run(options, &mut figures)?,
        Bench::Against(options) => against::run(options, &mut figures)?,
        Bench::Watch => watch::run(&mut figures)?,
        Bench::Page => page::write()?,
    }
    if let Some(path) = &options.save {
        figures.save(path)?;
    }
    if options.check {
        figures.check()?;
    }
    Ok(())
}

/// Each in a process of its own, because some stay on one processor.
fn all(figures: &mut Figures) -> Result<()> {
    let this = std::env::current_exe().context("the path of this program")?;
    // Building is no part of the time between two benches.
    workspace::release_tool()?;
    for bench in ALL {
        println!("== {bench}");
        let saved = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(&this);
        workspace::run(command.args(["bench", bench, "--save"]).arg(saved.path()))?;
        figures.add(bench, saved.path())?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        values[middle - 1].midpoint(values[middle])
    } else {
        values[middle]
    }
}

/// A command without cargo's LD_LIBRARY_PATH, which would make ld.so search cargo's directories first.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

/// A command that wraps `path`, with the loaders in `loaders`, even programs that start without wrapping.
fn wrap(tool: &Path, path: &Path, libs: &[String], loaders: &Path) -> Command {
    let mut command = bare(tool);
    command
        .args(["-q", "--force"])
        .arg("--paths")
        .arg(path)
        .arg("--libs")
        .args(libs)
        .arg("--loader-dir-path")
        .arg(loaders);
    command
}

/// The directories of the C library and of the C++ library, without symlinks.
fn system_library_dirs() -> Result<Vec<String>> {
    let mut dirs = Vec::new();
    for (compiler, library) in [("cc", "libc.so.6"), ("c++", "libstdc++.so.6")] {
        let option = format!("-print-file-name={library}");
        let printed = workspace::output(Command::new(compiler).arg(option))?;
        let path = Path::new(printed.trim_end())
            .canonicalize()
            .with_context(|| format!("{compiler} does not know where {library} is"))?;
        let dir = path
            .parent()
            .and_then(Path::to_str)
            .with_context(|| format!("{} is in no directory that has a name", path.display()))?;
        if !dirs.iter().any(|known| known == dir) {
            dirs.push(dir.to_owned());
        }
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), 3.0);
    }
}
