//! Runs gdb on programs of a [`Root`].

use crate::arch::{Libc, Variant};
use crate::output::Output;
use crate::root::Root;
use crate::run::Run;
use crate::toolchain;

/// Asserts that gdb lists all libraries, stops at the breakpoint in one of them, and prints a backtrace up to main.
#[track_caller]
pub fn shows_everything(variant: Variant, output: &Output) {
    let libc = if variant.libc == Libc::Musl {
        "musl"
    } else {
        "/libc.so.6"
    };
    for words in [
        "/lib/libfoo.so",
        libc,
        "Breakpoint 1, ",
        "#0  ",
        "in main (",
    ] {
        assert!(
            output.stdout.contains(words),
            "{words:?} in the output of gdb; {output}"
        );
    }
    let hit = output
        .stdout
        .split("Breakpoint 1, ")
        .nth(1)
        .expect("checked above");
    assert!(hit.contains("foo ("), "{output}");
}

/// gdb in `root`, without the arguments that name a program.
pub fn gdb(root: &Root) -> Run<'_> {
    root.bind_host();
    let gdb = toolchain::find_program("gdb").expect("gdb; run: cargo xtask setup");
    root.host_command(&gdb)
        .args(["--data-directory=/tool/host/usr/share/gdb", "-nx", "-batch"])
        .args([
            "-ex",
            "set startup-with-shell off",
            "-ex",
            "handle SIGUSR1 nopass",
        ])
        .env("PYTHONHOME", "/tool/host/usr")
}
