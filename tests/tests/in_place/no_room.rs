//! Libraries without any room: programs load their needs.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Edited, Libc, Output, Root, Variant, Wrap, Wrapped, matrix, source, toolchain};

use super::{Opener, bar, foo};

matrix!(systems:
    programs_load_its_needs, programs_lend_their_rpath, no_program_to_load_its_needs, many_without_room,
    the_header_of_the_program_headers_is_room,
);
matrix!(glibc:
    own_runpath_inherits_nothing, a_program_that_opens_it_lends_a_search_path,
    program_that_opens_nothing_does_not_serve, every_program_that_opens_it_lends_a_search_path,
);

/// `libbar.so`, linked by lld, which fills every page of a file. There is no PT_PHDR.
fn crammed(variant: Variant) -> PathBuf {
    let flags = toolchain::lld();
    let built = bar(variant, &flags.each_ref().map(String::as_str));
    toolchain::without_room(&built)
}

fn programs_load_its_needs(variant: Variant) {
    // With musl, the library inherits the program's search path.
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

/// Wraps a program that is linked to the library, with more linker flags. `added` are the names that it then needs for the library.
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
            // A program finds the library's needs, so there is no warning.
            let wrap = wrap.args(["--strict", "--strategy", strategy]);
            wrap.report().success()
        };
        let report = wrap();
        let words = [
            "no room for a search path",
            "it finds its dependencies when /app/bin/program opens it",
        ];
        report.file(&path).is("skipped", &words);
        assert_eq!(report.file(&program).needed(), added);
        assert!(report.file(&program).search_path().contains(&dir.as_str()));
        let output = root.command(&program).output().success();
        assert_eq!(output.stdout, "42\n", "{output}");
        if strategy == "stub" {
            Wrapped::read(&root, &program, original.clone()).check();
        } else {
            Edited::read(&root, &program, original.clone());
            // The library is served even if there is nothing left to do.
            wrap().file(&path).is("skipped", &words);
        }
    }
}

fn no_program_to_load_its_needs(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let advice = ["--search", "rpath", "--runtime-dependencies", &dir];
    let told = format!("programs that open it with {}", advice.join(" "));
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

    // The proposed flags help, and then the report proposes nothing more.
    opener.refuses(&plugin, "libfoo.so");
    let wrap = || opener.wrap("/app", &[&dir]).args(advice);
    for _ in ["first", "again"] {
        let report = wrap().report().success();
        let words = [
            words[0],
            "it finds its dependencies when /app/open opens it",
        ];
        report.file(&plugin).is("skipped", &words);
        opener.says(&plugin, "42\n");
    }
    let output = wrap().run();
    assert!(!output.stderr.contains("no room"), "{output}");
}

/// glibc and musl find the program headers of a library without its PT_PHDR.
fn the_header_of_the_program_headers_is_room(variant: Variant) {
    let opener = Opener::new(variant);
    let flags = toolchain::lld();
    let built = bar(variant, &flags.each_ref().map(String::as_str));
    // With a short name, because a program header of the 32-bit class has 28 bytes after its type.
    let plugin = opener.root.install(&built, "/app/plugins/b.so");
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.edit(&built, &plugin, &[&dir]);
    opener.says(&plugin, "42\n");
}

/// Libraries with the same advice are reported together.
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

/// With glibc, a library with a DT_RUNPATH of its own inherits nothing from programs.
fn own_runpath_inherits_nothing(variant: Variant) {
    let opener = Opener::new(variant);
    let lld = toolchain::lld();
    let flags: Vec<&str> = lld.iter().map(String::as_str).collect();
    let flags = [&flags[..], &["-Wl,--enable-new-dtags,-rpath,/gone"]].concat();
    let plugin = opener.install(&toolchain::without_room(&bar(variant, &flags)));
    let dir = opener.root.package("foo", &[foo(variant)]);
    let advice = ["--needed", "libfoo.so"];
    let told = format!("programs that open it with {}", advice.join(" "));
    let report = opener.wrap("/app/plugins", &[&dir]).report().success();
    report
        .file(&plugin)
        .is("skipped", &["no room for a search path", &told]);
    let strict = opener.wrap("/app/plugins", &[&dir]).args(["--strict"]);
    strict.report().exits_with(1);

    opener.refuses(&plugin, "libfoo.so");
    let rpath = ["--search", "rpath", "--runtime-dependencies", &dir];
    opener.wrap("/app/open", &[&dir]).args(rpath).run();
    opener.refuses(&plugin, "libfoo.so");
    opener.wrap("/app/open", &[&dir]).args(advice).run();
    opener.says(&plugin, "42\n");
}

/// A library without room, `/app/ext/ext.so`, and programs below `/app` that may open it.
struct Extension {
    root: Root,
    dir: String,
}

