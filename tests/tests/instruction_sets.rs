//! ARM and Thumb code at the entry point: bit 0 of e_entry selects it, and the stub is entered in the same way.

use std::fs;
use std::path::Path;

use e2e::check::sidecar_of;
use e2e::offsets::E_ENTRY;
use e2e::{Build, Root, Variant, matrix, source};
use sidecar::{EditKind, Sidecar};

matrix!([armv7_glibc_pie armv7_glibc_exec]: (
    arm, thumb, thumb_at_half_a_word, arm_without_room, thumb_without_room
));

const PROGRAM: &str = "/app/program";

fn arm(variant: Variant) {
    starts(variant, &["-marm"], 0);
}

fn thumb(variant: Variant) {
    starts(variant, &["-mthumb"], 1);
}

fn thumb_at_half_a_word(variant: Variant) {
    starts(variant, &["-mthumb", "-DHALF_A_WORD"], 3);
}

fn arm_without_room(variant: Variant) {
    starts_elsewhere(variant, "-marm", 0);
}

fn thumb_without_room(variant: Variant) {
    starts_elsewhere(variant, "-mthumb", 1);
}

/// A program with these two bits at the end of e_entry.
fn starts(variant: Variant, flags: &[&str], low: u8) {
    let build = Build::program(variant, source("first.c"));
    let built = build
        .flag("-Wl,-e,first")
        .flags(flags.iter().copied())
        .build();
    let before = fs::read(&built).expect("built before");
    assert_eq!(before[E_ENTRY] & 3, low);
    for way in [
        &[][..],
        &["--self-contained"],
        &["--relocatable", "--allow-outside"],
        &["--strategy", "inplace"],
    ] {
        let root = Root::new(variant);
        root.install(&built, PROGRAM);
        root.wrap(PROGRAM).args(way.iter().copied()).run();
        assert_eq!(root.read(PROGRAM)[E_ENTRY..][..4], before[E_ENTRY..][..4]);
        runs(&root, "first\n");
        // The loader of a relocatable program is found by /proc/self/exe.
        if !way.contains(&"--relocatable") {
            runs_by_ld_so(&root, variant, None, "first\n");
        }
        let restore = root.wrap_buddy().args(["restore", PROGRAM]);
        restore.output().success();
        assert!(root.read(PROGRAM) == before, "{way:?}");
    }
}

/// A program whose code has no room for a stub.
fn starts_elsewhere(variant: Variant, flag: &str, low: u8) {
    let finish = Build::library(variant, source("lib/finish.c"), "libfinish.so").build();
    let build = Build::program(variant, source("tiny.c")).flags(["-nostartfiles", "-nostdlib"]);
    let build = build.flags(["-O2", "-Wl,--allow-shlib-undefined", flag]);
    let built = build.link(&finish).build();
    let root = Root::new(variant);
    root.install(&built, PROGRAM);
    let libs = root.package("libraries", &[&finish as &Path]);
    root.wrap(PROGRAM).libs([libs.clone()]).run();
    let sidecar = root.read(&sidecar_of(PROGRAM));
    let sidecar = Sidecar::parse(&sidecar).expect("just written");
    let mut kinds = sidecar.edits().flatten().map(|edit| edit.kind);
    assert!(kinds.any(|kind| kind == EditKind::Entry));
    assert_eq!(root.read(PROGRAM)[E_ENTRY] & 3, low);
    runs(&root, "tiny\n");
    runs_by_ld_so(&root, variant, Some(libs), "tiny\n");
}

fn runs(root: &Root, says: &str) {
    assert_eq!(root.command(PROGRAM).output().success().stdout, says);
}

/// ld.so enters the stub, with the libraries that it has loaded.
fn runs_by_ld_so(root: &Root, variant: Variant, libs: Option<String>, says: &str) {
    let linker = root.interpreter(variant.arch, variant.libc);
    let libs = [root.library_dirs(), Vec::from_iter(libs)].concat();
    let run = root.command(&linker);
    let run = run.args(["--library-path", &libs.join(":"), PROGRAM]);
    assert_eq!(run.output().success().stdout, says);
}
