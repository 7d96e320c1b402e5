//! Programs that another program maps by itself, as it finds from PT_INTERP.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Edited, Kind, Root, Variant, Wrapped, matrix, source, toolchain};

matrix!(glibc: edited_in_place_where_there_is_room, warning_without_room);

const PROGRAM: &str = "/app/program";

/// A program with more linker flags, and its preloader.
fn install(variant: Variant, flags: &[String]) -> (Root, PathBuf) {
    let root = Root::new(variant);
    let program = Build::program(variant, source("hello.c")).flags(flags.iter().cloned());
    let program = program.build();
    root.install(&program, PROGRAM);
    let variant = Variant::new(variant.arch, variant.libc, Kind::Exec);
    let preloader = Build::program(variant, source("preloader.c")).flag("-static");
    root.install(&preloader.build(), "/app/program-preloader");
    (root, program)
}

fn edited_in_place_where_there_is_room(variant: Variant) {
    let (root, built) = install(variant, &[]);
    let wrap = || root.wrap(PROGRAM);
    let report = wrap().report().success();
    report
        .file(PROGRAM)
        .is("edited", &["program-preloader", "PT_INTERP"]);
    Edited::read(&root, PROGRAM, fs::read(&built).expect("built above"));
    let started = root.command("/app/program-preloader").arg(PROGRAM);
    started.output().success();
    root.command(PROGRAM).output().success();
    wrap()
        .report()
        .success()
        .file(PROGRAM)
        .is("skipped", &["already edited in place"]);

    // The preloader does not apply to a program of another name.
    root.install(&built, "/app/other");
    let report = root.wrap("/app/other").report().success();
    report.file("/app/other").is("wrapped", &[]);
}

fn warning_without_room(variant: Variant) {
    let (root, built) = install(variant, &toolchain::lld());
    let output = root.wrap(PROGRAM).run();
    let warning = output
        .stderr
        .lines()
        .find(|line| line.starts_with("warning: ") && line.contains("program-preloader"));
    assert!(
        warning.is_some_and(|line| line.contains("--interpreter")),
        "{output}"
    );
    Wrapped::read(&root, PROGRAM, fs::read(&built).expect("built above")).check();
    root.command(PROGRAM).output().success();
    let started = root.command("/app/program-preloader").arg(PROGRAM);
    started.output().exits_with(3);
    let check = root.wrap_buddy().args(["check", PROGRAM]).output();
    let says = "program-preloader maps it and reads its PT_INTERP";
    assert!(check.stdout.contains(says), "{check}");

    let failed = root.wrap(PROGRAM).args(["--strategy", "inplace"]).report();
    failed
        .exits_with(0)
        .file(PROGRAM)
        .is("skipped", &["restore it"]);
}
