//! `--strategy`: programs that are edited in place, if they have room.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use e2e::check::{count_segments, segments, sidecar_of};
use e2e::toolchain::{file_name, lld};
use e2e::{Build, Edited, Root, Sample, Variant, assert_fails_unwrapped, matrix, says, source};
use object::elf;
use sidecar::EditKind;

matrix!(all:
    inplace_and_auto, no_room, extra_needed, interpreter_with_a_shorter_path, relocatable, runs_without_its_sidecar,
    wherever_it_goes, without_proc, with_more_rights_than_its_user,
);
matrix!(native: without_write_then_execute);

fn inplace_and_auto(variant: Variant) {
    for strategy in ["inplace", "auto"] {
        let sample = Sample::unwrapped(variant);
        let report = sample.wrapping().args(["--strategy", strategy]).report();
        let report = report.success();
        report.file(&sample.program).is("edited", &[]);
        let edited = sample.edited();
        assert_eq!(interpreter_of(&edited.file), sample.interpreter());
        let entries = report.file(&sample.program).search_path();
        assert!(
            entries.contains(&sample.library_dir.as_str()),
            "{entries:?}"
        );
        edited.searches("RUNPATH", &entries);
        sample.run();
    }
}

fn no_room(variant: Variant) {
    let sample = Sample::with_flags(variant, "/app/program", &lld());
    let report = sample.wrapping().args(["--strategy", "inplace"]).report();
    let words = ["cannot be edited in place: "];
    report
        .exits_with(1)
        .file(&sample.program)
        .is("failed", &words);
    is_untouched(&sample);

    let report = sample.wrapping().args(["--strategy", "auto"]).report();
    report.success().file(&sample.program).is("wrapped", &[]);
    sample.wrapped();
    sample.run();
}

fn relocatable(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = |strategy| {
        sample
            .wrapping()
            .args(["--relocatable", "--allow-outside", "--strategy", strategy])
    };
    let report = wrapping("inplace").report().exits_with(1);
    report.file(&sample.program).is("failed", &["needs a stub"]);
    is_untouched(&sample);

    let report = wrapping("auto").report().success();
    report.file(&sample.program).is("wrapped", &[]);
    sample.wrapped();
    sample.run();
}

#[track_caller]
fn is_untouched(sample: &Sample) {
    let built = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read(&sample.program) == built, "it was changed");
    let sidecar = sample.root.path(&sidecar_of(&sample.program));
    assert!(!sidecar.exists(), "a sidecar of a program left alone");
}

fn extra_needed(variant: Variant) {
    let root = Root::new(variant);
    let library = Build::library(variant, source("lib/ctors.c"), "libctors.so").build();
    let built = Build::program(variant, source("indirect.c"))
        .flags(["-Wl,--allow-shlib-undefined"])
        .link(super::bar(variant, &[]))
        .build();
    let program = root.install(&built, "/app/program");
    assert_fails_unwrapped(root.command(&program));
    let libs = [
        root.package("ctors", &[&library]),
        root.package("bar", &[super::bar(variant, &[])]),
        root.package("foo", &[super::foo(variant)]),
    ];
    let wrap = root.wrap(&program).libs(libs);
    wrap.args(["--strategy", "inplace", "--needed", "libctors.so"])
        .run();
    let edited = Edited::read(&root, &program, fs::read(&built).expect("built above"));
    assert!(edited.dynamic("NEEDED").contains(&"libctors.so".into()));
    let output = root.command(&program).output().success();
    let said = output.stdout.contains("42\n");
    assert!(
        said && output.stdout.starts_with("library begins\n"),
        "{output}"
    );
}

/// The new path replaces the old one, and no header changes.
fn interpreter_with_a_shorter_path(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let real = sample.interpreter();
    let short = format!("/i/{}", file_name(real.as_ref()));
    sample.root.mkdir("/i");
    symlink(&real, sample.root.path(&short)).expect("a link in a fresh directory");
    let wrap = sample.wrapping().interpreter(&short);
    wrap.args(["--strategy", "inplace"]).run();
    let edited = sample.edited();
    assert_eq!(interpreter_of(&edited.file), short);
    assert!(
        !edited.kinds().contains(&EditKind::Segment),
        "{:?}",
        edited.kinds()
    );
    sample.run();
}

/// The path that the kernel will read.
fn interpreter_of(file: &[u8]) -> String {
    assert_eq!(count_segments(file, elf::PT_INTERP), 1);
    let mut segments = segments(file).into_iter();
    let segment = segments.find(|segment| segment.kind == elf::PT_INTERP);
    let path = &file[segment.expect("counted above").file];
    let end = path.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&path[..end.expect("a NUL")]).into_owned()
}

fn runs_without_its_sidecar(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    fs::remove_dir_all(sample.root.path(&sample.root.loader_dir())).expect("loaders");
    sample.run();
}

fn wherever_it_goes(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let root = &sample.root;
    says(sample.command_from_memfd().output());
    says(sample.command().args(["copy", "/app/offspring"]).output());
    root.mkdir("/srv");
    let path = |path: &str| root.path(path);
    fs::hard_link(path(&sample.program), path("/srv/link")).expect("link");
    says(root.command("/srv/link").output());
    fs::rename(path(&sample.program), path("/srv/renamed")).expect("rename");
    says(root.command("/srv/renamed").output());
}

fn without_proc(variant: Variant) {
    says(
        Sample::new_in_place(variant)
            .command()
            .without_proc()
            .output(),
    );
}

fn without_write_then_execute(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    says(sample.command().deny_write_execute().output());
}

fn with_more_rights_than_its_user(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let set_id = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(sample.root.path(&sample.program), set_id).expect("chmod");
    let output = sample.command().user(1000).arg("ids").output().success();
    assert_eq!(
        output.stdout, "uid 1000/0, secure 1\nvalue 42\n",
        "{output}"
    );
}
