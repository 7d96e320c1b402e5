//! `bench build`: the processor time from a clone to the tool, and the tool's size. The time that a build takes depends on the number of
//! processors and on what else they do; the time that they work for it does so less.

use anyhow::{Context, Result, ensure};
use wait4::Wait4;

use super::Figures;
use crate::workspace::{self, cargo};

/// Seconds of processor time.
const SECONDS: f64 = 105.0;

/// Size of the tool.
const MIB: f64 = 6.0;

pub fn run(figures: &mut Figures) -> Result<()> {
    // Empty, as in a clone. Cargo has downloaded the dependencies before, because this task needs them too.
    let target = tempfile::tempdir_in(workspace::target_dir()?)?;
    let mut build = cargo(["build", "--release", "--package", "wrap-buddy", "--quiet"]);
    build.arg("--target-dir").arg(target.path());
    let done = build.spawn().context("cannot start cargo")?.wait4()?;
    ensure!(done.status.success(), "cargo build failed");
    let used = done.rusage.utime + done.rusage.stime;
    let tool = target.path().join("release/wrap-buddy");
    let size = tool.metadata().context("cargo built no tool")?.len();
    figures.compare(
        "processor time of a build",
        used.as_secs_f64(),
        SECONDS,
        " s",
    );
    figures.compare(
        "size of the tool",
        size as f64 / f64::from(1 << 20),
        MIB,
        " MiB",
    );
    Ok(())
}
