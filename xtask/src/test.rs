//! Builds, lints, and runs every test. The test runner's summary comes last.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use anyhow::Result;

use crate::workspace::{self, cargo};
use crate::{fuzz, lint};

#[derive(clap::Args)]
pub struct Options {
    /// Also run slow checks: licences and origins of dependencies, and each fuzz target for 20 seconds; on by default if the
    /// variable CI is set
    #[arg(long)]
    thorough: bool,

    /// Names of tests to run, or other arguments of `cargo nextest run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let thorough = options.thorough || env::var_os("CI").is_some();
    setup::run(&setup::Options::for_tests(thorough))?;
    let programs = workspace::build_all()?;
    // The programs and directories of one are not those of the other, and both have steps that use one processor.
    let (checked, fuzzed) = rayon::join(
        || {
            lint::run()?;
            workspace::run(&mut cargo(["test", "--quiet", "--workspace", "--doc"]))
        },
        || {
            run_miri()?;
            let emulated = workspace::emulated_tool()?;
            if thorough {
                fuzz::run(&fuzz::Options::for_tests())?;
            }
            anyhow::Ok(emulated)
        },
    );
    checked?;
    let emulated = fuzzed?;
    // This process may have been built before setup installed a compiler for the stages.
    workspace::run(Command::new(programs.join("xtask")).args(["bench", "size"]))?;
    run_tests(&programs.join("wrap-buddy"), emulated, &options.arguments)
}

/// Runs the tests, and lists those that this machine cannot run.
fn run_tests(tool: &Path, emulated: Option<(&str, PathBuf)>, arguments: &[String]) -> Result<()> {
    let skipped = tempfile::NamedTempFile::new()?;
    let configuration = workspace::root().join(".config/real-programs.toml");
    // Many tests wait: for a disk, for a watch, for something that must not happen.
    let threads = 2 * thread::available_parallelism()?.get();
    let mut tests = cargo(["nextest", "run", "--workspace", "--tool-config-file"]);
    tests
        .arg(format!("xtask:{}", configuration.display()))
        .arg(format!("--test-threads={threads}"))
        .args(arguments)
        .env("WRAP_BUDDY_BIN", tool)
        .env("WRAP_BUDDY_TEST_SKIPPED", skipped.path());
    if let Some((variable, path)) = emulated {
        tests.env(variable, path);
    }
    let done = workspace::run(&mut tests);
    for line in fs::read_to_string(skipped.path())?.lines() {
        println!("skipped: {line}");
    }
    done
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
