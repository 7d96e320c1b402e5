//! The paths of this checkout, and its tool.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub use setup::workspace::{cargo, output, root, run, succeeds};

/// Cargo's target directory, as set by the environment or a configuration file.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cargo metadata printed something unreadable")?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("cargo metadata does not name a target directory")
}

/// Builds the tool with the release profile and returns its path.
pub fn release_tool() -> Result<PathBuf> {
    tool("release")
}

/// Builds the tool for the tests and returns its path.
pub fn tested_tool() -> Result<PathBuf> {
    tool("tested")
}

fn tool(profile: &str) -> Result<PathBuf> {
    let arguments = ["build", "--package", "wrap-buddy", "--profile", profile];
    run(&mut cargo(arguments))?;
    Ok(target_dir()?.join(profile).join("wrap-buddy"))
}

/// Builds everything with the profile of the tests and returns the directory of the programs.
///
/// A build of one package has other features of the dependencies than a build of all, so it would compile most of them again.
pub fn build_all() -> Result<PathBuf> {
    run(&mut cargo(["build", "--workspace", "--all-targets"]))?;
    Ok(target_dir()?.join("debug"))
}
