//! `wrap-buddy watch`: programs that arrive later, in a root without an FHS dynamic linker.

mod arrivals;
mod endings;
mod limits;
mod mounts;
mod restoring;
mod roots;
mod service;
mod settling;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use e2e::{Arch, Build, Kind, Libc, Root, Variant, source};

/// So long that a watch would have made any change that it must not make.
const LONG_ENOUGH: Duration = Duration::from_millis(1200);

const HOST: Variant = Variant {
    arch: Arch::X86_64,
    libc: Libc::Glibc,
    kind: Kind::Pie,
};

/// A root for programs of this machine, and the path of such a program outside.
fn root_and_program() -> (Root, PathBuf) {
    (Root::new(HOST), hello(HOST))
}

fn hello(variant: Variant) -> PathBuf {
    Build::program(variant, source("hello.c")).build()
}

/// Copies `file` to `inside`, as programs that unpack do: the file is complete when it is closed.
fn copy(root: &Root, file: &Path, inside: &str) {
    root.install(file, inside);
}

#[track_caller]
fn says_hello(root: &Root, program: &str) {
    assert_eq!(root.command(program).output().success().stdout, "hello\n");
}

fn is_original(root: &Root, file: &Path, inside: &str) -> bool {
    root.read(inside) == fs::read(file).expect("it was built")
}

fn a_while() {
    thread::sleep(LONG_ENOUGH);
}
