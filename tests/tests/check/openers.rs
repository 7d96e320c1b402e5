//! Libraries that programs open, checked together with the programs. The result is compared with a real start.

use e2e::{Build, Kind, Libc, Root, Variant, matrix, source};
use serde_json::Value;

use crate::checking::{diagnoses, document};

matrix!(architectures: loaded_by_then, inherited, not_inherited, found_in_the_tree_of_a_program);

const HOST: Variant = Variant::new(e2e::Arch::X86_64, Libc::Glibc, Kind::Pie);
const PLUGIN: &str = "/app/plugins/libbar.so";

/// A program that opens a library by its path. The library needs another one, which is in a package.
struct Case {
    root: Root,
    package: String,
}

impl Case {
    fn new(variant: Variant, flags: &[&str], wrap: &[&str]) -> Case {
        let root = Root::new(variant);
        let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let bar = Build::library(variant, source("lib/bar.c"), "libbar.so");
        let bar = bar.flags(["-DNAME=bar", "-DCALLS=foo"]).link(&inner);
        let bar = bar.flags(flags.iter().copied()).build();
        let open = Build::program(variant, source("open.c")).flag("-ldl");
        root.install(&open.build(), "/app/open");
        root.install(&bar, PLUGIN);
        let package = root.package("foo", &[&inner]);
        let words = wrap.iter().map(|word| word.replace("PACKAGE", &package));
        root.wrap("/app/open")
            .libs([package.clone()])
            .args(words)
            .run();
        Case { root, package }
    }

    /// Whether the program can open the library, and the report of `check` on both.
    fn checked(&self) -> (bool, Vec<Value>) {
        let output = self.root.command("/app/open").arg(PLUGIN).output();
        let document = document(&self.root, &["/app/open", PLUGIN]);
        let files = document["files"].as_array().expect("files").clone();
        assert_eq!(files.len(), 2, "{document}");
        // The only permitted problem is that no emulator is registered.
        let problems = files[0]["problems"].as_array().expect("problems");
        let mut problems = problems.iter().map(|one| &one["kind"]);
        assert!(problems.all(|kind| kind == "machine"), "{document}");
        (output.status == Some(0), files)
    }
}

/// With `--needed`, the program has loaded the other library before it opens the library.
fn loaded_by_then(variant: Variant) {
    for flags in [&[][..], &["-Wl,--enable-new-dtags,-rpath,/nowhere"]] {
        let case = Case::new(variant, flags, &["--needed", "libfoo.so"]);
        let (opens, files) = case.checked();
        assert!(opens);
        assert_eq!(files[1]["status"], "ok", "{files:?}");
        assert_eq!(diagnoses(&files[1]), ["loaded-by-program"]);
        let notes = files[1]["notes"].to_string();
        assert!(
            notes.contains("/app/open opens it and has already loaded libfoo.so"),
            "{notes}"
        );
    }
}

/// With `--search rpath`, the library inherits the search path.
fn inherited(variant: Variant) {
    let case = Case::new(
        variant,
        &[],
        &["--search", "rpath", "--runtime-dependencies", "PACKAGE"],
    );
    let (opens, files) = case.checked();
    assert!(opens);
    assert_eq!(files[1]["status"], "ok", "{files:?}");
    assert_eq!(diagnoses(&files[1]), ["loaded-by-program"]);
    let libraries = files[1]["libraries"].to_string();
    let path = format!("{}/libfoo.so", case.package);
    assert!(
        libraries.contains(&path) && libraries.contains("rpath"),
        "{libraries}"
    );
    let text = crate::checking::human(&case.root, PLUGIN, &["/app/open", "--tree", "-v"]);
    let expected = format!("libfoo.so => {path} (DT_RPATH of the program that opens it)");
    assert!(text.contains(&expected), "{text}");
}

/// A library with a DT_RUNPATH inherits nothing, and no library inherits a DT_RUNPATH.
fn not_inherited(variant: Variant) {
    let rpath = ["--search", "rpath", "--runtime-dependencies", "PACKAGE"];
    let runpath = ["--runtime-dependencies", "PACKAGE"];
    let own = ["-Wl,--enable-new-dtags,-rpath,/nowhere"];
    for (flags, wrap) in [(&own[..], &rpath[..]), (&[], &runpath)] {
        let (opens, files) = Case::new(variant, flags, wrap).checked();
        assert!(!opens);
        assert_eq!(files[1]["status"], "broken", "{files:?}");
        assert_eq!(files[1]["problems"][0]["soname"], "libfoo.so", "{files:?}");
    }
}

