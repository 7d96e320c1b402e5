//! gdb on programs of a [`Root`].

use crate::arch::{Libc, Variant};
use crate::root::Root;
use crate::run::{Output, Run};
use crate::toolchain;

/// Asserts that all libraries are listed, the breakpoint in one of them was hit, and its backtrace reaches main.
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
            "{words:?} in what gdb says; {output}"
        );
    }
    let hit = output
        .stdout
        .split("Breakpoint 1, ")
        .nth(1)
        .expect("checked above");
    assert!(hit.contains("foo ("), "{output}");
}

/// gdb in `root`, about to be told what to debug.
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
