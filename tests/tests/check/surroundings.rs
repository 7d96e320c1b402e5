//! What the system around a file does to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Arch, Build, Kind, Libc, Variant, run, source, tool};

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);

/// Runs `script` in a mount namespace of its own, with the tool, a program and a directory as its arguments.
fn in_namespace(script: &str, program: &str, directory: &str) -> e2e::Output {
    let tool = tool::path().display().to_string();
    let whole = ["-m", "sh", "-ec", script, "sh", &tool, program, directory];
    run::on_host("unshare", &whole)
}

#[test]
fn a_file_system_that_nothing_is_executed_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let built = Build::program(HOST, source("hello.c")).build();
    let (program, place) = (
        built.display().to_string(),
        directory.path().display().to_string(),
    );
    let script = r#"
        mount -t tmpfs -o noexec none "$3"
        cp "$2" "$3/program"
        "$1" check "$3/program" && exit 3
        eval "$("$1" check "$3/program" | sed -n 's/^ *next: \(mount .*\)/\1/p')"
        "$1" check "$3/program"
        "$3/program""#;
    let output = in_namespace(script, &program, &place).success();
    let text = output.stdout.replace(&place, "/PLACE");
    assert!(text.ends_with("hello\n"), "{output}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_machine_that_nothing_here_runs_and_one_that_an_emulator_does() {
    let foreign = Variant::new(Arch::Aarch64, Libc::Glibc, Kind::Exec);
    let built = Build::program(foreign, source("hello.c"))
        .flag("-static")
        .build();
    let program = built.display().to_string();
    let output = in_namespace(r#""$1" check "$2""#, &program, "");
    let registered = output.status == Some(0);
    let expected = match registered {
        true => "binfmt_misc: ",
        false => "it is for aarch64, and nothing here runs that",
    };
    assert!(output.stdout.contains(expected), "{output}");
}

/// A package that has a missing library is named, where nix-locate knows.
#[test]
fn a_package_that_has_the_library() {
    let directory = tempfile::tempdir().expect("a directory");
    let library = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let built = Build::program(HOST, source("sample.c"))
        .link(&library)
        .build();
    let locate = directory.path().join("nix-locate");
    fs::write(
        &locate,
        "#!/bin/sh\nfor last; do :; done\n[ \"$last\" = /lib/libfoo.so ] && echo foo.out\n",
    )
    .expect("write a script");
    fs::set_permissions(&locate, fs::Permissions::from_mode(0o755)).expect("chmod");
    let script = r#"PATH="$3:$PATH" "$1" check "$2" --find-in "$3" || true"#;
    let place = directory.path().display().to_string();
    let output = in_namespace(script, &built.display().to_string(), &place);
    let expected = "libfoo.so is not found; nixpkgs has it in foo.out";
    assert!(output.stdout.contains(expected), "{output}");
}
