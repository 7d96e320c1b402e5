//! `cargo xtask bench`: measures every claim about size and speed.

mod against;
mod blind;
mod build;
mod disk;
mod index;
mod launch;
mod patch;
mod rooms;
mod search;
mod size;
mod startup;
mod trees;
mod watch;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A benchmark.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// Sizes of every stub and loader; fails above the budgets
    Size,
    /// Processor time to build the tool from a clone, and the tool's size
    Build(build::Options),
    /// Time, page faults and system calls of a wrapped program's start
    Startup(startup::Options),
    /// Time to wrap many programs at once, and one very large program
    Patch(patch::Options),
    /// Number of real libraries with room for a search path; writes nothing
    Rooms(rooms::Options),
    /// Time to find libraries at a start, with each search method
    Search(search::Options),
    /// Speed of indexing the libraries of this system
    Index(index::Options),
    /// Time to wrap large trees, compared with patchelf and with one thread, and to scan many files
    Trees(trees::Options),
    /// Times of this tool and of another build of it, such as one of an older commit
    Against(against::Options),
    /// Cost of watching a large tree, and delay until a new program is wrapped
    Watch(watch::Options),
}

pub fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Size => size::run(),
        Bench::Build(options) => build::run(options),
        Bench::Startup(options) => startup::run(options),
        Bench::Patch(options) => patch::run(options),
        Bench::Rooms(options) => rooms::run(options),
        Bench::Search(options) => search::run(options),
        Bench::Index(options) => index::run(options),
        Bench::Trees(options) => trees::run(options),
        Bench::Against(options) => against::run(options),
        Bench::Watch(options) => watch::run(options),
    }
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

#[derive(Default)]
struct Misses(Vec<String>);

impl Misses {
    /// Prints a measured value with its target, and records it as missed if it is larger.
    fn compare(&mut self, what: &str, measured: f64, target: f64, unit: &str) {
        let line = format!("{what}: {measured:.3}{unit}, target {target}{unit}");
        if measured > target {
            println!("{line}: MISSED");
            self.0.push(line);
        } else {
            println!("{line}: ok");
        }
    }

    /// An error if targets were missed and `check` is set.
    fn finish(self, check: bool) -> Result<()> {
        if check && !self.0.is_empty() {
            bail!("above target: {}", self.0.join("; "));
        }
        Ok(())
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
        let printed = crate::workspace::output(Command::new(compiler).arg(option))?;
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

    #[test]
    fn a_missed_target_fails_a_check_only() {
        let missed = || {
            let mut misses = Misses::default();
            misses.compare("time", 2.0, 1.0, " ms");
            misses
        };
        assert!(missed().finish(false).is_ok());
        assert!(missed().finish(true).is_err());
    }
}
