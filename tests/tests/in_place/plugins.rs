//! Libraries that a program opens with dlopen, and that the program's search path and DT_NEEDED do not serve.

use std::path::PathBuf;

use e2e::{Build, Libc, Variant, matrix, source, toolchain};

use super::{ALL_NEEDED, Opener, SAYS, bar, calling, foo, other};

matrix!(systems:
    without_a_search_path, runpath_goes_on_working, rpath_is_inherited_as_before, nothing_to_find, missing_library,
    a_library_outside_that_finds_nothing,
);
matrix!(architectures: library_opened_by_a_library_is_found, library_opened_by_a_library_is_in_libs, no_room_for_libraries_that_it_opens, no_room_for_directories_of_libs);
matrix!([x86_64_musl_pie]: (musl_looks_for_the_program));

fn without_a_search_path(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let edited = opener.edit(&built, &plugin, &[&dir]);
    edited.searches("RUNPATH", &[&dir]);
    opener.says(&plugin, SAYS);
}

/// The file's own search path still comes first. Directories that do not exist are dropped.
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

/// The library that was found needs another one, which is on the plugin's own DT_RPATH.
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

/// The library needs only libc, which is loaded already, or its search path is complete.
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
        report
            .file(&plugin)
            .is("skipped", &["finds its dependencies"]);
        opener.is_untouched(&built, &plugin);
    }
}

/// A library that was found in a directory may never be opened.
fn missing_library(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &[]);
    let plugin = opener.install(&built);
    let report = opener.wrap("/app/plugins", &[]).report().success();
    assert_eq!(report.missing_of_libraries(), ["libfoo.so"]);
    report.file(&plugin).is("skipped", &["are missing"]);
    let output = opener.wrap("/app/plugins", &[]).run();
    let said = output.stderr.contains("warning: 1 library is missing");
    assert!(said && output.stderr.contains("libfoo.so"), "{output}");

    let report = opener.wrap(&plugin, &[]).report().exits_with(1);
    report.file(&plugin).is("failed", &["missing"]);
    opener.is_untouched(&built, &plugin);
}

/// Linker flags for a library without and with a search path; the tag of its search path afterwards; and its own directories.
const OWN_PATHS: [(&[&str], &str, &[&str]); 2] = [
    (&[], "RPATH", &[]),
    (
        &["-Wl,--enable-new-dtags,-rpath,$ORIGIN"],
        "RUNPATH",
        &["$ORIGIN"],
    ),
];

/// `libopens.so`, which needs only libc and opens `libfoo.so` by its name.
fn opens(variant: Variant, flags: &[&str]) -> PathBuf {
    let build = Build::library(variant, source("lib/opens.c"), "libopens.so");
    build.flags(flags.iter().copied()).flag("-ldl").build()
}

/// The library's own directories come first. A library without a search path still inherits that of its programs.
fn library_opened_by_a_library_is_found(variant: Variant) {
    for (flags, tag, own) in OWN_PATHS {
        let opener = Opener::new(variant);
        let built = opens(variant, flags);
        let plugin = opener.install(&built);
        let dir = opener.root.package("foo", &[foo(variant)]);
        let given = ["--search-minimal", "--runtime-dependencies", &dir];
        // The program's search path does not help the library.
        opener.wrap("/app/open", &[]).args(given).run();
        let output = opener.open(&plugin).success();
        assert!(output.stdout.contains("libfoo.so"), "{output}");

        let wrap = || opener.wrap("/app", &[]).args(given);
        wrap().report().success().file(&plugin).is("edited", &[]);
        let edited = opener.edited(&built, &plugin);
        edited.searches(tag, &[own, &[dir.as_str()]].concat());
        opener.says(&plugin, SAYS);
        let again = wrap().report().success();
        again
            .file(&plugin)
            .is("skipped", &["already edited in place"]);

        // A library that opens nothing is unchanged.
        let alone = other(variant, "libalone.so");
        let path = opener.install(&alone);
        let report = wrap().report().success();
        report
            .file(&path)
            .is("skipped", &["finds its dependencies"]);
        opener.is_untouched(&alone, &path);
    }
}

/// `--libs` also apply to libraries that a library opens by name, but not to the rest of its strings. Libraries next to the library
/// are not searched for there.
fn library_opened_by_a_library_is_in_libs(variant: Variant) {
    for (flags, tag, own) in OWN_PATHS {
        let opener = Opener::new(variant);
        let built = opens(variant, flags);
        let plugin = opener.install(&built);
        let alone = other(variant, "libalone.so");
        let alone_path = opener.install(&alone);
        let dir = opener.root.package("foo", &[foo(variant)]);
        opener.root.mkdir("/opt/empty");
        let wrap = || opener.wrap("/app", &["/opt/empty", &dir]);

        wrap().args(["--search-minimal"]).run();
        opener.is_untouched(&built, &plugin);
        let output = opener.open(&plugin).success();
        assert!(output.stdout.contains("libfoo.so"), "{output}");

        let report = wrap().report().success();
        report.file(&plugin).is("edited", &[]);
        let libc = opener.root.library_dirs();
        let libs: Vec<&str> = own.iter().copied().chain([&*dir]).collect();
        let libs: Vec<&str> = libs
            .into_iter()
            .chain(libc.iter().map(|one| &**one))
            .collect();
        let edited = opener.edited(&built, &plugin);
        edited.searches(tag, &libs);
        opener.says(&plugin, SAYS);
        opener.is_untouched(&alone, &alone_path);
        let again = wrap().report().success();
        again
            .file(&plugin)
            .is("skipped", &["already edited in place"]);

        let minimal = wrap().args(["--search-minimal"]).report().success();
        let words = ["with these settings it needs no search path", "restore it"];
        minimal.file(&plugin).is("skipped", &words);

        opener
            .root
            .wrap_buddy()
            .args(["restore", "/app"])
            .output()
            .success();
        opener.is_untouched(&built, &plugin);
    }
}

