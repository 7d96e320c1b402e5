//! Programs with more rights than their caller: they use none of the caller's files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use e2e::check::sidecar_of;
use e2e::{Build, Sample, Variant, matrix, source};
use sidecar::Sidecar;

matrix!(all:
    set_id_program_runs, hard_link_next_to_an_attackers_sidecar, attackers_sidecar_works_for_the_attacker_alone,
    sidecar_that_others_may_write, sidecar_of_another_owner, no_debug_output, relocatable_refuses_to_run,
    set_id_file_is_not_made_relocatable, sidecar_that_writers_of_the_set_id_program_may_write, set_id_of_another_user,
    owner_of_a_set_group_id_program,
);

const MALLORY: u32 = 1000;

/// The attacker's link to the program. It is as long as the real path, so that the slot has the same bytes of the file.
const LINK: &str = "/bad/program";

/// The output of the sample when its set-id bit was applied and it found its own library.
const AS_ROOT: &str = "uid 1000/0, secure 1\nvalue 42\n";

fn set_id_program_runs(variant: Variant) {
    let sample = set_id(variant);
    let output = sample.command().user(MALLORY).arg("ids").output().success();
    assert_eq!(output.stdout, AS_ROOT, "{output}");
}

fn set_id_of_another_user(variant: Variant) {
    const OWNER: u32 = 500;
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    for path in [sample.program.clone(), sidecar_of(&sample.program)] {
        chown(sample.root.path(&path), Some(OWNER), Some(OWNER)).expect("chown");
    }
    set_mode(&sample.root.path(&sample.program), 0o4755);
    let output = sample.command().user(MALLORY).arg("ids").output().success();
    assert_eq!(
        output.stdout, "uid 1000/500, secure 1\nvalue 42\n",
        "{output}"
    );
}

/// The owner of a set-group-id program may not be in the group, so the owner must not be able to write the files that it trusts.
fn owner_of_a_set_group_id_program(variant: Variant) {
    const GROUP: u32 = 50;
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    let (program, sidecar) = (sample.program.clone(), sidecar_of(&sample.program));
    chown(sample.root.path(&program), Some(MALLORY), Some(GROUP)).expect("chown");
    set_mode(&sample.root.path(&program), 0o2755);
    let start = || sample.command().user(MALLORY).arg("ids").output();
    let output = start().success();
    assert!(output.stdout.contains("secure 1\nvalue 42"), "{output}");
    chown(sample.root.path(&sidecar), Some(MALLORY), Some(GROUP)).expect("chown");
    start().refuses(&[&sidecar]);
}

fn hard_link_next_to_an_attackers_sidecar(variant: Variant) {
    let sample = set_id(variant);
    install_evil(&sample, variant);
    fs::hard_link(sample.root.path(&sample.program), sample.root.path(LINK)).expect("link");
    let start = || sample.root.command(LINK).user(MALLORY).arg("ids").output();
    let output = start().success();
    assert_eq!(output.stdout, AS_ROOT, "{output}");

    // Without the real sidecar, the program does not run under any name.
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    start().refuses(&[&sidecar_of(&sample.program)]);
    let output = sample
        .root
        .command("./program")
        .cwd("/bad")
        .user(MALLORY)
        .output();
    output.refuses(&[&sidecar_of(&sample.program)]);
}

/// The attack of the test above works if the program is not set-id.
fn attackers_sidecar_works_for_the_attacker_alone(variant: Variant) {
    let sample = Sample::new(variant);
    install_evil(&sample, variant);
    sample
        .root
        .install(&sample.root.path(&sample.program), LINK);
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    let output = sample.root.command(LINK).user(MALLORY).output().success();
    assert_eq!(output.stdout, "value 668\n", "{output}");
}

fn sidecar_that_others_may_write(variant: Variant) {
    for mode in [0o646, 0o664] {
        let sample = set_id(variant);
        let sidecar = sidecar_of(&sample.program);
        set_mode(&sample.root.path(&sidecar), mode);
        let output = sample.command().user(MALLORY).output();
        output.refuses(&[&sidecar]);
    }
}

fn sidecar_of_another_owner(variant: Variant) {
    let sample = set_id(variant);
    let sidecar = sidecar_of(&sample.program);
    chown(sample.root.path(&sidecar), Some(MALLORY), Some(MALLORY)).expect("chown");
    sample.command().user(MALLORY).output().refuses(&[&sidecar]);
}

fn no_debug_output(variant: Variant) {
    let sample = set_id(variant);
    let debug = |run: e2e::Run<'_>| run.env("WRAP_BUDDY_DEBUG", "1").output().success().stderr;
    assert_eq!(debug(sample.command().user(MALLORY)), "");
    assert!(
        debug(sample.command()).contains("wrap-buddy"),
        "debug output where it is allowed"
    );
}

fn relocatable_refuses_to_run(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping();
    wrapping.args(["--relocatable", "--allow-outside"]).run();
    sample.run();
    // The stub itself returns EINVAL.
    let words = [sample.loader(), " denied or damaged".into()];
    sample.command().secure().output().refuses(&words);
    set_mode(&sample.root.path(&sample.program), 0o4755);
    sample.command().user(MALLORY).output().refuses(&words);
}

fn set_id_file_is_not_made_relocatable(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    set_mode(&sample.root.path(&sample.program), 0o4755);
    let before = sample.root.read(&sample.program);
    let output = sample.wrapping().args(["--relocatable"]).command().output();
    assert_eq!(output.status, Some(1), "{output}");
    let report = format!("{}{}", output.stdout, output.stderr);
    assert!(
        report.contains("set-id") || report.contains("set-user-ID"),
        "{output}"
    );
    assert!(
        sample.root.read(&sample.program) == before,
        "the file was changed"
    );
    assert!(!sample.root.path(&sidecar_of(&sample.program)).exists());
}

/// A write to the program would remove its set-id bit.
fn sidecar_that_writers_of_the_set_id_program_may_write(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    set_mode(&sample.root.path(&sample.program), 0o4775);
    sample.wrap();
    let sidecar = sample.root.path(&sidecar_of(&sample.program));
    let mode = || {
        fs::metadata(&sidecar)
            .expect("a sidecar")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(), 0o644);
    let start = || sample.command().user(MALLORY).arg("ids").output();
    assert_eq!(start().success().stdout, AS_ROOT);
    set_mode(&sidecar, 0o664);
    start().refuses(&[sidecar_of(&sample.program)]);
}

/// A wrapped program that runs as root for every caller.
fn set_id(variant: Variant) -> Sample {
    let sample = Sample::new(variant);
    set_mode(&sample.root.path(&sample.program), 0o4755);
    sample
}

/// The files that an attacker can make: a sidecar with the program's id, from a copy of the program, that finds other libraries.
fn install_evil(sample: &Sample, variant: Variant) {
    let root = &sample.root;
    let evil = Build::library(variant, source("lib/foo.c"), "libfoo.so")
        .flag("-DVALUE=666")
        .build();
    root.install(&evil, "/bad/lib/libfoo.so");
    root.install(&sample.built, LINK);
    root.wrap(LINK).libs(["/bad/lib"]).run();
    let id = |path: &str| {
        let sidecar = root.read(&sidecar_of(path));
        Sidecar::parse(&sidecar).expect("just written").header().id
    };
    assert_eq!(
        id(LINK),
        id(&sample.program),
        "an attack that cannot work proves nothing"
    );
    fs::remove_file(root.path(LINK)).expect("the copy has done its duty");
    for path in ["/bad", &sidecar_of(LINK)] {
        chown(root.path(path), Some(MALLORY), Some(MALLORY)).expect("chown");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}
