//! Libraries that a program opens, which no search path and no DT_NEEDED of the program serves.

use e2e::{Build, Variant, matrix, source};

use super::{ALL_NEEDED, Opener, SAYS, bar, calling, foo, other};

matrix!(systems:
    without_a_search_path, runpath_goes_on_working, rpath_is_inherited_as_before, nothing_to_find, missing_library,
);

fn without_a_search_path(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let edited = opener.edit(&built, &plugin, &[&dir]);
    edited.searches("RUNPATH", &[&dir]);
    opener.says(&plugin, SAYS);
}

/// What the file's own search path leads to still comes first, and what is not there is dropped.
fn runpath_goes_on_working(variant: Variant) {
    let opener = Opener::new(variant);
    let beside = Build::library(variant, source("lib/foo.c"), "libfoo.so")
        .flag("-DVALUE=1")
        .build();
    let other = other(variant, "libother.so");
    let built = calling(variant, "bar", "foo")
        .flags([
            ALL_NEEDED,
            "-Wl,--enable-new-dtags,-rpath,/nowhere/lib:$ORIGIN/own",
        ])
        .link(&beside)
        .link(&other)
        .build();
    let plugin = opener.install(&built);
    opener.root.install(&beside, "/app/plugins/own/libfoo.so");
    let decoy = opener.root.package("foo", &[foo(variant)]);
    let dir = opener.root.package("other", &[other]);
    let edited = opener.edit(&built, &plugin, &[&decoy, &dir]);
    edited.searches("RUNPATH", &["$ORIGIN/own", &dir]);
    opener.says(&plugin, "3\n");
}

/// The library that was found needs another one, which is where the plugin's own DT_RPATH leads to.
fn rpath_is_inherited_as_before(variant: Variant) {
    let opener = Opener::new(variant);
    let inner = foo(variant);
    let middle = calling(variant, "middle", "foo").link(&inner).build();
    let built = calling(variant, "bar", "middle")
        .flag("-Wl,--disable-new-dtags,-rpath,$ORIGIN/own")
        .link(&middle)
        .build();
    let plugin = opener.install(&built);
    opener.root.install(&inner, "/app/plugins/own/libfoo.so");
    let dir = opener.root.package("middle", &[middle]);
    let edited = opener.edit(&built, &plugin, &[&dir]);
    edited.searches("RPATH", &["$ORIGIN/own", &dir]);
    opener.says(&plugin, "44\n");
}

/// Nothing but libc, which is there by then; or a search path that will do.
fn nothing_to_find(variant: Variant) {
    let opener = Opener::new(variant);
    let alone = other(variant, "libalone.so");
    let content = bar(variant, &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/own"]);
    opener
        .root
        .install(&foo(variant), "/app/plugins/own/libfoo.so");
    let dir = opener.root.package("foo", &[foo(variant)]);
    for built in [alone, content] {
        let plugin = opener.install(&built);
        let report = opener.wrap(&plugin, &[&dir]).report().success();
        report.file(&plugin).is("skipped", &["finds what it needs"]);
        opener.is_untouched(&built, &plugin);
    }
}

/// Perhaps nobody will ever open a library that was met in a scan.
fn missing_library(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let report = opener.wrap("/app/plugins", &[]).report().success();
    assert_eq!(report.missing_of_libraries(), ["libfoo.so"]);
    report.file(&plugin).is("skipped", &["is missing"]);
    let output = opener.wrap("/app/plugins", &[]).run();
    let said = output.stderr.contains("warning: 1 library is missing");
    assert!(said && output.stderr.contains("libfoo.so"), "{output}");

    let report = opener.wrap(&plugin, &[]).report().exits_with(1);
    report.file(&plugin).is("failed", &["missing"]);
    opener.is_untouched(&built, &plugin);
}