/// The warning is printed once for many files, and the proposed flags help.
fn no_room_for_directories_of_libs(variant: Variant) {
    let opener = Opener::new(variant);
    let lld = toolchain::lld();
    let flags: Vec<&str> = lld.iter().map(String::as_str).collect();
    let built = toolchain::without_room(&opens(variant, &flags));
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let warnings = |args: &[&str]| -> Vec<String> {
        let wrap = opener.wrap("/app", &[&dir]);
        let output = wrap.args(args.iter().copied()).run();
        let lines = output.stderr.lines();
        let lines = lines.filter(|line| line.contains("opens libraries with dlopen"));
        lines.map(str::to_owned).collect()
    };
    let [said] = &warnings(&[])[..] else {
        panic!("one warning");
    };
    let words = [
        &*plugin,
        "not find them in the directories of --libs",
        "--search rpath",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    opener.is_untouched(&built, &plugin);
    let output = opener.open(&plugin).success();
    assert!(output.stdout.contains("libfoo.so"), "{output}");

    for number in 0..20 {
        let path = format!("/app/plugins/{number}.so");
        opener.root.install(&built, &path);
    }
    let [said] = &warnings(&[])[..] else {
        panic!("one warning");
    };
    assert!(said.contains("21 files (names with --verbose)"), "{said}");
    assert_eq!(warnings(&["--search-minimal"]), [""; 0]);
    assert_eq!(warnings(&["--search", "rpath"]), [""; 0]);
    opener.is_untouched(&built, &plugin);
    opener.says(&plugin, SAYS);
}

/// The proposed flags help.
fn no_room_for_libraries_that_it_opens(variant: Variant) {
    let runpath = "-Wl,--enable-new-dtags,-rpath,/gone";
    for (runpath, advice) in [
        (None, &["--search", "rpath"][..]),
        (Some(runpath), &["--needed", "libfoo.so"]),
    ] {
        let opener = Opener::new(variant);
        let lld = toolchain::lld();
        let flags: Vec<&str> = lld.iter().map(String::as_str).chain(runpath).collect();
        let built = toolchain::without_room(&opens(variant, &flags));
        let plugin = opener.install(&built);
        let dir = opener.root.package("foo", &[foo(variant)]);
        let wrap = || {
            let wrap = opener.wrap("/app", &[&dir]);
            wrap.args(["--runtime-dependencies", &dir])
        };
        let report = wrap().report().success();
        let words = ["no room for a longer search path", advice[0]];
        report.file(&plugin).is("skipped", &words);
        let output = opener.open(&plugin).success();
        assert!(output.stdout.contains("libfoo.so"), "{output}");
        wrap().args(advice.iter().copied()).run();
        opener.is_untouched(&built, &plugin);
        opener.says(&plugin, SAYS);
    }
}

/// musl searches on behalf of the program, whichever file calls dlopen.
fn musl_looks_for_the_program(variant: Variant) {
    let opener = Opener::new(variant);
    let built = opens(variant, &[]);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let wrap = opener.wrap("/app", &[]);
    wrap.args(["--runtime-dependencies", &dir]).run();
    opener.is_untouched(&built, &plugin);
    opener.says(&plugin, SAYS);
}

/// The plugin needs a library outside of the wrapped tree, and that one needs another.
fn a_library_outside_that_finds_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let inner = foo(variant);
    let middle = calling(variant, "middle", "foo").link(&inner).build();
    let built = calling(variant, "bar", "middle").link(&middle).build();
    let plugin = opener.install(&built);
    let directory = opener.root.package("middle", &[&middle]);
    let foo_directory = opener.root.package("foo", &[&inner]);
    let path = format!("{directory}/libmiddle.so");

    if variant.libc == Libc::Musl {
        // In that case, it inherits the plugin's search path.
        let wrap = opener.wrap("/app/plugins", &[&directory, &foo_directory]);
        let output = wrap.run();
        assert!(!output.stderr.contains("warning"), "{output}");
        opener.says(&plugin, "44\n");
        return;
    }
    let warning = |libs: &[&str]| {
        let output = opener.wrap("/app/plugins", libs).run();
        let mut lines = output.stderr.lines().map(String::from);
        let found = lines.find(|line| line.starts_with("warning: "));
        found.unwrap_or_else(|| panic!("no warning; {output}"))
    };
    // No directory that the user named has it.
    let text = warning(&[&directory]);
    let words = [
        path.as_str(),
        "needs libfoo.so",
        "does not find it",
        "--libs",
    ];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    let text = warning(&[&directory, &foo_directory]);
    let advice = format!("{foo_directory}/libfoo.so; add {path} to --paths");
    assert!(text.contains(&advice), "{text}");
    opener.edited(&built, &plugin);
    opener.refuses(&plugin, "libfoo.so");

    let wrap = opener.wrap("/app/plugins", &[&directory, &foo_directory]);
    let output = wrap.and([&path]).run();
    assert!(!output.stderr.contains("warning"), "{output}");
    opener
        .edited(&built, &plugin)
        .searches("RUNPATH", &[&directory]);
    opener
        .edited(&middle, &path)
        .searches("RUNPATH", &[&foo_directory]);
    opener.says(&plugin, "44\n");
}
