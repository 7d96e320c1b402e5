//! `bench trees`: the time to wrap large trees, compared with patchelf and with one thread, and to scan a tree with few programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::disk::Disk;
use super::launch::{Sample, launch};
use super::patch::{copy_all, real};
use super::rooms::{self, kit::Kit};
use super::{Figures, bare, median, system_library_dirs, wrap};
use crate::dist::write_loaders;
use crate::workspace::{output, release_tool};

#[derive(clap::Args)]
pub struct Options {
    /// The patchelf to compare with
    #[arg(long, default_value = "patchelf", value_name = "PATH")]
    patchelf: PathBuf,
}

pub(super) const PROGRAMS: usize = 1000;
pub(super) const LIBRARIES: usize = 1000;
pub(super) const FILES: usize = 100_000;
/// Every hundredth file is an ELF file.
const ONE_IN: usize = 100;
const FILES_IN_A_DIRECTORY: usize = 20;
const ROUNDS: usize = 5;
/// More rounds than on disk: other machines on the same processors disturb some of them, and in memory nothing else slows a run
/// down.
const ROUNDS_IN_MEMORY: usize = 15;
/// By then, the kernel has finished its work for the copies.
const AFTER_COPYING: Duration = Duration::from_secs(1);
/// A file system in memory.
pub(super) const MEMORY: &str = "/dev/shm";

/// Time of the tool / time of patchelf.
const TARGET_TO_PATCHELF: f64 = 1.0 / 8.0;
/// Time with a thread for each processor / time with one.
const TARGET_TO_ONE_THREAD: f64 = 1.0 / 1.6;
const TARGET_SCAN_SECONDS: f64 = 1.0;
const TARGET_SCAN_RSS_MIB: f64 = 32.0;

/// Longer than most paths of a store, and short enough for most libraries.
pub(super) const LENGTH_OF_PATHS: usize = 151;

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let tool = release_tool()?;
    let loaders = TempDir::new().context("cannot make a directory")?;
    let loaders = loaders.path();
    write_loaders(loaders)?;
    compare_with_patchelf(loaders, &tool, &options.patchelf, figures)?;
    compare_with_one_thread(loaders, &tool, figures)?;
    few_among_many(loaders, &tool, figures)?;
    Ok(())
}

fn compare_with_patchelf(
    loaders: &Path,
    tool: &Path,
    patchelf: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let patchelf = which::which(patchelf)
        .with_context(|| format!("there is no {}: pass --patchelf", patchelf.display()))?;
    let version = output(Command::new(&patchelf).arg("--version"))?;
    let programs = real::programs(PROGRAMS);
    figures.subject(&format!(
        "{PROGRAMS} executables, and patchelf called for each"
    ));
    println!("  patchelf is {}", version.trim_end());
    let libs = system_library_dirs()?;
    let disk = Disk::new("bench-trees-")?;
    let dir = disk.path();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // They are kept until the end, because ext4 is slow to create files after many were deleted.
        let directory = dir.join(format!("programs-{round}"));
        copy_all(&programs, PROGRAMS, &directory)?;
        nix::unistd::sync();
        let mut command = wrap(tool, &directory, &libs, loaders);
        ours.push(seconds(&launch(command.args(["--ignore-missing", "*"]))?));

        let copies = copy_all(&programs, PROGRAMS, &dir.join(format!("patchelf-{round}")))?;
        nix::unistd::sync();
        let start = Instant::now();
        for copy in &copies {
            // patchelf refuses some, as the tool does.
            let mut command = bare(&patchelf);
            command.arg("--set-rpath").arg(libs.join(":")).arg(copy);
            let status = command.stderr(Stdio::null()).status();
            status.with_context(|| format!("cannot run {}", patchelf.display()))?;
        }
        theirs.push(start.elapsed().as_secs_f64());
    }
    figures.samples("wrap-buddy", "s", &ours);
    figures.samples("patchelf", "s", &theirs);
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "  {ours:.3} s and {theirs:.3} s: {:.1} times faster",
        theirs / ours
    );
    figures.compare("  time / patchelf's", ours / theirs, TARGET_TO_PATCHELF, "");
    Ok(())
}

