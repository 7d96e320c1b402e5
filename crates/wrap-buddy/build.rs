//! Links the unwinder of the standard library from gcc's archive, where there is one.
//!
//! `libgcc_s.so.1` asks the processor what it can before `main`, with CPUID instructions that each leave a virtual machine: of
//! the time the tool takes to start there, beyond that of any program, it is a third. The GCC Runtime Library Exception lets the
//! archive be part of any program.

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
        // Whole, so that it is taken wherever the linker meets it.
        println!("cargo::rustc-link-lib=static:+whole-archive=gcc_eh");
    }
}

/// Where the C compiler that links has it, if that is for the same processor. One without says nothing but its name.
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

/// What the C compiler that links says when asked.
fn linker(option: &str) -> Option<String> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| OsString::from("cc"));
    let output = Command::new(linker).arg(option).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