/// A library that a program loads and that finds its needs by the program's DT_RPATH.
fn found_in_the_tree_of_a_program(variant: Variant) {
    let root = Root::new(variant);
    crate::cases::install_system(&root, variant);
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let bar = Build::library(variant, source("lib/bar.c"), "libbar.so");
    let bar = bar.flags(["-DNAME=foo", "-DCALLS=foo2"]).link(&inner);
    let bar = bar
        .flag("-Wl,--no-as-needed,--unresolved-symbols=ignore-all")
        .build();
    let rpath = "-Wl,--no-as-needed,--allow-shlib-undefined,--disable-new-dtags,-rpath,/app/lib";
    let program = Build::program(variant, source("hello.c"))
        .link(&bar)
        .flag(rpath);
    root.install(&program.build(), "/app/bin/program");
    root.install(&bar, "/app/lib/libbar.so");
    root.install(&inner, "/app/lib/libfoo.so");
    let document = document(&root, &["/app"]);
    let files = document["files"].as_array().expect("files");
    let bar = files.iter().find(|one| one["path"] == "/app/lib/libbar.so");
    let bar = bar.expect("the library");
    assert_eq!(bar["status"], "ok", "{document}");
    assert_eq!(diagnoses(bar), ["loaded-by-program"], "{document}");
    let listed = root
        .command("/app/bin/program")
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output();
    assert!(!listed.stdout.contains("not found"), "{listed}");
}

/// One program has a DT_RPATH, and another one mentions the library: that one decides.
#[test]
fn the_program_that_mentions_it() {
    let root = Root::new(HOST);
    crate::cases::install_system(&root, HOST);
    let inner = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let bar = Build::library(HOST, source("lib/bar.c"), "libbar.so");
    let bar = bar
        .flags(["-DNAME=bar", "-DCALLS=foo"])
        .link(&inner)
        .build();
    let rpath = "-Wl,--no-as-needed,--disable-new-dtags,-rpath,/app/lib";
    let other = Build::program(HOST, source("hello.c"))
        .link(&inner)
        .flag(rpath);
    root.install(&other.build(), "/app/bin/other");
    root.install(&inner, "/app/lib/libfoo.so");
    root.install(&bar, PLUGIN);
    // No program is known to open it, so any program may.
    let before = document(&root, &["/app"]);
    assert_eq!(before["summary"]["broken"], 0, "{before}");
    // It has libbar.so among its strings.
    let open = Build::program(HOST, source("open.c")).flag("-ldl").build();
    root.install(&open, "/app/open");
    let output = root.command("/app/open").arg(PLUGIN).output().exits_with(1);
    assert!(output.stdout.contains("libfoo.so"), "{output}");
    let after = document(&root, &["/app"]);
    assert_eq!(after["summary"]["broken"], 1, "{after}");
}

/// A command without effect is not proposed: the missing library is needed by a library that is found.
#[test]
fn command_without_effect_is_not_proposed() {
    let root = Root::new(HOST);
    crate::cases::install_system(&root, HOST);
    let deep = Build::library(HOST, source("lib/foo.c"), "libdeep.so").build();
    let all =
        "-Wl,--no-as-needed,--unresolved-symbols=ignore-all,--enable-new-dtags,-rpath,$ORIGIN";
    let inner = Build::library(HOST, source("lib/foo.c"), "libfoo.so");
    let inner = inner.flag(all).link(&deep).build();
    let bar = Build::library(HOST, source("lib/bar.c"), "libbar.so");
    let bar = bar.flag(all).link(&inner).build();
    root.install(&inner, "/app/lib/libfoo.so");
    root.install(&bar, "/app/lib/libbar.so");
    root.install(&deep, "/opt/deep/libdeep.so");
    let linker = HOST.fhs_interpreter();
    let with = [
        "/app/lib/libbar.so",
        "--find-in",
        "/opt",
        "--interpreter",
        &linker,
    ];
    let document = document(&root, &with);
    let file = &document["files"][0];
    assert_eq!(file["problems"][0]["soname"], "libdeep.so", "{file}");
    let next = file["next"].as_array().expect("a list");
    assert!(next.iter().all(|one| one["command"].is_null()), "{file}");
    assert!(!next.is_empty(), "{file}");
}

/// One command repairs all files.
#[test]
fn one_command_for_a_tree() {
    let root = Root::new(HOST);
    let inner = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let program = Build::program(HOST, source("sample.c"))
        .link(&inner)
        .build();
    let package = root.package("foo", &[&inner]);
    for name in ["one", "two", "three"] {
        root.install(&program, &format!("/app/bin/{name}"));
    }
    root.write("/app/notes.txt", "nothing to start\n");
    let document = document(&root, &["/app"]);
    for file in document["files"].as_array().expect("files") {
        let own = file["next"][0]["command"].as_str().expect("a command");
        let path = file["path"].as_str().expect("a path");
        assert!(own.contains(&format!("--paths {path} ")), "{own}");
    }
    let next = document["next"].as_array().expect("a list");
    assert_eq!(next.len(), 1, "{document}");
    let command = next[0]["command"].as_str().expect("a command");
    let start = format!("wrap-buddy --paths /app --libs {package}");
    assert!(command.starts_with(&start), "{command}");
    let text = crate::checking::human(&root, "/app", &[]);
    assert_eq!(text.matches("wrap-buddy --paths").count(), 1, "{text}");
    let words = shlex::split(command).expect("a command line");
    let run = root.wrap_buddy().env("HOME", "/app/home");
    run.args(words[1..].iter().cloned()).output().success();
    for name in ["one", "two", "three"] {
        e2e::says(root.command(&format!("/app/bin/{name}")).output());
    }
}
