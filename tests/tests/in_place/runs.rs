//! Repeated runs: with the same directories, with others, or after another tool has changed the file.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use e2e::check::sidecar_of;
use e2e::run::on_host;
use e2e::toolchain::file_name;
use e2e::{Edited, Root, Sample, Variant, matrix};

use super::{Opener, SAYS, bar, foo};

matrix!(systems:
    second_run_of_a_library_changes_nothing, other_directories_replace_the_first, stripped_library_is_mended,
    shortened_path_is_mended, dry_run_writes_nothing, fewer_directories_do_not_change_a_library,
);
matrix!(all: second_run_of_a_program_changes_nothing, other_settings_replace_the_first, stripped_program_is_mended);

fn second_run_of_a_library_changes_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let plugin = opener.install(&bar(variant, &[]));
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap(&plugin, &[&dir]).run();
    let before = traces(&opener.root, &plugin);
    let report = opener.wrap(&plugin, &[&dir]).report().success();
    report
        .file(&plugin)
        .is("skipped", &["already edited in place"]);
    assert_eq!(traces(&opener.root, &plugin), before);
}

fn second_run_of_a_program_changes_nothing(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let before = traces(&sample.root, &sample.program);
    // It stays edited in place with every strategy.
    for strategy in ["inplace", "auto", "stub"] {
        let report = sample.wrapping().args(["--strategy", strategy]).report();
        let report = report.success();
        report
            .file(&sample.program)
            .is("skipped", &["already edited in place"]);
        assert_eq!(traces(&sample.root, &sample.program), before, "{strategy}");
    }
}

/// Contents, inodes and times of a file and its sidecar: everything that a run could change.
fn traces(root: &Root, path: &str) -> Vec<(Vec<u8>, u64, i64, i64)> {
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
        // Nothing of the earlier path is left: the sidecar accounts for every byte.
        opener.edited(&built, &plugin).searches("RUNPATH", &[dir]);
        opener.says(&plugin, SAYS);
    }
}

/// Without its earlier directories, it would not find a library that it finds.
fn fewer_directories_do_not_change_a_library(variant: Variant) {
    let opener = Opener::new(variant);
    let plugin = opener.install(&bar(variant, &[]));
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap("/app/plugins", &[&dir]).run();
    let before = traces(&opener.root, &plugin);
    let words = ["already edited in place", "libraries would be missing"];
    let report = opener.wrap("/app/plugins", &[]).report().success();
    report.file(&plugin).is("skipped", &words);
    let output = opener.wrap("/app/plugins", &[]).run();
    let warning = format!("warning: {plugin}: {}", words[0]);
    assert!(output.stderr.contains(&warning), "{output}");
    assert!(output.stderr.contains("libfoo.so"), "{output}");
    assert!(!output.stderr.contains("cannot be loaded"), "{output}");
    let report = opener.wrap(&plugin, &[]).report().exits_with(1);
    report.file(&plugin).is("failed", &words);
    assert_eq!(traces(&opener.root, &plugin), before);
    opener.says(&plugin, SAYS);
}

/// The dynamic linker changes too, and its path fits into the program's own.
fn other_settings_replace_the_first(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    let root = &sample.root;
    let built = fs::read(&sample.built).expect("built before");
    let first = root.read(&sample.program);
    let interpreter = format!("/i/{}", file_name(sample.interpreter().as_ref()));
    root.mkdir("/i");
    symlink(sample.interpreter(), root.path(&interpreter)).expect("a link in a fresh directory");
    let moved = root.package("moved", &[foo(variant)]);
    fs::remove_dir_all(root.path(&sample.library_dir)).expect("remove a package");
    let wrap = root.wrap(&sample.program).libs([&moved]);
    let wrap = wrap.interpreter(&interpreter);
    wrap.args(["--strategy", "inplace"]).run();
    let edited = Edited::read(root, &sample.program, built);
    assert!(edited.dynamic("RUNPATH")[0].contains(&moved));
    assert!(!edited.dynamic("RUNPATH")[0].contains(&sample.library_dir));
    sample.run();

    // Back to the first settings: every byte is the same.
    root.package("foo", &[foo(variant)]);
    sample.edit();
    assert!(
        root.read(&sample.program) == first,
        "the order of runs shows"
    );
}

fn dry_run_writes_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let report = opener.wrap(&plugin, &[&dir]).args(["--dry-run"]).report();
    let report = report.success();
    report.file(&plugin).is("would-edit", &[]);
    assert_eq!(report.file(&plugin).search_path(), [dir.as_str()]);
    opener.is_untouched(&built, &plugin);
}

fn stripped_program_is_mended(variant: Variant) {
    let sample = Sample::new_in_place(variant);
    strip(variant, &sample.root, &sample.program);
    let output = sample.command().output().exits_with(127);
    assert!(output.stderr.contains("libfoo.so"), "{output}");
    let report = sample.wrapping().args(["--strategy", "auto"]).report();
    let report = report.success();
    report.file(&sample.program).is("edited", &["strip"]);
    sample.run();
}

/// patchelf writes a shorter path over the existing one.
fn shortened_path_is_mended(variant: Variant) {
    let opener = Opener::new(variant);
    let plugin = opener.install(&bar(variant, &[]));
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap(&plugin, &[&dir]).run();
    let edited = opener.root.read(&plugin);
    let file = opener.root.path(&plugin);
    on_host(
        "patchelf",
        &["--set-rpath", "/no", file.to_str().expect("UTF-8")],
    )
    .success();
    opener.refuses(&plugin, "libfoo.so");
    opener.wrap(&plugin, &[&dir]).run();
    opener.says(&plugin, SAYS);
    assert!(
        opener.root.read(&plugin) == edited,
        "more was changed than the path"
    );
}

/// Strips a file, and asserts that this removed something.
fn strip(variant: Variant, root: &Root, path: &str) {
    let file = root.path(path);
    let len = || fs::metadata(&file).expect("a file").len();
    let before = len();
    let strip = variant.arch.compiler().binutil("strip");
    on_host(strip, &[file.to_str().expect("UTF-8")]).success();
    assert!(len() < before, "not stripped");
}

/// strip writes a new file, without the bytes outside sections.
fn stripped_library_is_mended(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.wrap(&plugin, &[&dir]).run();
    strip(variant, &opener.root, &plugin);

    // The edit is lost, but the library still works.
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
        .is("skipped", &["already edited in place"]);
}
