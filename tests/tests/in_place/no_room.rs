//! Libraries that have no room for anything: programs load what they need.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Edited, Libc, Root, Variant, Wrapped, matrix, source, toolchain};

use super::{Opener, bar, foo};

matrix!(systems:
    programs_load_what_it_needs, programs_lend_their_rpath, nobody_to_load_what_it_needs, many_without_room,
);
matrix!(glibc: own_runpath_inherits_nothing);

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
    let advice = ["--search", "rpath", "--runtime-dependencies", &dir];
    let told = format!("wrapped with {}", advice.join(" "));
    let words = ["no room for a search path", told.as_str()];
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

    // What the report says to do is what helps, and then it has nothing more to say.
    opener.refuses(&plugin, "libfoo.so");
    let wrap = || opener.wrap("/app", &[&dir]).args(advice);
    for _ in ["first", "again"] {
        let report = wrap().report().success();
        let words = [words[0], "by way of /app/open"];
        report.file(&plugin).is("skipped", &words);
        opener.says(&plugin, "42\n");
    }
    let output = wrap().run();
    assert!(!output.stderr.contains("no room"), "{output}");
}

/// Libraries that are told of the same are told of together.
fn many_without_room(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant);
    for name in ["one", "two"] {
        opener
            .root
            .install(&built, &format!("/app/plugins/{name}.so"));
    }
    let dir = opener.root.package("foo", &[foo(variant)]);
    let output = opener.wrap("/app/plugins", &[&dir]).run();
    let mut lines = output.stderr.lines();
    let warning = lines.find(|line| line.starts_with("warning: 2 files: no room"));
    assert!(warning.is_some(), "{output}");
    let files: Vec<&str> = lines.by_ref().take(2).collect();
    assert_eq!(
        files,
        ["  /app/plugins/one.so", "  /app/plugins/two.so"],
        "{output}"
    );
}

/// A library with a DT_RUNPATH of its own inherits nothing from glibc's programs.
fn own_runpath_inherits_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let lld = toolchain::lld();
    let flags: Vec<&str> = lld.iter().map(String::as_str).collect();
    let flags = [&flags[..], &["-Wl,--enable-new-dtags,-rpath,/gone"]].concat();
    let plugin = opener.install(&bar(variant, &flags));
    let dir = opener.root.package("foo", &[foo(variant)]);
    let advice = ["--needed", "libfoo.so"];
    let told = format!("wrapped with {}", advice.join(" "));
    let report = opener.wrap("/app/plugins", &[&dir]).report().success();
    report
        .file(&plugin)
        .is("skipped", &["no room for a search path", &told]);

    opener.refuses(&plugin, "libfoo.so");
    let rpath = ["--search", "rpath", "--runtime-dependencies", &dir];
    opener.wrap("/app/open", &[&dir]).args(rpath).run();
    opener.refuses(&plugin, "libfoo.so");
    opener.wrap("/app/open", &[&dir]).args(advice).run();
    opener.says(&plugin, "42\n");
}