/// Compares with one thread on a disk and in memory, because a disk's writes take the same time with any number of threads. In
/// memory, this also measures two runs at once, with one thread each and trees of their own: one run cannot use the processors
/// better than these.
fn compare_with_one_thread(loaders: &Path, tool: &Path, figures: &mut Figures) -> Result<()> {
    let (programs, libraries) = (real::programs(PROGRAMS), rooms::of_system(LIBRARIES));
    ensure!(
        libraries.len() * 2 > LIBRARIES,
        "only {} libraries in /usr/lib",
        libraries.len()
    );
    let kit = Kit::new(LENGTH_OF_PATHS)?;
    let measure = |trees: &[PathBuf], jobs: Option<&str>| -> Result<f64> {
        for tree in trees {
            copy_all(&programs, PROGRAMS, &tree.join("bin"))?;
            copy_all(&libraries, LIBRARIES, &tree.join("lib"))?;
        }
        nix::unistd::sync();
        thread::sleep(AFTER_COPYING);
        let start = Instant::now();
        let mut running = Vec::new();
        for tree in trees {
            let mut command = wrap_both(&kit, tool, loaders, tree);
            command.args(jobs.map(|jobs| ["-j", jobs]).into_iter().flatten());
            running.push(command.spawn().context("cannot run the tool")?);
        }
        for run in &mut running {
            run.wait()?;
        }
        Ok(start.elapsed().as_secs_f64())
    };
    let disk = Disk::new("bench-trees-")?;
    let memory = TempDir::with_prefix_in("bench-trees-", MEMORY);
    let memory = memory.with_context(|| format!("cannot make a directory in {MEMORY}"))?;
    let directories = [
        (disk.path(), "on a disk", ROUNDS),
        (memory.path(), "in memory", ROUNDS_IN_MEMORY),
    ];
    for (directory, what, rounds) in directories {
        figures.subject(&format!(
            "{PROGRAMS} executables and {LIBRARIES} libraries, {what}"
        ));
        let in_memory = directory == memory.path();
        let (mut all, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let tree = |name: &str| directory.join(format!("{name}-{round}"));
            one.push(measure(&[tree("one")], Some("1"))?);
            // In memory, deleting does not make later rounds slower.
            let clear = || -> Result<()> {
                if in_memory {
                    fs::remove_dir_all(directory)?;
                    fs::create_dir(directory)?;
                }
                Ok(())
            };
            clear()?;
            all.push(measure(&[tree("all")], None)?);
            clear()?;
            if in_memory {
                two.push(measure(&[tree("two"), tree("other")], Some("1"))?);
                clear()?;
            }
        }
        figures.samples("all threads", "s", &all);
        figures.samples("one thread", "s", &one);
        let (all, one) = (median(all), median(one));
        println!(
            "  {all:.3} s, and {one:.3} s with one thread: {:.2} times faster",
            one / all
        );
        if in_memory {
            println!(
                "  two runs at once, with one thread each: {:.2} times the work of one",
                2.0 * one / median(two)
            );
        }
        let time = "  time / that of one thread";
        figures.compare(time, all / one, TARGET_TO_ONE_THREAD, "");
    }
    Ok(())
}

/// A command that wraps the programs and edits the libraries of `tree`.
pub(super) fn wrap_both(kit: &Kit, tool: &Path, loaders: &Path, tree: &Path) -> Command {
    let mut command = bare(tool);
    kit.add_arguments(&mut command);
    command.args(["-q", "--force", "--ignore-missing", "*"]);
    command.arg("--loader-dir-path").arg(loaders);
    command.arg("--paths").arg(tree);
    // Some are refused, always the same ones.
    command.stderr(Stdio::null());
    command
}

fn few_among_many(loaders: &Path, tool: &Path, figures: &mut Figures) -> Result<()> {
    let disk = Disk::new("bench-trees-")?;
    let tree = disk.path().join("files");
    let programs = real::programs(PROGRAMS);
    make_many(&tree, &programs)?;
    figures.subject(&format!(
        "{FILES} files, one in {ONE_IN} of them an executable"
    ));
    let libs = system_library_dirs()?;
    let scan = || {
        let mut command = wrap(tool, &tree, &libs, loaders);
        launch(command.args(["--dry-run", "--ignore-missing", "*"]))
    };
    // The first one fills the caches.
    scan()?;
    let samples = (0..ROUNDS).map(|_| scan()).collect::<Result<Vec<_>>>()?;
    let time = median(samples.iter().map(seconds).collect());
    figures.compare(
        "  median time of a dry run",
        time,
        TARGET_SCAN_SECONDS,
        " s",
    );
    let memory = samples.iter().map(|sample| sample.max_rss).max();
    let memory = memory.unwrap_or(0) as f64 / (1024.0 * 1024.0);
    figures.compare("  peak memory", memory, TARGET_SCAN_RSS_MIB, " MiB");
    Ok(())
}

/// Makes small files in `tree`, and copies of `programs` among them.
pub(super) fn make_many(tree: &Path, programs: &[PathBuf]) -> Result<()> {
    for index in 0..FILES {
        let number = index / FILES_IN_A_DIRECTORY;
        let directory = tree.join(format!("{}/{number}", number % 64));
        if index % FILES_IN_A_DIRECTORY == 0 {
            fs::create_dir_all(&directory)?;
        }
        match index % ONE_IN {
            0 => {
                let program = &programs[index / ONE_IN % programs.len()];
                fs::copy(program, directory.join(format!("{index}")))?;
            }
            _ => fs::write(
                directory.join(format!("{index}.js")),
                "export default {};\n",
            )?,
        }
    }
    Ok(())
}

fn seconds(sample: &Sample) -> f64 {
    sample.wall.as_secs_f64()
}
