//! `--embedded`: the settings follow the stub in the program, which then starts without its sidecar.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::check::sidecar_of;
use e2e::{Output, Sample, Variant, matrix, says};
use sidecar::{EditKind, Sidecar};

matrix!(all:
    starts_without_its_sidecar, copied_renamed_and_linked, from_a_memfd, started_by_ld_so, restored_without_a_sidecar,
    settings_are_those_of_the_program, damaged_settings, program_without_room_needs_its_sidecar, wrapped_again_with_other_settings,
    relocatable_with_a_loader_of_its_tree, set_id_program,
);

fn starts_without_its_sidecar(variant: Variant) {
    let sample = wrapped(variant);
    says(sample.command().without_proc().output());
    let open = sample.command().arg("descriptors").output().success();
    assert_eq!(open.stdout, "0\n1\n2\n", "{open}");
    // All of it is in padding, and no byte of the original is covered.
    let original = fs::read(&sample.built).expect("built before");
    let now = sample.root.read(&sample.program);
    assert_eq!(now.len(), original.len());
    let changed = original.iter().zip(&now).filter(|(was, is)| was != is);
    let covered = changed.filter(|(was, _)| **was != 0).count();
    // e_entry and the type of the former PT_INTERP.
    assert!(covered <= 9, "{covered} bytes");
}

fn copied_renamed_and_linked(variant: Variant) {
    let sample = wrapped(variant);
    let root = &sample.root;
    root.install(&root.path(&sample.program), "/srv/copy");
    says(root.command("/srv/copy").output());
    fs::hard_link(root.path(&sample.program), root.path("/srv/link")).expect("link");
    says(root.command("/srv/link").output());
    fs::rename(root.path(&sample.program), root.path("/app/other")).expect("rename");
    says(root.command("/app/other").output());
    for path in ["/srv/copy", "/app/other"] {
        assert_eq!(reported(&sample, path), "wrapped");
        let check = tool(
            &sample,
            &["check", path, "--interpreter", &sample.interpreter()],
        );
        assert!(check.stdout.contains(", wrapped, "), "{check}");
        assert!(!check.stdout.contains("sidecar"), "{check}");
    }
}

fn from_a_memfd(variant: Variant) {
    says(wrapped(variant).command_from_memfd().output());
}

fn started_by_ld_so(variant: Variant) {
    says(wrapped(variant).command_by_ld_so().output());
}

/// Also a copy. A second run has nothing to do.
fn restored_without_a_sidecar(variant: Variant) {
    let sample = wrapped(variant);
    let root = &sample.root;
    root.install(&root.path(&sample.program), "/srv/copy");
    let original = fs::read(&sample.built).expect("built before");
    for path in [&*sample.program, "/srv/copy"] {
        tool(&sample, &["restore", path]).success();
        assert!(root.read(path) == original, "{path}");
        assert_eq!(reported(&sample, path), "original");
    }
    // With its sidecar.
    embed(&sample);
    tool(&sample, &["restore", &sample.program]).success();
    assert!(root.read(&sample.program) == original);
    assert!(!root.path(&sidecar_of(&sample.program)).exists());
}

/// A sidecar next to a copy, or where the stub names one, does not count at a start.
fn settings_are_those_of_the_program(variant: Variant) {
    let sample = wrapped(variant);
    let root = &sample.root;
    root.install(&root.path(&sample.program), "/srv/copy");
    // The same program gets a sidecar with other settings.
    tool(&sample, &["restore", &sample.program]).success();
    root.mkdir("/srv/more");
    let wrapping = sample.wrapping();
    wrapping
        .args(["--embedded", "--runtime-dependencies", "/srv/more"])
        .run();
    says(root.command("/srv/copy").output());
    let status = tool(&sample, &["status", "/srv/copy"]);
    assert!(!status.stdout.contains("/srv/more"), "{status}");
    let status = tool(&sample, &["status", &sample.program]);
    assert!(status.stdout.contains("/srv/more"), "{status}");
    assert!(
        status
            .stdout
            .contains("in the program, which starts without its sidecar"),
        "{status}"
    );
    // Its own is not read either.
    root.write(&sidecar_of(&sample.program), "damaged");
    sample.run();
    fs::remove_file(root.path(&sidecar_of(&sample.program))).expect("there");
    root.mkdir(&sidecar_of(&sample.program));
    sample.run();
}

