//! The wrap-buddy binary under test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use crate::arch::Arch;
use crate::{cache, fork};

/// `$WRAP_BUDDY_BIN`, or else the build of `cargo xtask test`, which is made once per test run. Panics if it cannot be built.
pub fn path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("WRAP_BUDDY_BIN") {
        Some(path) => fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("WRAP_BUDDY_BIN={}: {error}", path.display())),
        None => build(),
    })
    .clone()
}

/// A build of the tool for another architecture: `$WRAP_BUDDY_BIN_AARCH64` and so on, which `cargo xtask test` sets. The error says
/// that there is none.
pub fn built_for(arch: Arch) -> Result<PathBuf, String> {
    let name = format!("WRAP_BUDDY_BIN_{}", arch.name().to_uppercase());
    let path = env::var_os(&name).map(PathBuf::from);
    path.ok_or(format!(
        "no wrap-buddy for {}: {name} is not set",
        arch.name()
    ))
}

fn build() -> PathBuf {
    let target = cache::target_dir();
    let binary = target.join("debug/wrap-buddy");
    // nextest starts each test as a process of its own. One of them builds, and cargo's lock makes the others wait.
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let stamp = cache::dir("tool").join("built-for-run");
    if !run.is_empty() && fs::read_to_string(&stamp).is_ok_and(|last| last == run) {
        return binary;
    }
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package", "wrap-buddy", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = fork::spawn(&mut command)
        .and_then(Child::wait_with_output)
        .expect("start cargo");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cannot build wrap-buddy: {message}"
    );
    fs::write(stamp, run).expect("write a stamp");
    binary
}
