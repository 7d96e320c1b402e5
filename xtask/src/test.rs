//! Builds, lints, and runs every test. The test runner's summary comes last.

use std::env;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::workspace::{self, cargo};
use crate::{fuzz, lint, setup};

#[derive(clap::Args)]
pub struct Options {
    /// Also run slow checks: licences and origins of dependencies, and each fuzz target for a minute; on by default if the variable
    /// CI is set
    #[arg(long)]
    thorough: bool,

    /// Names of tests to run, or other arguments of `cargo nextest run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let thorough = options.thorough || env::var_os("CI").is_some();
    setup::run(&setup::Options::for_tests(thorough))?;
    let tool = workspace::tested_tool()?;
    lint::run()?;
    workspace::run(&mut cargo(["test", "--quiet", "--workspace", "--doc"]))?;
    run_miri()?;
    if thorough {
        fuzz::run(&fuzz::Options::default())?;
    }
    // In a new process, because setup may just have installed a compiler for the stages that this build lacks.
    workspace::run(&mut cargo(["xtask", "bench", "size"]))?;
    let root = workspace::root().display();
    // The end-to-end tests run an optimised tool, not one of their own profile.
    workspace::run(
        cargo(["nextest", "run", "--workspace"])
            .arg(format!(
                "--tool-config-file=xtask:{root}/.config/real-programs.toml"
            ))
            .args(&options.arguments)
            .env("WRAP_BUDDY_BIN", tool),
    )
}

/// If a toolchain with Miri is installed, runs the tests of the formats, and the Rust part of `sys` and of the loader, under Miri.
/// The rest of the loader is system calls and the address of its table of messages, both in inline assembly, which Miri does not
/// support. The stub is only assembly. End-to-end tests cover these.
fn run_miri() -> Result<()> {
    // A plain `cargo` is rustup's, which supports `+nightly`. The one that runs this task may not.
    for toolchain in [&[][..], &["+nightly"]] {
        let miri = || {
            let mut command = Command::new("cargo");
            command
                .args(toolchain)
                .arg("miri")
                .current_dir(workspace::root());
            command
        };
        let probe = miri()
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if probe.is_ok_and(|status| status.success()) {
            return workspace::run(
                miri()
                    .arg("test")
                    .args(
                        ["wrap-buddy-sidecar", "wrap-buddy-sys", "loader"]
                            .map(|package| format!("--package={package}")),
                    )
                    // proptest reads the environment and its file of regressions.
                    .env("MIRIFLAGS", "-Zmiri-disable-isolation")
                    .env("PROPTEST_CASES", "8"),
            );
        }
    }
    println!(
        "skipped: sidecar, sys and loader under Miri, `cargo miri` is not installed (rustup +nightly component add miri)"
    );
    Ok(())
}
