//! Libraries that have no room for anything: programs load what they need.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Edited, Libc, Root, Variant, Wrapped, matrix, source, toolchain};

use super::{Opener, bar, foo};

matrix!(systems: programs_load_what_it_needs, programs_lend_their_rpath, nobody_to_load_what_it_needs);

/// `libbar.so`, linked by lld, which fills every page of a file.
fn crammed(variant: Variant) -> PathBuf {
    let flags = toolchain::lld();
    bar(variant, &flags.each_ref().map(String::as_str))
}

fn programs_load_what_it_needs(variant: Variant) {
    // With musl the library inherits the program's search path.
    let added: &[&str] = match variant.libc {
        Libc::Glibc => &["libfoo.so"],
        Libc::Musl => &[],
    };
    served_by_a_program(variant, "-Wl,--enable-new-dtags", added);
}

/// A DT_RPATH is inherited.
fn programs_lend_their_rpath(variant: Variant) {
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib";
    served_by_a_program(variant, rpath, &[]);
}

/// A program linked to the library and with more flags, wrapped with it; `added` are names it needs for the library.
fn served_by_a_program(variant: Variant, flag: &str, added: &[&str]) {
    let library = crammed(variant);
    let built = Build::program(variant, source("indirect.c"))
        .flags(["-Wl,--allow-shlib-undefined", flag])
        .link(&library)
        .build();
    let original = fs::read(&built).expect("built above");
    for strategy in ["stub", "inplace"] {
        let root = Root::new(variant);
        let program = root.install(&built, "/app/bin/program");
        let path = root.install(&library, "/app/lib/libbar.so");
        let dir = root.package("foo", &[foo(variant)]);
        let wrap = || {
            let wrap = root.wrap("/app").libs([&dir, "/app/lib"]);
            wrap.args(["--strategy", strategy]).report().success()
        };
        let report = wrap();
        let words = ["no room for a search path", "by way of /app/bin/program"];
        report.file(&path).is("skipped", &words);
        assert_eq!(report.file(&program).needed(), added);
        assert!(report.file(&program).search_path().contains(&dir.as_str()));
        let output = root.command(&program).output().success();
        assert_eq!(output.stdout, "42\n", "{output}");
        if strategy == "stub" {
            Wrapped::read(&root, &program, original.clone()).check();
        } else {
            Edited::read(&root, &program, original.clone());
            // Where nothing is left to do, the library is served all the same.
            wrap().file(&path).is("skipped", &words);
        }
    }
}

fn nobody_to_load_what_it_needs(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let words = [
        "no room for a search path",
        "wrapped with --needed libfoo.so",
    ];
    let report = opener.wrap("/app/plugins", &[&dir]).report().success();
    report.file(&plugin).is("skipped", &words);
    let output = opener.wrap("/app/plugins", &[&dir]).run();
    let warning = output
        .stderr
        .lines()
        .find(|line| line.starts_with("warning: "));
    assert!(
        warning.is_some_and(|line| line.contains(words[1])),
        "{output}"
    );

    let report = opener.wrap(&plugin, &[&dir]).report().exits_with(1);
    report.file(&plugin).is("failed", &words);
    opener.is_untouched(&built, &plugin);

    // What the report says to do is what helps.
    opener.refuses(&plugin, "libfoo.so");
    let build = Build::program(variant, source("open.c")).flag("-ldl");
    opener.root.install(&build.build(), "/app/open");
    let wrap = opener.wrap("/app/open", &[&dir]);
    wrap.args(["--needed", "libfoo.so"]).run();
    opener.says(&plugin, "42\n");
}
