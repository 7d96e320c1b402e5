//! The paths of this checkout, and its tool.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use e2e::toolchain::Compiler;
use e2e::{Arch, Libc};

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

/// For a build with a target directory of its own: the variable with which it uses the stages' `core` of other builds, and its value.
pub fn shared_core() -> Result<(&'static str, PathBuf)> {
    Ok(("WRAP_BUDDY_CORE_DIR", target_dir()?.join("stage-core")))
}

/// Builds the tool with the release profile and returns its path.
pub fn release_tool() -> Result<PathBuf> {
    run(&mut cargo([
        "build",
        "--package",
        "wrap-buddy",
        "--release",
    ]))?;
    Ok(target_dir()?.join("release/wrap-buddy"))
}

/// Builds the tool for the tests with a kernel of another architecture: the variable that names it, and its path. `None` if this
/// machine cannot build it.
///
/// The standard library is built too: rustc of Debian has its source.
pub fn emulated_tool() -> Result<Option<(&'static str, PathBuf)>> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let rustc = "/usr/bin/rustc";
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]));
    let source = sysroot
        .map(|sysroot| Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library/std"));
    let linker = Compiler::find(Arch::Aarch64, Libc::Glibc);
    let (true, Some(linker)) = (source.is_ok_and(|source| source.is_dir()), linker) else {
        println!(
            "skipped: wrap-buddy for {TARGET}, {rustc} has no source of std, or there is no linker"
        );
        return Ok(None);
    };
    let directory = target_dir()?.join("emulated");
    let (variable, core) = shared_core()?;
    run(cargo(["build", "--package", "wrap-buddy"])
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(variable, core)
        // The kernel's programs have no libgcc_s.so.1, which unwinding needs.
        .env("CARGO_PROFILE_DEV_PANIC", "abort")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // The emulator is slow.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            linker.command().get_program(),
        ))?;
    let built = directory.join(TARGET).join("debug/wrap-buddy");
    Ok(Some(("WRAP_BUDDY_BIN_AARCH64", built)))
}

/// Builds everything with the profile of the tests and returns the directory of the programs.
///
/// A build of one package has other features of the dependencies than a build of all, so it would compile most of them again.
pub fn build_all() -> Result<PathBuf> {
    run(&mut cargo(["build", "--workspace", "--all-targets"]))?;
    Ok(target_dir()?.join("debug"))
}
