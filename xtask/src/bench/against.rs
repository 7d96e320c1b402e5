//! `bench against`: the times of this tool and of another build of it, for example from the commit before, in alternating rounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::disk::Disk;
use super::launch::launch;
use super::patch::{copy_all, real};
use super::rooms::{self, kit::Kit};
use super::{Figures, bare, median, system_library_dirs, trees, wrap};
use crate::workspace::{output, release_tool, target_dir};

/// Time of this tool / time of the other one.
const TARGET: f64 = 1.02;

#[derive(clap::Args)]
pub struct Options {
    /// The other build
    other: PathBuf,
    /// Rounds over trees; a single program and its start get 20 and 200 times as many
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

struct Tool {
    name: &'static str,
    path: PathBuf,
    /// Its own loaders.
    loaders: PathBuf,
}

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let usual = TempDir::with_prefix_in("bench-against-", target_dir()?)?;
    let tool = |name: &'static str, path: PathBuf| -> Result<Tool> {
        let loaders = usual.path().join(name);
        output(
            Command::new(&path)
                .args(["generate", "loaders"])
                .arg(&loaders),
        )?;
        Ok(Tool {
            name,
            path,
            loaders,
        })
    };
    let other = options
        .other
        .canonicalize()
        .with_context(|| format!("there is no {}", options.other.display()))?;
    let tools = [tool("this", release_tool()?)?, tool("other", other)?];
    one_program(&tools, usual.path(), options.rounds, figures)?;
    large_trees(&tools, options.rounds, figures)?;
    Ok(())
}

/// Wraps one program, and starts it.
fn one_program(tools: &[Tool; 2], dir: &Path, rounds: u32, figures: &mut Figures) -> Result<()> {
    let (source, hello) = (dir.join("hello.c"), dir.join("hello"));
    fs::write(
        &source,
        "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n",
    )?;
    output(Command::new("cc").arg("-o").arg(&hello).arg(&source))?;
    let libs = system_library_dirs()?;
    let of = |tool: &Tool, round: u32| -> Result<f64> {
        let copy = dir.join(format!("{}-{round}", tool.name)).join("hello");
        fs::create_dir(copy.with_file_name(""))?;
        fs::copy(&hello, &copy)?;
        nix::unistd::sync();
        let sample = launch(&mut wrap(&tool.path, &copy, &libs, &tool.loaders))?;
        Ok(sample.wall.as_secs_f64() * 1e3)
    };
    alternate(
        tools,
        "one program, wrapped",
        " ms",
        20 * rounds,
        figures,
        of,
    )?;
    let of = |tool: &Tool, _round: u32| -> Result<f64> {
        let mut hello = bare(&dir.join(format!("{}-0", tool.name)).join("hello"));
        Ok(launch(hello.stdout(Stdio::null()))?.wall.as_secs_f64() * 1e3)
    };
    alternate(tools, "its start", " ms", 200 * rounds, figures, of)
}

fn large_trees(tools: &[Tool; 2], rounds: u32, figures: &mut Figures) -> Result<()> {
    let (programs, libraries) = (
        real::programs(trees::PROGRAMS),
        rooms::of_system(trees::LIBRARIES),
    );
    ensure!(
        !programs.is_empty(),
        "there is no dynamic executable to copy in /usr"
    );
    let libs = system_library_dirs()?;
    let kit = Kit::new(trees::LENGTH_OF_PATHS)?;
    let disk = Disk::new("bench-against-")?;
    let memory = TempDir::with_prefix_in("bench-against-", trees::MEMORY)
        .with_context(|| format!("cannot make a directory in {}", trees::MEMORY))?;

    for (place, is_kept, directory) in [
        ("on a disk", true, disk.path()),
        ("in memory", false, memory.path()),
    ] {
        // On a disk they are kept until the end, because ext4 is slow to create files after many were deleted.
        let clear = |tree: &Path| {
            if is_kept {
                Ok(())
            } else {
                fs::remove_dir_all(tree)
            }
        };
        let of = |tool: &Tool, round: u32| -> Result<f64> {
            let tree = directory.join(format!("programs-{}-{round}", tool.name));
            copy_all(&programs, trees::PROGRAMS, &tree)?;
            nix::unistd::sync();
            let mut command = wrap(&tool.path, &tree, &libs, &tool.loaders);
            let sample = launch(command.args(["--ignore-missing", "*"]))?;
            clear(&tree)?;
            Ok(sample.wall.as_secs_f64())
        };
        let what = format!("{} executables, {place}", trees::PROGRAMS);
        alternate(tools, &what, " s", rounds, figures, of)?;
        let of = |tool: &Tool, round: u32| -> Result<f64> {
            let tree = directory.join(format!("both-{}-{round}", tool.name));
            copy_all(&programs, trees::PROGRAMS, &tree.join("bin"))?;
            copy_all(&libraries, trees::LIBRARIES, &tree.join("lib"))?;
            nix::unistd::sync();
            let mut command = trees::wrap_both(&kit, &tool.path, &tool.loaders, &tree);
            let start = std::time::Instant::now();
            command.status().context("cannot run the tool")?;
            let time = start.elapsed().as_secs_f64();
            clear(&tree)?;
            Ok(time)
        };
        let what = format!(
            "{} executables and {} libraries, {place}",
            trees::PROGRAMS,
            trees::LIBRARIES
        );
        alternate(tools, &what, " s", rounds, figures, of)?;
    }

    drop(disk);
    // A disk of its own, because one has no inodes for all of these files.
    let disk = Disk::new("bench-against-")?;
    let tree = disk.path().join("files");
    trees::make_many(&tree, &programs)?;
    let of = |tool: &Tool, _round: u32| -> Result<f64> {
        let mut command = wrap(&tool.path, &tree, &libs, &tool.loaders);
        let sample = launch(command.args(["--dry-run", "--ignore-missing", "*"]))?;
        Ok(sample.wall.as_secs_f64())
    };
    let what = format!("dry run on {} files", trees::FILES);
    alternate(tools, &what, " s", rounds, figures, of)
}

/// Measures both tools in each round, the other one first in every second round.
fn alternate(
    tools: &[Tool; 2],
    what: &str,
    unit: &str,
    rounds: u32,
    figures: &mut Figures,
    of: impl Fn(&Tool, u32) -> Result<f64>,
) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let first = round as usize % 2;
        for index in [first, 1 - first] {
            times[index].push(of(&tools[index], round)?);
        }
    }
    let ratios = times[0]
        .iter()
        .zip(&times[1])
        .map(|(this, other)| this / other);
    let ratio = median(ratios.collect());
    let [this, other] = times.map(median);
    figures.subject(what);
    println!("  {this:.3}{unit}, other {other:.3}{unit}, {rounds} rounds");
    figures.compare("  median of this / other", ratio, TARGET, "");
    Ok(())
}
