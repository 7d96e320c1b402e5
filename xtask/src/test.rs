//! Builds, lints, and runs every test; the test runner's summary comes last.

use std::env;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::workspace::{self, cargo};
use crate::{fuzz, lint, setup};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// Also what takes long: licences and origins of dependencies, and a minute of each fuzz target; so by itself where the
    /// environment has CI
    #[arg(long)]
    thorough: bool,

    /// Names of tests to run, or any other argument of `cargo nextest run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the task.
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
    // Started anew: setup may just have installed what stages are built with that this very build lacks.
    workspace::run(&mut cargo(["xtask", "bench", "size"]))?;
    let root = workspace::root().display();
    // The end-to-end tests drive an optimised tool, not the one of their own profile.
    workspace::run(
        cargo(["nextest", "run", "--workspace"])
            .arg(format!(
                "--tool-config-file=xtask:{root}/.config/real-programs.toml"
            ))
            .args(&options.arguments)
            .env("WRAP_BUDDY_BIN", tool),
    )
}

/// Interprets the tests of the wire formats, and of what stub and loader are made of as far as that is Rust, where a toolchain
/// with Miri is installed. The rest of the loader is system calls, by inline assembly, which Miri does not run, and so is its table of
/// messages, whose address an instruction gives; the stub is nothing else. On these, see the end-to-end tests.
fn run_miri() -> Result<()> {
    // A bare `cargo` is rustup's, which understands `+nightly`; the one running this task may not be.
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
                    // proptest reads the environment and its record of regressions.
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