/// A program with `ext.so` among its strings.
fn host(variant: Variant) -> Build {
    let opens = r#"-DOPENS="/app/ext/ext.so""#;
    Build::program(variant, source("open.c")).flags([opens, "-ldl"])
}

/// A program that needs `libfoo.so` itself, and whose DT_RPATH is inherited.
fn lender(variant: Variant) -> Build {
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib";
    let build = Build::program(variant, source("indirect.c")).flags(["-Dbar=foo", rpath]);
    build.link(foo(variant))
}

const EXTENSION: &str = "/app/ext/ext.so";

impl Extension {
    fn new(variant: Variant) -> Self {
        let root = Root::new(variant);
        root.install(&crammed(variant), EXTENSION);
        let dir = root.package("foo", &[foo(variant)]);
        Self { root, dir }
    }

    fn wrap(&self) -> Wrap<'_> {
        self.root.wrap("/app").libs([&self.dir])
    }

    /// Asserts that the report proposes to wrap `program` in another way.
    #[track_caller]
    fn asks_for(&self, program: &str) {
        let advice = format!("--search rpath --runtime-dependencies {}", self.dir);
        let words = ["no room for a search path", program, &advice];
        let report = self.wrap().report().success();
        report.file(EXTENSION).is("skipped", &words);
        let output = self.wrap().run();
        let warning = output
            .stderr
            .lines()
            .find(|line| line.starts_with("warning: ") && line.contains(EXTENSION));
        assert!(
            warning.is_some_and(|line| line.contains(&advice)),
            "{output}"
        );
    }

    /// Asserts that the report says that `program` serves the library, without a warning.
    #[track_caller]
    fn is_served_by(&self, program: &str, args: &[&str]) {
        let wrap = || self.wrap().args(args.iter().copied());
        let report = wrap().report().success();
        let words = [
            "no room for a search path",
            "it finds its dependencies when",
            program,
        ];
        report.file(EXTENSION).is("skipped", &words);
        let output = wrap().run();
        assert!(!output.stderr.contains("no room"), "{output}");
    }

    fn start(&self, program: &str) -> Output {
        self.root.command(program).output()
    }
}

/// A library inherits a DT_RPATH from a program with its name among its strings, with every `--search`.
fn a_program_that_opens_it_lends_a_search_path(variant: Variant) {
    for strategy in ["stub", "inplace"] {
        for search in ["runpath", "frozen"] {
            let extension = Extension::new(variant);
            let original = host(variant).build();
            let host = extension.root.install(&original, "/app/host");
            let args = ["--strategy", strategy, "--search", search];
            extension.is_served_by(&host, &args);
            let output = extension.start(&host).success();
            assert_eq!(output.stdout, "42\n", "{output}");
            let original = fs::read(original).expect("built above");
            match strategy {
                "stub" => drop(Wrapped::read(&extension.root, &host, original)),
                _ => drop(Edited::read(&extension.root, &host, original)),
            }
        }
    }
}

/// Neither a DT_RPATH nor a DT_NEEDED of a program means that it opens a library.
fn program_that_opens_nothing_does_not_serve(variant: Variant) {
    let extension = Extension::new(variant);
    let other = lender(variant).build();
    extension.root.install(&other, "/app/bin/other");
    extension.asks_for("programs that open it");
    let other = extension.start("/app/bin/other").success();
    assert_eq!(other.stdout, "40\n", "{other}");

    // The strings of this program do not show which libraries it opens.
    let unknown = Build::program(variant, source("open.c"));
    let unknown = unknown.flags([r#"-DOPENS="nothing""#, "-ldl"]);
    extension.root.install(&unknown.build(), "/app/unknown");
    extension.asks_for("programs that open it");

    // With the proposed flags, every program of the tree serves the library, whichever opens it.
    let advice = [
        "--search",
        "rpath",
        "--runtime-dependencies",
        &extension.dir,
    ];
    extension.is_served_by("/app/unknown", &advice);
    let opened = extension.root.command("/app/unknown").arg(EXTENSION);
    let output = opened.output().success();
    assert_eq!(output.stdout, "42\n", "{output}");
}

/// A program with a search path does not help one without, if both open the library.
fn every_program_that_opens_it_lends_a_search_path(variant: Variant) {
    let extension = Extension::new(variant);
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib,--no-as-needed";
    let serving = host(variant).flag(rpath).link(foo(variant)).build();
    extension.root.install(&serving, "/app/bin/serving");
    let host = host(variant).build();
    extension.root.install(&host, "/app/bin/host");
    for program in ["/app/bin/serving", "/app/bin/host"] {
        extension.is_served_by(program, &[]);
        let output = extension.start(program).success();
        assert_eq!(output.stdout, "42\n", "{output}");
    }
}
