//! Runs each fuzz target of `fuzz/` for a while, on the inputs of earlier runs and on new seeds.

mod seeds;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use crate::workspace::{self, cargo};

/// Maximum length of an input in bytes: a small program has only a few pages.
const MAX_LEN: usize = 64 << 10;

/// Seconds after which an input counts as a hang.
const HANG: u32 = 20;

/// Default number of seconds for each target.
const SECONDS: u32 = 60;

/// The same for a thorough `cargo xtask test`.
const SECONDS_IN_TESTS: u32 = 20;

/// Every target, with its subject.
const TARGETS: &[(&str, &str)] = &[
    ("inspect", "ELF inspection"),
    ("plan_apply", "wrap, wrap again, restore"),
    ("sidecar", "sidecars, trailers, loader images"),
    ("cli", "command lines"),
    ("loader", "what the loader reads"),
];

#[derive(clap::Args)]
pub struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,

    /// Names of targets; all without it
    #[arg(value_name = "TARGET", value_parser = TARGETS.iter().map(|target| target.0).collect::<Vec<_>>())]
    targets: Vec<String>,
}

impl Options {
    /// For a thorough `cargo xtask test`, which finds new crashes in the seeds and near them. A longer search finds more.
    pub fn for_tests() -> Self {
        Self {
            seconds: SECONDS_IN_TESTS,
            targets: Vec::new(),
        }
    }
}

/// The result of a target.
struct Outcome {
    target: &'static str,
    executions: u64,
    /// Inputs that made it crash, each with its log.
    crashes: Vec<PathBuf>,
    log: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::for_fuzzing())?;
    let home = workspace::target_dir()?.join("fuzz");
    build(&home)?;
    let seeds = seeds::make(&home.join("seeds"))?;
    let wanted = |name: &str| {
        options.targets.is_empty() || options.targets.iter().any(|target| target == name)
    };
    let wanted: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted(name)).collect();
    let outcomes: Vec<Outcome> = wanted
        .into_par_iter()
        // Each thread takes one at a time, because all take the same time.
        .with_max_len(1)
        .map(|&(target, what)| {
            println!("{target}: {what}, for {} seconds", options.seconds);
            fuzz(target, &home, &seeds, options.seconds)
        })
        .collect::<Result<_>>()?;
    println!("target         executions  crashes");
    for outcome in &outcomes {
        let (target, crashes) = (outcome.target, outcome.crashes.len());
        println!("{target:<12}  {:>11}  {crashes:>7}", outcome.executions);
    }
    let crashed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.crashes.is_empty())
        .collect();
    for outcome in &crashed {
        for input in &outcome.crashes {
            let log = outcome.log.display();
            println!("{}: {} (see {log})", outcome.target, input.display());
        }
    }
    ensure!(crashed.is_empty(), "{} targets crashed", crashed.len());
    Ok(())
}

/// Builds the targets. By default, `cargo fuzz` passes options that only nightly compilers accept.
fn build(home: &Path) -> Result<()> {
    let (variable, core) = workspace::shared_core()?;
    workspace::run(
        cargo(["fuzz", "build", "--codegen-units=16", "--fuzz-dir", "fuzz"])
            .arg("--target-dir")
            .arg(home)
            .env(variable, core)
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

fn fuzz(target: &'static str, home: &Path, seeds: &Path, seconds: u32) -> Result<Outcome> {
    let directory = |kind: &str| -> Result<PathBuf> {
        let path = home.join(kind).join(target);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    };
    let corpus = directory("corpus")?;
    let artifacts = directory("artifacts")?;
    let log = directory("logs")?.join("log");
    let known = files(&artifacts)?;
    let mut command = Command::new(binary(home, target)?);
    command
        .arg(&corpus)
        .arg(seeds.join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_LEN}"))
        .arg(format!("-timeout={HANG}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-dict={}", seeds.join("dictionary").display()))
        .arg("-print_final_stats=1")
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let succeeded = workspace::succeeds(&mut command)?;
    let mut crashes = files(&artifacts)?;
    crashes.retain(|input| !known.contains(input));
    if !succeeded && crashes.is_empty() {
        bail!("{target} did not run: see {}", log.display());
    }
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(Outcome {
        target,
        executions: executions(&text).unwrap_or(0),
        crashes: if succeeded { Vec::new() } else { crashes },
        log,
    })
}

/// The program that `cargo fuzz` has built for this machine, in the directory of its target triple.
fn binary(home: &Path, target: &str) -> Result<PathBuf> {
    let version = workspace::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it runs on")?;
    Ok(home.join(host).join("release").join(target))
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?)
}

/// The number of inputs, from libFuzzer's last line.
fn executions(log: &str) -> Option<u64> {
    let mut lines = log.lines().rev();
    let count = lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    count?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_the_statistics() {
        let log = "#12 DONE\nstat::number_of_executed_units: 4711\nstat::peak_rss_mb: 12\n";
        assert_eq!(executions(log), Some(4711));
        assert_eq!(executions("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn every_target_is_built() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for (target, _) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{target}\"")));
        }
    }
}
