//! Other tools on files edited in place.

use e2e::debugger::{gdb, shows_everything};
use e2e::toolchain::lld;
use e2e::{Build, Root, Run, Variant, assert_fails_unwrapped, matrix, source};

use super::{SAYS, bar, foo};

matrix!(systems: linkers_link_against_an_edited_library);
matrix!(native: debugger_breaks_in_a_library_at_the_start);

/// Linkers read the library's strings, and search for its needs.
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
        // The library finds its needs because it was edited.
        assert_eq!(report.success().file("/app/program").needed(), [""; 0]);
        let output = root.command("/app/program").output().success();
        assert_eq!(output.stdout, SAYS, "{output}");
    }
}

/// As in the same program linked for its location: a pending breakpoint, in a function of a library's library, is set and hit when
/// that is loaded.
fn debugger_breaks_in_a_library_at_the_start(variant: Variant) {
    let root = Root::new(variant);
    let library = bar(variant, &[]);
    let packages = [
        root.package("bar", &[&library]),
        root.package("foo", &[foo(variant)]),
    ];
    let build = Build::program(variant, source("indirect.c"))
        .flag("-Wl,--allow-shlib-undefined")
        .link(&library);
    let program = root.install(&build.build(), "/app/program");
    assert_fails_unwrapped(root.command(&program));
    let interpreter = root.interpreter(variant.arch, variant.libc);
    let dirs = [&root.library_dirs()[..], &packages].concat().join(":");
    let linked = build.flag(format!("-Wl,--dynamic-linker={interpreter},-rpath,{dirs}"));
    let linked = root.install(&linked.build(), "/app/linked");

    let wrap = root.wrap(&program).and([&packages[0]]).libs(&packages);
    wrap.args(["--strategy", "inplace"]).run();
    for program in [&linked, &program] {
        let output = starting(gdb(&root), program).output();
        assert!(
            output.stdout.contains("Breakpoint 1 (foo) pending"),
            "{output}"
        );
        let lost = output.stderr.contains("dynamic linker breakpoint");
        assert!(!lost, "gdb does not see libraries come and go; {output}");
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
