//! The README's walk-through: a program and two libraries, without a dynamic linker at the path of the FHS.

use std::fs;

use e2e::{Build, Root, Variant, Wrapped, assert_fails_unwrapped, matrix, source};

matrix!(all: fails_before_and_runs_after);

fn fails_before_and_runs_after(variant: Variant) {
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so").build();
    let built = Build::program(variant, source("walkthrough.c"))
        .flag(format!(
            "-Wl,--dynamic-linker={}",
            variant.fhs_interpreter()
        ))
        .link(&inner)
        .link(&outer)
        .build();
    let root = Root::new(variant);
    let libs = [
        root.package("foo", &[&inner]),
        root.package("bar", &[&outer]),
    ];
    root.install(&built, "/app/main");
    assert_fails_unwrapped(root.command("/app/main"));

    let report = root.wrap("/app/main").libs(libs).args(["-vv"]).run();
    let original = fs::read(&built).expect("built above");
    Wrapped::read(&root, "/app/main", original).check();
    let interpreter = root.interpreter(variant.arch, variant.libc);
    for words in ["/app/main", &interpreter, "PT_INTERP", ".main.wrapbuddy"] {
        assert!(
            report.stdout.contains(words),
            "{words:?} in the report; {report}"
        );
    }

    let output = root.command("/app/main").output().success();
    assert_eq!(output.stdout, "foo 40, bar 42\n");
}
