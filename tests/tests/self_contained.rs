//! `--self-contained`: the loader is in the sidecar, and no other file is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix, says};
use sidecar::Sidecar;
use sidecar::loader::{CLOSING_OFFSET, IMAGE_LEN, MAGIC_OFFSET};

matrix!(all:
    runs_without_a_loader_file, renamed_copied_and_linked, from_a_memfd, without_proc, started_by_ld_so,
    moved_with_its_sidecar_names_the_missing_file, truncated_anywhere, changed_after_its_loader, of_another_program,
    next_to_the_sidecar_of_another_stub, loader_without_its_magic, long_sidecar, wrapped_again_without_and_with_the_flag, secure_start_is_refused,
    later_privilege_is_reported, restored,
);
matrix!(native: without_write_then_execute);

/// cap_net_raw=ep in the format of VFS_CAP_REVISION_2.
const CAPABLE: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn runs_without_a_loader_file(variant: Variant) {
    let sample = wrapped(variant);
    assert!(!sample.root.path(&sample.loader()).exists());
    let sidecar = sample.root.read(&sidecar_of(&sample.program));
    let sidecar = Sidecar::parse(&sidecar).expect("just written");
    let stage = stages::for_machine(variant.arch.machine()).expect("every architecture is built");
    assert!(sidecar.loader() == Ok(Some(stage.loader)), "another loader");
    sample.run();
    let open = sample.command().arg("descriptors").output().success();
    assert_eq!(open.stdout, "0\n1\n2\n", "{open}");
}

fn renamed_copied_and_linked(variant: Variant) {
    let sample = wrapped(variant);
    let root = &sample.root;
    root.install(&root.path(&sample.program), "/srv/copy");
    says(root.command("/srv/copy").output());
    fs::hard_link(root.path(&sample.program), root.path("/srv/link")).expect("link");
    says(root.command("/srv/link").output());
    let hidden = "/app/.program-wrapped";
    fs::rename(root.path(&sample.program), root.path(hidden)).expect("rename");
    says(root.command(hidden).output());
}

fn from_a_memfd(variant: Variant) {
    says(wrapped(variant).command_from_memfd().output());
}

fn without_proc(variant: Variant) {
    says(wrapped(variant).command().without_proc().output());
}

fn started_by_ld_so(variant: Variant) {
    says(wrapped(variant).command_by_ld_so().output());
}

/// The stub looks at one path only; to look elsewhere is the loader's work.
fn moved_with_its_sidecar_names_the_missing_file(variant: Variant) {
    let sample = wrapped(variant);
    fs::rename(sample.root.path("/app"), sample.root.path("/moved")).expect("rename");
    let output = sample.root.command("/moved/program").output();
    output.refuses(&[&sidecar_of(&sample.program), " missing"]);
    let why = format!(
        "it looks for its sidecar at {}, which does not exist; wrap it again",
        sidecar_of(&sample.program)
    );
    for command in ["status", "show"] {
        let run = sample.root.wrap_buddy();
        let output = run.args([command, "/moved/program"]).output();
        assert!(output.stdout.contains(&why), "{output}");
    }
    let run = sample.root.wrap_buddy().args(["check", "/moved/program"]);
    let output = run.args(["--interpreter", &sample.interpreter()]).output();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.stdout.contains(&why), "{output}");
    // The proposed command keeps the program self-contained.
    assert!(output.stdout.contains(" --self-contained"), "{output}");
}

/// The replaced bytes and their number are the same, but not their offset.
fn next_to_the_sidecar_of_another_stub(variant: Variant) {
    let stage = stages::for_machine(variant.arch.machine()).expect("every architecture is built");
    // A trailer has the absolute path of a sidecar or, for relocatable programs, its name.
    let directory = stage.relocatable_self_contained_stub.len() - stage.self_contained_stub.len();
    let program = format!("/{}/program", "d".repeat(directory - 2));
    let sample = Sample::unwrapped_at(variant, &program);
    wrap(&sample);
    let path = sidecar_of(&program);
    let first = sample.root.read(&path);
    sample
        .root
        .install(&sample.root.path(&program), "/srv/copy");
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--relocatable", "--allow-outside"]).run();
    let second = sample.root.read(&path);
    let slot = |sidecar| {
        Sidecar::parse(sidecar)
            .expect("just written")
            .slot()
            .to_vec()
    };
    assert!(slot(&first) == slot(&second), "this compares nothing");
    let output = sample.root.command("/srv/copy").output();
    output.refuses(&[&path, "another program"]);
}

/// Damage to the loader alone does not keep the record from being read.
fn loader_without_its_magic(variant: Variant) {
    let sample = wrapped(variant);
    let path = sidecar_of(&sample.program);
    let mut bytes = sample.root.read(&path);
    bytes[MAGIC_OFFSET] ^= 1;
    sample.root.write(&path, &bytes);
    let run = sample.root.wrap_buddy();
    let output = run.args(["status", &sample.program]).output();
    assert!(
        output.stdout.contains("the loader in its sidecar"),
        "{output}"
    );
    let run = sample.root.wrap_buddy();
    run.args(["restore", &sample.program]).output().success();
    let original = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read(&sample.program) == original);
}

