//! `bench watch`: the cost of watching a large tree, and the delay until a new program is wrapped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::disk::Disk;
use super::patch::real;
use super::{Figures, median, system_library_dirs};
use crate::dist::write_loaders;
use crate::workspace::release_tool;

const DIRECTORIES: usize = 2_000;
const FILES_IN_A_DIRECTORY: usize = 50;
const ROUNDS: usize = 7;
const IDLE: Duration = Duration::from_secs(5);

/// A clock tick in /proc/PID/stat (USER_HZ).
const SECONDS_PER_TICK: f64 = 0.01;

const TARGET_READY_SECONDS: f64 = 3.0;
const TARGET_RSS_MIB: f64 = 20.0;
const TARGET_IDLE_SECONDS: f64 = 0.0;
/// Including the quiet time of 0.3 s.
const TARGET_ARRIVAL_SECONDS: f64 = 0.5;

pub fn run(figures: &mut Figures) -> Result<()> {
    let tool = release_tool()?;
    let dir = Disk::new("bench-watch-")?;
    let tree = dir.path().join("tree");
    for n in 0..DIRECTORIES {
        let directory = tree.join(format!("{}/{n}", n / FILES_IN_A_DIRECTORY));
        fs::create_dir_all(&directory)?;
        for file in 0..FILES_IN_A_DIRECTORY {
            fs::write(directory.join(format!("file-{file}.js")), "export {};\n")?;
        }
    }
    let loaders = dir.path().join("loaders");
    write_loaders(&loaders)?;
    figures.subject(&format!(
        "{} files in {DIRECTORIES} directories",
        DIRECTORIES * FILES_IN_A_DIRECTORY
    ));
    with_events(&tool, &tree, &loaders, figures)?;
    by_polling(&tool, &tree, &loaders)?;
    Ok(())
}

fn with_events(tool: &Path, tree: &Path, loaders: &Path, figures: &mut Figures) -> Result<()> {
    let began = Instant::now();
    let mut watch = Watch::start(tool, tree, loaders, &[])?;
    watch.line("watching")?;
    figures.compare(
        "ready",
        began.elapsed().as_secs_f64(),
        TARGET_READY_SECONDS,
        " s",
    );
    let program = real::programs(1).pop().context("/usr/bin is empty")?;
    let mut arrivals = Vec::new();
    for round in 0..ROUNDS {
        fs::copy(&program, tree.join(format!("0/0/program-{round}")))?;
        let began = Instant::now();
        let line = watch.line("file")?;
        if line["status"] != "wrapped" {
            bail!("{}: not wrapped: {line}", program.display());
        }
        arrivals.push(began.elapsed().as_secs_f64());
    }
    figures.compare(
        "from the end of a copy to a wrapped program",
        median(arrivals),
        TARGET_ARRIVAL_SECONDS,
        " s",
    );
    // The line is printed before the last bookkeeping.
    sleep(Duration::from_secs(1));
    let before = watch.processor_seconds()?;
    sleep(IDLE);
    figures.compare(
        &format!("processor time in {} idle seconds", IDLE.as_secs()),
        watch.processor_seconds()? - before,
        TARGET_IDLE_SECONDS,
        " s",
    );
    figures.compare(
        "memory at most",
        watch.most_memory_mib()?,
        TARGET_RSS_MIB,
        " MiB",
    );
    Ok(())
}

fn by_polling(tool: &Path, tree: &Path, loaders: &Path) -> Result<()> {
    const LOOKS: u32 = 5;
    let mut watch = Watch::start(tool, tree, loaders, &["--poll", "2"])?;
    watch.line("watching")?;
    sleep(Duration::from_secs(3));
    let before = watch.processor_seconds()?;
    sleep(Duration::from_secs(2) * LOOKS);
    println!(
        "by polling: {:.3} s of processor time per scan, {:.1} MiB",
        (watch.processor_seconds()? - before) / f64::from(LOOKS),
        watch.most_memory_mib()?
    );
    Ok(())
}

/// A running watch. Dropping this ends it.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn start(tool: &Path, tree: &Path, loaders: &Path, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(tool);
        command
            .arg("watch")
            .arg(tree)
            .arg("--libs")
            .args(system_library_dirs()?)
            .arg("--loader-dir-path")
            .arg(loaders)
            .args(["--force", "--ignore-missing", "*", "--format", "json"])
            .args(more)
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", tool.display()))?;
        let stdout = child.stdout.take().context("it has a standard output")?;
        let lines = BufReader::new(stdout);
        Ok(Self { child, lines })
    }

    /// The next line with this event.
    fn line(&mut self, event: &str) -> Result<Value> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                bail!("wrap-buddy watch has ended");
            }
            let line: Value = serde_json::from_str(&line)?;
            if line["event"] == event {
                return Ok(line);
            }
        }
    }

    fn about(&self, name: &str) -> Result<String> {
        let path = PathBuf::from(format!("/proc/{}/{name}", self.child.id()));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn processor_seconds(&self) -> Result<f64> {
        let stat = self.about("stat")?;
        // The first field after the name is the third (proc(5)).
        let (_, rest) = stat.rsplit_once(')').context("it has a name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields.get(11..13).context("it has times")?;
        let ticks: Result<Vec<u32>, _> = ticks.iter().map(|ticks| ticks.parse()).collect();
        Ok(f64::from(ticks?.iter().sum::<u32>()) * SECONDS_PER_TICK)
    }

    fn most_memory_mib(&self) -> Result<f64> {
        let status = self.about("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line
            .context("it has memory")?
            .trim()
            .trim_end_matches(" kB");
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
