//! `check --fix` runs the commands that `check` proposes.

use e2e::{Arch, Variant, matrix};

use crate::cases::at_home;

matrix!([x86_64_glibc_pie i686_glibc_pie aarch64_glibc_pie x86_64_glibc_exec i686_glibc_exec aarch64_glibc_exec]: (
    a_program_that_lacks_a_library_starts_afterwards
));

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