fn truncated_anywhere(variant: Variant) {
    let sample = wrapped(variant);
    let path = sidecar_of(&sample.program);
    let good = sample.root.read(&path);
    let ends = [
        0,
        1,
        20,
        2048,
        CLOSING_OFFSET,
        // The last byte of the loader is zero, so a loader without it reads the same.
        IMAGE_LEN - 2,
        IMAGE_LEN,
        IMAGE_LEN + 8,
        IMAGE_LEN + 100,
        good.len() - 8,
        good.len() - 1,
    ];
    for end in ends {
        sample.root.write(&path, &good[..end]);
        sample.command().output().refuses(&[&path]);
    }
    fs::remove_file(sample.root.path(&path)).expect("there was a sidecar");
    sample.command().output().refuses(&[&path]);
    sample.root.mkdir(&path);
    sample.command().output().refuses(&[&path]);
}

fn changed_after_its_loader(variant: Variant) {
    let sample = wrapped(variant);
    let path = sidecar_of(&sample.program);
    let good = sample.root.read(&path);
    let header = IMAGE_LEN..IMAGE_LEN + sidecar::HEADER_LEN;
    // Without the text at the end, which may be changed.
    let record = Sidecar::parse(&good).expect("just written");
    let behind = header.end..good.len() - record.header().text_len as usize;
    for at in header.step_by(3).chain(behind.step_by(37)) {
        let mut bad = good.clone();
        bad[at] ^= 0x80 >> (at % 8);
        sample.root.write(&path, &bad);
        sample.command().output().refuses(&[&path]);
    }
}

fn of_another_program(variant: Variant) {
    let sample = wrapped(variant);
    let path = sidecar_of(&sample.program);
    let other = Sample::unwrapped_at(variant, "/app/a/much/longer/path/than/before/program");
    wrap(&other);
    let foreign = other.root.read(&sidecar_of(&other.program));
    sample.root.write(&path, foreign);
    sample
        .command()
        .output()
        .refuses(&[&path, "another program"]);
}

/// Almost as many names and directories as the stack has room for.
fn long_sidecar(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let names: Vec<String> = (0..300)
        .map(|index| format!("/srv/{}{index}", "d".repeat(200)))
        .collect();
    for name in &names {
        sample.root.mkdir(name);
    }
    let mut arguments = vec!["--self-contained", "--runtime-dependencies"];
    arguments.extend(names.iter().map(String::as_str));
    sample.wrapping().without_loader_dir().args(arguments).run();
    let sidecar = sample.root.read(&sidecar_of(&sample.program));
    assert!(sidecar.len() > 60_000, "{}", sidecar.len());
    sample.run();
}

fn wrapped_again_without_and_with_the_flag(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    wrap(&sample);
    let path = sidecar_of(&sample.program);
    let first = (sample.root.read(&sample.program), sample.root.read(&path));
    sample.wrap();
    assert!(sample.root.read(&path).len() < IMAGE_LEN);
    sample.run();
    wrap(&sample);
    sample.run();
    let again = (sample.root.read(&sample.program), sample.root.read(&path));
    assert!(first == again, "same settings, another outcome");
}

/// A user who may write next to the program decides which loader runs.
fn secure_start_is_refused(variant: Variant) {
    let sample = wrapped(variant);
    let path = sidecar_of(&sample.program);
    // The stub itself returns EINVAL.
    sample
        .command()
        .secure()
        .output()
        .refuses(&[&path, " denied or damaged"]);
}

/// Set-id bits and capabilities are both reported, with each flag.
fn later_privilege_is_reported(variant: Variant) {
    for (flag, more, capable) in [
        ("--self-contained", None, true),
        ("--relocatable", Some("--allow-outside"), false),
    ] {
        let sample = Sample::unwrapped(variant);
        let wrapping = sample.wrapping().without_loader_dir();
        wrapping.args([flag]).args(more).run();
        let type_in = |words: &[&str]| {
            let run = sample.root.wrap_buddy().env("HOME", "/app/home");
            run.args(words.iter().copied()).output()
        };
        let run = |command| type_in(&[command, &sample.program]);
        assert!(!run("status").stdout.contains("note"));
        let program = sample.root.path(&sample.program);
        match capable {
            true => xattr::set(&program, "security.capability", &CAPABLE).expect("as root"),
            false => {
                fs::set_permissions(&program, fs::Permissions::from_mode(0o2755)).expect("chmod");
            }
        }
        let said = format!("its stub does not start a loader that {flag} put there");
        let advice = format!("wrap it again without {flag}");
        let status = run("status");
        assert!(
            status.stdout.contains(&said) && status.stdout.contains(&advice),
            "{status}"
        );
        let check = run("check");
        assert!(check.stdout.contains(&said), "{check}");
        let words = check.stdout.lines();
        let mut words = words.filter_map(|line| line.strip_prefix("  next: wrap-buddy "));
        let words = shlex::split(words.next().expect("a command")).expect("a command line");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(!words.contains(&flag), "{check}");
        type_in(&words).success();
        says(sample.command().user(1000).output());
    }
}

fn restored(variant: Variant) {
    let sample = wrapped(variant);
    let run = sample.root.wrap_buddy();
    run.args(["restore", &sample.program]).output().success();
    let original = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read(&sample.program) == original);
    assert!(!sample.root.path(&sidecar_of(&sample.program)).exists());
}

fn without_write_then_execute(variant: Variant) {
    says(wrapped(variant).command().deny_write_execute().output());
}

/// At `/app/program`, wrapped, without the root's loaders.
fn wrapped(variant: Variant) -> Sample {
    let sample = Sample::unwrapped(variant);
    wrap(&sample);
    let loader = sample.root.path(&sample.loader());
    fs::remove_file(loader).expect("the root has loaders");
    sample
}

#[track_caller]
fn wrap(sample: &Sample) {
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--self-contained"]).run();
    sample.wrapped();
}
