//! A wrapped program under other names, at other paths, started in other ways.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix, says};

matrix!(all:
    renamed, copied_to_another_directory, hard_linked, symlinked, moved_with_its_sidecar, from_a_memfd,
    copied_by_itself, executed_by_descriptor_after_its_deletion, without_proc, renamed_without_proc,
    path_of_3000_characters,    file_name_of_250_characters, started_by_ld_so, process_1, without_address_space_randomization, by_a_relative_path,
);
// QEMU looks for the program's name when it executes /proc/self/exe.
matrix!(native: executed_again_after_its_deletion);

fn renamed(variant: Variant) {
    let sample = Sample::new(variant);
    let path = |name: &str| sample.root.path(name);
    fs::rename(path("/app/program"), path("/app/.program-wrapped")).expect("rename");
    says(sample.root.command("/app/.program-wrapped").output());
}

fn copied_to_another_directory(variant: Variant) {
    let sample = Sample::new(variant);
    sample
        .root
        .install(&sample.root.path(&sample.program), "/srv/copy");
    says(sample.root.command("/srv/copy").output());
}

fn hard_linked(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    let link = sample.root.path("/srv/link");
    fs::hard_link(sample.root.path(&sample.program), link).expect("link");
    says(sample.root.command("/srv/link").output());
}

fn symlinked(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    symlink("../app/program", sample.root.path("/srv/link")).expect("symlink");
    says(sample.root.command("/srv/link").output());
}

fn moved_with_its_sidecar(variant: Variant) {
    let sample = Sample::new(variant);
    fs::rename(sample.root.path("/app"), sample.root.path("/moved")).expect("rename");
    says(sample.root.command("/moved/program").output());
}

fn from_a_memfd(variant: Variant) {
    says(Sample::new(variant).command_from_memfd().output());
}

fn copied_by_itself(variant: Variant) {
    let sample = Sample::new(variant);
    says(sample.command().args(["copy", "/app/offspring"]).output());
    let copy = sample.root.read("/app/offspring");
    assert!(copy.ends_with(b"payload"));
    sample.root.mkdir("/srv");
    says(sample.command().args(["copy", "/srv/offspring"]).output());
}

fn executed_again_after_its_deletion(variant: Variant) {
    let sample = Sample::new(variant);
    says(sample.command().arg("again").output());
    assert!(!sample.root.path(&sample.program).exists());
}

fn executed_by_descriptor_after_its_deletion(variant: Variant) {
    let sample = Sample::new(variant);
    says(sample.command().arg("again by descriptor").output());
    assert!(!sample.root.path(&sample.program).exists());
}

fn without_proc(variant: Variant) {
    says(Sample::new(variant).command().without_proc().output());
}

fn renamed_without_proc(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    fs::rename(
        sample.root.path(&sample.program),
        sample.root.path("/srv/x"),
    )
    .expect("rename");
    says(sample.root.command("/srv/x").without_proc().output());
}

fn path_of_3000_characters(variant: Variant) {
    let mut path = String::from("/app");
    while path.len() < 2990 {
        path.push('/');
        path.push_str(&"d".repeat(200.min(2993 - path.len())));
    }
    path.push_str("/program");
    assert!(path.len() >= 3000);
    Sample::at(variant, &path).run();
}

fn file_name_of_250_characters(variant: Variant) {
    let path = format!("/app/{}", "n".repeat(250));
    let sample = Sample::at(variant, &path);
    sample.run();
    let sidecar = sidecar_of(&path);
    assert_eq!(sidecar.len(), "/app/..wrapbuddy".len() + 32);
    fs::rename(sample.root.path(&path), sample.root.path("/app/short")).expect("rename");
    says(sample.root.command("/app/short").output());
}

fn started_by_ld_so(variant: Variant) {
    // ld.so has loaded the libraries before the stub runs, so only the search path of the command line counts.
    let sample = Sample::new(variant);
    let libs = [sample.root.library_dirs(), vec![sample.library_dir.clone()]].concat();
    let run = sample.root.command(&sample.interpreter()).cwd("/app");
    says(
        run.args(["--library-path", &libs.join(":"), "./program"])
            .output(),
    );
}

fn process_1(variant: Variant) {
    says(Sample::new(variant).command().as_pid_1().output());
}

fn without_address_space_randomization(variant: Variant) {
    says(Sample::new(variant).command().without_aslr().output());
}

fn by_a_relative_path(variant: Variant) {
    let sample = Sample::new(variant);
    says(sample.root.command("./program").cwd("/app").output());
    says(
        sample
            .root
            .command("../app/program")
            .cwd("/dev")
            .without_proc()
            .output(),
    );
}
