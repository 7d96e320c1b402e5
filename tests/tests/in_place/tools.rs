//! What other tools make of files edited in place.

use e2e::debugger::{gdb, shows_everything};
use e2e::toolchain::lld;
use e2e::{Build, Root, Run, Sample, Variant, matrix, source};

use super::{SAYS, bar, foo};

matrix!(systems: linkers_link_against_an_edited_library);
matrix!(native: debugger_breaks_in_a_library_at_the_start);

/// Linkers read the library's strings, and look at what it needs.
fn linkers_link_against_an_edited_library(variant: Variant) {
    let root = Root::new(variant);
    let library = bar(variant, &[]);
    let package = root.package("bar", &[&library]);
    let path = format!("{package}/libbar.so");
    let inner = foo(variant);
    let dir = root.package("foo", &[&inner]);
    root.wrap(&path).libs([&dir]).run();
    let edited = root.read(&path);
    assert!(
        edited != std::fs::read(&library).expect("built above"),
        "an edit to link against"
    );

    let needed_from = inner.parent().expect("a directory").display();
    for flags in [&[][..], &lld()] {
        let built = Build::program(variant, source("indirect.c"))
            .flag(format!("-Wl,-rpath-link,{needed_from}"))
            .flags(flags.iter().cloned())
            .link(root.path(&path))
            .build();
        root.install(&built, "/app/program");
        let report = root.wrap("/app/program").libs([&package]).report();
        // It finds its own by the edit.
        assert_eq!(report.success().file("/app/program").needed(), [""; 0]);
        let output = root.command("/app/program").output().success();
        assert_eq!(output.stdout, SAYS, "{output}");
    }
}

/// As with the same program linked for where it runs: a breakpoint set before anything is loaded is hit.
fn debugger_breaks_in_a_library_at_the_start(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let interpreter = sample.interpreter();
    let dirs = [sample.root.library_dirs(), vec![sample.library_dir.clone()]].concat();
    let linked = Build::program(variant, source("sample.c"))
        .link(Build::library(variant, source("lib/foo.c"), "libfoo.so").build())
        .flag(format!(
            "-Wl,--dynamic-linker={interpreter},-rpath,{}",
            dirs.join(":")
        ))
        .build();
    let linked = sample.root.install(&linked, "/app/linked");
    for program in [&linked, &sample.program] {
        let output = starting(gdb(&sample.root), program).output();
        shows_everything(variant, &output);
    }
}

fn starting<'r>(gdb: Run<'r>, program: &str) -> Run<'r> {
    let commands = [
        "set breakpoint pending on",
        "break foo",
        "run",
        "info sharedlibrary",
        "backtrace",
        "kill",
    ];
    let commands = commands.into_iter().flat_map(|command| ["-ex", command]);
    gdb.args(commands).args(["--args", program])
}
