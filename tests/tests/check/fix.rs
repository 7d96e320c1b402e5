//! `check --fix` runs the commands that `check` proposes.

use e2e::{Arch, Variant, matrix};

use crate::cases::at_home;

matrix!(glibc: a_program_that_lacks_a_library_starts_afterwards, wrapping_without_libraries_asks_on_a_terminal);

fn a_program_that_lacks_a_library_starts_afterwards(variant: Variant) {
    let sample = at_home(variant, &[]);
    let program = sample.program.as_str();
    let before = sample.root.read(program);
    let fix = |more: &[&str]| {
        let check = ["check", program, "--find-in", &sample.library_dir, "--fix"];
        let run = sample.root.wrap_buddy().args(check);
        run.args(more.iter().copied()).output()
    };

    // The tests have no terminal.
    let output = fix(&[]);
    assert_eq!(output.status, Some(1), "{output}");
    assert!(
        output.stderr.contains("no terminal to ask on: pass --yes"),
        "{output}"
    );
    assert!(sample.root.read(program) == before, "{output}");

    let output = fix(&["--dry-run"]).success();
    assert!(output.stdout.contains(": would be wrapped"), "{output}");
    assert!(sample.root.read(program) == before, "{output}");

    let output = fix(&["--yes"]);
    assert!(output.stdout.contains(": wrapped"), "{output}");
    // For other architectures, `check` misses an emulator here.
    if variant.arch == Arch::host() {
        assert!(output.stdout.contains(": ok ("), "{output}");
        assert_eq!(output.status, Some(0), "{output}");
    }
    sample.run();

    let output = fix(&["--yes"]);
    assert!(!output.stdout.contains(": wrapped"), "{output}");
}

fn wrapping_without_libraries_asks_on_a_terminal(variant: Variant) {
    let sample = at_home(variant, &[]);
    let program = sample.program.as_str();
    let before = sample.root.read(program);
    let wrap = |more: &[&str]| {
        let run = sample.root.wrap_buddy().arg(program);
        let run = run.args(more.iter().copied());
        run.env("WRAP_BUDDY_FIND_IN", &sample.library_dir)
    };
    let is_unchanged = || sample.root.read(program) == before;
    let proposal = format!(
        "1 file would not start; missing: libfoo.so\r\n$ wrap-buddy --paths {program} --libs {}",
        sample.library_dir
    );

    let output = wrap(&[]).output();
    assert_eq!(output.status, Some(1), "{output}");
    let next = format!("next: wrap-buddy check {program} --fix\n");
    assert!(output.stderr.contains(&next), "{output}");
    assert!(!output.stderr.contains("$ wrap-buddy"), "{output}");
    assert!(is_unchanged(), "{output}");

    let output = wrap(&["--dry-run"]).on_terminal().output().success();
    assert!(output.stdout.starts_with(&proposal), "{output}");
    assert!(output.stdout.contains("would be wrapped"), "{output}");
    assert!(!output.stdout.contains("[y/N]"), "{output}");
    assert!(is_unchanged(), "{output}");

    let output = wrap(&[]).on_terminal().stdin("n\n").output();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.stdout.contains(&proposal), "{output}");
    let parts: Vec<&str> = output.stdout.split("Run this? [y/N] ").collect();
    assert_eq!(parts.len(), 2, "{output}");
    assert!(parts[1].contains("nothing was changed"), "{output}");
    assert!(is_unchanged(), "{output}");

    let restore = || {
        let restore = sample.root.wrap_buddy().args(["restore", program]);
        restore.output().success();
    };
    // Other flags of the command line are kept.
    let output = wrap(&["--self-contained", "-vv"]);
    let output = output.on_terminal().stdin("y\n").output();
    assert!(output.stdout.contains("in the sidecar"), "{output}");
    sample.run();

    restore();
    let output = wrap(&["--yes"]).output();
    assert!(output.stdout.contains(": wrapped"), "{output}");
    sample.run();

    // Nothing is asked where libraries are named.
    restore();
    let named = wrap(&[]).env("WRAP_BUDDY_LIBS", &sample.library_dir);
    let output = named.on_terminal().output().success();
    assert!(!output.stdout.contains("[y/N]"), "{output}");
    sample.run();
}
