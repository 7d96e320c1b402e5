//! Faults of the system around a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use std::path::Path;

use e2e::{Arch, Build, Kind, Libc, Variant, run, source, tool};
use serde_json::Value;
use wrap_buddy::commands::check::diagnosis::Diagnosis;

use crate::cases::foreign_program;
use crate::checking::diagnoses;

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);

/// Runs `script` in a mount namespace of its own, with the tool, a program and a directory as its arguments.
fn in_namespace(script: &str, program: &str, directory: &str) -> e2e::Output {
    let tool = tool::path().display().to_string();
    // A user namespace has binfmt_misc handlers of its own (Linux 6.7).
    let whole = ["-Urm", "sh", "-ec", script, "sh", &tool, program, directory];
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

/// Runs `setup` and then the tool on a program, in a namespace in which it may mount.
fn said_after(setup: &str, program: &Path) -> (String, Vec<String>) {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    let script = format!("{setup}\n\"$1\" check \"$2\" || true\n");
    let program = program.display().to_string();
    let shown = |text: &str| text.replace(&place, "/PLACE").replace(&program, "/PROGRAM");
    let text = in_namespace(&script, &program, &place).success().stdout;
    let script = script.replace("check", "check --format json");
    let json = in_namespace(&script, &program, &place).success().stdout;
    let document: Value = serde_json::from_str(&json).expect("JSON");
    (shown(&text), diagnoses(&document["files"][0]))
}

/// The report on a tree with `diagnosis`, for those that need a mount.
pub fn said_of(diagnosis: Diagnosis) -> Option<(String, Vec<String>)> {
    let emulated = |interpreter: &str, flags: &str| {
        // By e_machine, which is EM_AARCH64.
        let setup = format!(
            r#"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
            [ -z "{interpreter}" ] || printf '%s' ':other:M:18:\xb7\x00::{interpreter}:{flags}' \
                > /proc/sys/fs/binfmt_misc/register"#
        );
        Some(said_after(&setup, &foreign_program()))
    };
    match diagnosis {
        Diagnosis::NoEmulator => emulated("", ""),
        Diagnosis::EmulatorGone => emulated("/none/emulator", ""),
        Diagnosis::Emulated => emulated("/bin/true", "F"),
        Diagnosis::NoExec => {
            let setup = r#"mount -t tmpfs -o noexec none "$3"; cp "$2" "$3/program"; set "$1" "$3/program" "$3""#;
            let built = Build::program(HOST, source("hello.c")).build();
            Some(said_after(setup, &built))
        }
        _ => None,
    }
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
        false => "it is for aarch64, and no emulator for that is registered",
    };
    assert!(output.stdout.contains(expected), "{output}");
}

/// If nix-locate knows a package with the missing library, the report names it.
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
    let expected = "libfoo.so is not found; the nixpkgs package foo.out has it";
    assert!(output.stdout.contains(expected), "{output}");
}
