//! Files that are worked on again: as they were left, with other directories, or after something else has been there.

use std::fs;
use std::os::unix::fs::MetadataExt;

use e2e::check::sidecar_of;
use e2e::run::on_host;
use e2e::toolchain::binutil;
use e2e::{Sample, Variant, matrix};

use super::{Opener, SAYS, bar, foo};

matrix!(systems: second_run_of_a_library_changes_nothing, other_directories_replace_the_first, stripped_library_is_mended);
matrix!(all: second_run_of_a_program_changes_nothing);

fn second_run_of_a_library_changes_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let plugin = opener.install(&bar(variant, &[]));
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap(&plugin, &[&dir]).run();
    let before = traces(&opener.root, &plugin);
    let report = opener.wrap(&plugin, &[&dir]).report().success();
    report
        .file(&plugin)
        .is("skipped", &["edited in place already"]);
    assert_eq!(traces(&opener.root, &plugin), before);
}

fn second_run_of_a_program_changes_nothing(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let before = traces(&sample.root, &sample.program);
    // Whatever the strategy then: it stays what it is.
    for strategy in ["inplace", "auto", "stub"] {
        let report = sample.wrapping().args(["--strategy", strategy]).report();
        let report = report.success();
        report
            .file(&sample.program)
            .is("skipped", &["edited in place already"]);
        assert_eq!(traces(&sample.root, &sample.program), before, "{strategy}");
    }
}

/// All of a file and its sidecar that a run could change: contents, inodes, and when they were written.
fn traces(root: &e2e::Root, path: &str) -> Vec<(Vec<u8>, u64, i64, i64)> {
    let trace = |path: &str| {
        let metadata = fs::metadata(root.path(path)).expect("a file");
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        (root.read(path), metadata.ino(), seconds, nanoseconds)
    };
    [path, &sidecar_of(path)].map(trace).into()
}

fn other_directories_replace_the_first(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let long = opener.root.package(&"foo".repeat(50), &[foo(variant)]);
    let short = opener.root.package("foo", &[foo(variant)]);
    for dir in [&short, &long, &short] {
        opener.wrap(&plugin, &[dir]).run();
        // Nothing is left of the earlier path: the sidecar accounts for every byte.
        opener.edited(&built, &plugin).searches("RUNPATH", &[dir]);
        opener.says(&plugin, SAYS);
    }
}

/// strip writes the file anew, without the bytes that belong to nothing.
fn stripped_library_is_mended(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap(&plugin, &[&dir]).run();
    let file = opener.root.path(&plugin);
    let len = fs::metadata(&file).expect("a file").len();
    on_host(
        binutil("strip", variant.arch),
        &[file.to_str().expect("UTF-8")],
    )
    .success();
    assert!(
        fs::metadata(&file).expect("a file").len() < len,
        "not stripped"
    );

    // The edit is lost, the library is not.
    opener.refuses(&plugin, "libfoo.so");
    let run = opener.root.command("/app/open").arg(&plugin);
    let output = run.env("LD_LIBRARY_PATH", dir.as_str()).output().success();
    assert_eq!(output.stdout, SAYS, "{output}");

    let report = opener.wrap(&plugin, &[&dir]).report().success();
    report.file(&plugin).is("edited", &["strip"]);
    opener.says(&plugin, SAYS);
    let report = opener.wrap(&plugin, &[&dir]).report().success();
    report
        .file(&plugin)
        .is("skipped", &["edited in place already"]);
}