fn damaged_settings(variant: Variant) {
    let sample = wrapped(variant);
    let good = sample.root.read(&sample.program);
    let at = record_of(&good);
    // The text at the end may be changed.
    for offset in [0, 8, 16, 40, 100] {
        let mut bad = good.clone();
        bad[at + offset] ^= 0x10;
        sample.root.write(&sample.program, &bad);
        let output = sample.command().output();
        output.refuses(&[format!("{}: ", sample.program)]);
        // It cannot be restored, and stays as it is.
        tool(&sample, &["restore", &sample.program]).exits_with(1);
        assert!(sample.root.read(&sample.program) == bad, "{offset}");
    }
}

/// A note says so, and the program is wrapped as without the flag.
fn program_without_room_needs_its_sidecar(variant: Variant) {
    let sample = Sample::with_room(variant);
    let long = format!("/srv/{}", vec!["d".repeat(200); 9].join("/"));
    sample.root.mkdir(&long);
    let wrapping = sample.wrapping();
    let output = wrapping
        .args(["--embedded", "--runtime-dependencies", &long])
        .command()
        .output()
        .success();
    assert!(
        output
            .stdout
            .contains("its sidecar is needed at every start"),
        "{output}"
    );
    sample.run();
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    sample
        .command()
        .output()
        .refuses(&[&sidecar_of(&sample.program)]);
}

fn wrapped_again_with_other_settings(variant: Variant) {
    let sample = Sample::with_room(variant);
    let original = fs::read(&sample.built).expect("built before");
    let root = &sample.root;
    root.mkdir("/srv/more");
    embed(&sample);
    let first = root.read(&sample.program);
    for more in [
        &[][..],
        &["--embedded", "--runtime-dependencies", "/srv/more"],
        &["--strategy", "inplace"],
        &["--embedded"],
        &["--self-contained"],
        &["--embedded"],
    ] {
        let wrapping = sample.wrapping();
        let wrapping = match more.first() {
            Some(&"--self-contained") => wrapping.without_loader_dir(),
            _ => wrapping,
        };
        // Programs with a stub are not edited in place.
        let _ = wrapping.args(more.iter().copied()).command().output();
        sample.run();
    }
    assert!(root.read(&sample.program) == first, "other settings");
    // Its sidecar is written again if it is gone, and nothing else is.
    fs::remove_file(root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    embed(&sample);
    assert!(root.read(&sample.program) == first);
    let sidecar = root.read(&sidecar_of(&sample.program));
    let sidecar = Sidecar::parse(&sidecar).expect("just written");
    assert!(
        sidecar
            .edits()
            .flatten()
            .any(|edit| edit.kind == EditKind::Slot)
    );
    tool(&sample, &["restore", &sample.program]).success();
    assert!(root.read(&sample.program) == original);
}

fn relocatable_with_a_loader_of_its_tree(variant: Variant) {
    let sample = Sample::with_room(variant);
    let root = &sample.root;
    tool(&sample, &["generate", "loaders", "/app/loaders"]).success();
    let wrapping = sample.wrapping().without_loader_dir();
    let flags = [
        "--relocatable",
        "--allow-outside",
        "--loader-dir-path",
        "/app/loaders",
    ];
    wrapping.args(flags).args(["--embedded"]).run();
    fs::remove_file(root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    sample.run();
    fs::rename(root.path("/app"), root.path("/moved")).expect("rename");
    says(root.command("/moved/program").output());
}

/// Nobody can replace settings that are in the program.
fn set_id_program(variant: Variant) {
    let sample = wrapped(variant);
    let program = sample.root.path(&sample.program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("chmod");
    says(sample.command().secure().output());
    assert_eq!(reported(&sample, &sample.program), "wrapped");
}

fn tool(sample: &Sample, words: &[&str]) -> Output {
    sample
        .root
        .wrap_buddy()
        .args(words.iter().copied())
        .output()
}

/// The state that `status` reports.
fn reported(sample: &Sample, path: &str) -> String {
    let output = tool(sample, &["status", path]);
    let line = output.stdout.lines().next().unwrap_or_default();
    let state = line.split_once(": ").map(|(_, state)| state);
    state.unwrap_or_else(|| panic!("{output}")).to_owned()
}

/// Offset of the settings in the program.
fn record_of(program: &[u8]) -> usize {
    let magic = sidecar::MAGIC.to_le_bytes();
    let places = program.windows(magic.len());
    let found: Vec<usize> = places
        .enumerate()
        .filter(|(_, bytes)| *bytes == magic)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(found.len(), 1);
    found[0]
}

/// At `/app/program`, wrapped, without its sidecar.
fn wrapped(variant: Variant) -> Sample {
    let sample = Sample::with_room(variant);
    embed(&sample);
    sample.run();
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("a sidecar");
    sample
}

#[track_caller]
fn embed(sample: &Sample) {
    sample.wrapping().args(["--embedded"]).run();
}
