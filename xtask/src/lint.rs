//! Checks that run no test: format, prose, lints, dependencies, documentation, packages.

mod prose;

use std::process::Command;

use anyhow::Result;

use crate::workspace::{self, cargo};
use crate::{book, pages};

/// Runs the checks, the quick ones first.
pub fn run() -> Result<()> {
    workspace::run(&mut cargo(["fmt", "--all", "--check"]))?;
    prose::check()?;
    pages::check()?;
    book::run()?;
    workspace::run(Command::new("typos").current_dir(workspace::root()))?;
    // xtask needs crates that are not published. Dependencies on each other need versions, and every file has to be inside its crate.
    workspace::run(
        cargo(["package", "--workspace", "--exclude=xtask", "--no-verify"]).args([
            "--allow-dirty",
            "--offline",
            "--quiet",
        ]),
    )?;
    workspace::run(
        cargo(["clippy", "--workspace", "--all-targets"]).args(["--", "-D", "warnings"]),
    )?;
    workspace::run(
        cargo(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    lint_fuzz_targets()?;
    check_dependencies()
}

/// The manifest of the fuzz targets, which are a workspace of their own.
const FUZZ: &str = "--manifest-path=fuzz/Cargo.toml";

fn lint_fuzz_targets() -> Result<()> {
    workspace::run(&mut cargo(["fmt", FUZZ, "--check"]))?;
    // In the same target directory, because most dependencies are the same.
    let target = workspace::target_dir()?;
    workspace::run(
        cargo(["clippy", FUZZ, "--all-targets", "--target-dir"])
            .arg(target)
            .args(["--", "-D", "warnings"]),
    )
}

/// There is no unused dependency, and all have permitted licences and sources.
fn check_dependencies() -> Result<()> {
    workspace::run(&mut cargo(["shear"]))?;
    // The workflow checks advisories, which needs a network.
    if !setup::is_installed("cargo deny") {
        println!(
            "skipped: licences and origins of dependencies, `cargo deny` is not installed (see --thorough)"
        );
        return Ok(());
    }
    for manifest in ["--manifest-path=Cargo.toml", FUZZ] {
        let config = ["--config", "deny.toml", "check"];
        workspace::run(
            cargo(["deny", manifest])
                .args(config)
                .args(["licenses", "bans", "sources"]),
        )?;
    }
    Ok(())
}
