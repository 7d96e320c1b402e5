//! The binary itself: exit codes, and the stream of each output.

use std::fs;

use assert_cmd::Command;
use predicates::str::{contains, is_empty};

use wrap_buddy::report::Reporter;

use crate::fixture::*;

fn wrap_buddy() -> Command {
    Command::cargo_bin("wrap-buddy").unwrap()
}

#[test]
fn usage_errors_exit_2() {
    for arguments in [
        &["--libs", "/lib"][..],
        &["--paths"],
        &["--paths", "/x", "--nonsense"],
        &[],
    ] {
        wrap_buddy()
            .args(arguments)
            .assert()
            .code(2)
            .stdout(is_empty())
            .stderr(contains("--help"));
    }
}

#[test]
fn help_and_version_exit_0() {
    wrap_buddy()
        .arg("--version")
        .assert()
        .success()
        .stdout(contains("wrap-buddy 0."));
    let help = wrap_buddy().arg("--help").assert().success();
    for flag in [
        "--runtime-dependencies",
        "--ignore-missing",
        "--relocatable",
        "--jobs",
    ] {
        help.get_output();
        let text = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
        assert!(text.contains(flag), "{flag}");
    }
}

#[test]
fn a_path_that_does_not_exist_exits_1_after_the_others() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh\n");
    wrap_buddy()
        .args(["--paths", "/none/at/all"])
        .arg(&script)
        .assert()
        .code(1)
        .stdout(contains("script: skipped: script: #!/bin/sh"))
        .stdout(contains("1 skipped, 1 needs attention"))
        .stderr("error: /none/at/all: does not exist\n");
}

#[test]
fn quiet_means_errors_only() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh\n");
    let mut command = wrap_buddy();
    command
        .args(["-q", "--libs", "/none", "--paths"])
        .arg(&script);
    command
        .assert()
        .success()
        .stdout(is_empty())
        .stderr(is_empty());
    command.arg("/none/at/all");
    command
        .assert()
        .code(1)
        .stdout(is_empty())
        .stderr(contains("does not exist").count(1));
}

#[test]
fn interpreter_that_is_not_a_dynamic_linker_exits_1() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh\n");
    wrap_buddy()
        .args(["--interpreter", "/etc/passwd", "--paths"])
        .arg(&script)
        .assert()
        .code(1)
        .stderr(contains(
            "--interpreter: /etc/passwd is not a dynamic linker: it is not",
        ));
    wrap_buddy()
        .args(["--interpreter", "/etc", "--paths"])
        .arg(&script)
        .assert()
        .code(1)
        .stderr(contains("/etc is not a dynamic linker: not a regular file"));
}

#[test]
fn json_is_one_document() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh\n");
    let output = wrap_buddy()
        .args(["--format", "json", "--paths", "/none/at/all"])
        .arg(&script)
        .assert()
        .code(1)
        .stderr(is_empty())
        .get_output()
        .stdout
        .clone();
    let document: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(document["summary"]["skipped"], 1);
    assert_eq!(document["summary"]["failed"], 1);
    assert_eq!(document["files"][0]["status"], "skipped");
    assert_eq!(document["files"][1]["reason"], "does not exist");
}

#[test]
fn reports_name_every_fact() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let libs = [dir.path("foo/lib"), dir.path("bar/lib")];
    let arguments = ["wrap-buddy", "--paths", main.to_str().unwrap(), "--libs"];
    let libs = libs.iter().map(|path| path.to_str().unwrap());
    let loaders = dir.path("loaders");
    let rest = ["--loader-dir-path", loaders.to_str().unwrap(), "-vv"];
    let cli = wrap_options(arguments.into_iter().chain(libs).chain(rest));
    let report =
        wrap_buddy::commands::wrap::wrap(&cli, &stages(), &[], &Reporter::default()).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    wrap_buddy::commands::wrap::human::write(&report, cli.output, &mut out, &mut errors).unwrap();
    let text = plain(out);
    let plan = wrapped(&report);
    for fact in [
        "ELF64 x86_64, position-independent",
        Arch::X86_64.interpreter(),
        &format!(
            "{:#x} at file offset {:#x}",
            stub(plan).entry,
            stub(plan).entry_offset
        ),
        "120 bytes",
        ".main.wrapbuddy",
        "PT_INTERP → PT_NULL",
        "libfoo.so.1 → ",
        "1 wrapped",
    ] {
        assert!(text.contains(fact), "{fact} is not in\n{text}");
    }
    let errors = plain(errors);
    assert!(errors.starts_with("warning: ") && errors.contains("loader does not exist yet"));
    assert_eq!(errors.lines().count(), 1, "{errors}");

    let mut out = Vec::new();
    wrap_buddy::report::write_document(&report, &mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let file = &document["files"][0];
    assert_eq!(file["status"], "wrapped");
    assert_eq!(file["machine"], "x86_64");
    assert_eq!(file["edits"][1]["kind"], "interp");
    assert_eq!(file["edits"][1]["before"], "03000000");
    assert_eq!(file["search_path"].as_array().unwrap().len(), 2);
    let after = fs::read(&main).unwrap();
    let offset = file["edits"][0]["offset"].as_u64().unwrap() as usize;
    let stub = file["edits"][0]["after"].as_str().unwrap();
    assert!(stub.starts_with(&format!("{:02x}", after[offset])));
}

/// On a terminal, which `script` provides.
#[test]
fn fix_asks_before_it_writes() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let before = fs::read(&main).unwrap();
    let check = format!(
        "{} check {} --find-in {} --fix",
        assert_cmd::cargo::cargo_bin("wrap-buddy").display(),
        main.display(),
        dir.root.display()
    );
    for (answer, wraps) in [("\n", false), ("n\n", false), ("yes\n", true)] {
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &check, "/dev/null"])
            .env("XDG_DATA_HOME", dir.path("data"))
            .write_stdin(answer)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Run this? [y/N]"), "{text}");
        assert_eq!(output.status.success(), wraps, "{text}");
        assert_eq!(fs::read(&main).unwrap() != before, wraps, "{text}");
    }
}

/// Standard output is not a terminal here.
#[test]
fn colors_can_be_forced() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh\n");
    for (color, forced) in [("auto", false), ("never", false), ("always", true)] {
        let mut command = wrap_buddy();
        command.args(["--color", color, "status"]).arg(&script);
        let output = command.env_remove("CLICOLOR_FORCE").output().unwrap();
        assert_eq!(output.stdout.contains(&b'\x1b'), forced, "{output:?}");
    }
}
