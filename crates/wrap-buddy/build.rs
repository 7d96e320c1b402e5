//! Links the unwinder of the standard library from gcc's archive, if there is one.
//!
//! `libgcc_s.so.1` executes several CPUID instructions before `main`, and each one traps in a virtual machine. There, this takes a
//! third of the tool's start-up time, not counting that of any program. The GCC Runtime Library Exception allows the archive in any
//! program.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

const ARCHIVE: &str = "libgcc_eh.a";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let is_gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|name| name == "gnu");
    let is_static = env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| {
        let mut features = features.split(',');
        features.any(|feature| feature == "crt-static")
    });
    if !is_gnu || is_static {
        return;
    }
    if let Some(directory) = archive().as_deref().and_then(|path| path.parent()) {
        println!("cargo::rustc-link-search=native={}", directory.display());
        // The whole archive, so that it is linked wherever the linker meets it.
        println!("cargo::rustc-link-lib=static:+whole-archive=gcc_eh");
    }
}

/// The path of the archive, according to the C compiler, if that is for the same processor. A compiler without it prints only the
/// name.
fn archive() -> Option<PathBuf> {
    let target = env::var("TARGET").ok()?;
    let machine = linker("-dumpmachine")?;
    let processor = |triple: &str| triple.split('-').next().map(str::to_owned);
    if processor(&machine) != processor(&target) {
        return None;
    }
    let path = PathBuf::from(linker(&format!("-print-file-name={ARCHIVE}"))?);
    (path.is_absolute() && path.is_file()).then_some(path)
}

/// The output of the C compiler for `option`.
fn linker(option: &str) -> Option<String> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| OsString::from("cc"));
    let output = Command::new(linker).arg(option).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
