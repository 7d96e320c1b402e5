//! Libraries that programs open with dlopen, if that is known: from ELF dlopen metadata, or because libc does it.

use std::fs;
use std::path::Path;

use e2e::arch::Kind;
use e2e::{Arch, Build, Libc, Root, Variant, matrix, source, store_path};

matrix!(systems: libraries_required_by_a_note, libraries_recommended_by_a_note);
matrix!(architectures: libraries_required_by_the_note_of_a_library, threads_end, stacks_are_seen, libc_finds_its_unwinder_itself, a_library_that_unwinds);

const PROGRAM: &str = "/app/program";

/// On riscv64 and armv7, gcc makes no unwind tables by default. On armv7, they refer to a function of libgcc_s.so.1 or of its static
/// version.
const WITH_TABLES: [&str; 2] = ["-fasynchronous-unwind-tables", "-static-libgcc"];

/// The values of `--search`; in place it is `auto`.
const WAYS: [&[&str]; 4] = [
    &[],
    &["--search", "rpath"],
    &["--search", "frozen"],
    &["--strategy", "inplace"],
];

/// A root with `/app/program`, whose metadata names libfoo.so, and the directory of that.
fn noted(variant: Variant, flags: &[&str]) -> (Root, String) {
    let root = Root::new(variant);
    let program = Build::program(variant, source("opened.c")).flags(flags.iter().copied());
    root.install(&program.flag("-ldl").build(), PROGRAM);
    let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let directory = root.package("foo", &[library]);
    (root, directory)
}

fn libraries_required_by_a_note(variant: Variant) {
    for way in WAYS {
        let (root, directory) = noted(variant, &[]);
        let wrap = |libs: &[&String]| {
            let libs = libs.iter().map(|one| one.as_str());
            root.wrap(PROGRAM).libs(libs).args(way.iter().copied())
        };
        let output = wrap(&[]).command().output().exits_with(1);
        let said = ["libfoo.so", "opened with dlopen for foo"];
        assert!(
            said.iter().all(|text| output.stderr.contains(text)),
            "{output}"
        );

        let report = wrap(&[&directory]).report().success();
        let file = report.file(PROGRAM);
        assert!(
            file.search_path().contains(&&*directory),
            "{}",
            report.output
        );
        let notes = [
            "liblost.so.1 with dlopen (finding what is lost)",
            "recommended",
            "libnone.so.1 with dlopen for none",
            "suggested",
        ];
        file.is(file.status(), &notes);
        let output = root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, "opened 40\n", "{output}");
    }
    let (root, _) = noted(variant, &[]);
    let wrap = root.wrap(PROGRAM);
    wrap.args(["--ignore-missing", "libfoo.so"]).run();
}

fn libraries_recommended_by_a_note(variant: Variant) {
    let (root, directory) = noted(variant, &["-DPRIORITY=\"recommended\""]);
    let report = root.wrap(PROGRAM).report().success();
    let said = ["opens libfoo.so with dlopen for foo", "recommended"];
    report.file(PROGRAM).is("wrapped", &said);
    let output = root.command(PROGRAM).output().exits_with(1);
    assert!(output.stderr.contains("libfoo.so"), "{output}");
    root.wrap(PROGRAM).libs([&directory]).run();
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "opened 40\n", "{output}");
}

/// ld.so searches for it on behalf of the library, so the library gets the search path.
fn libraries_required_by_the_note_of_a_library(variant: Variant) {
    let (root, directory) = noted(variant, &[]);
    let opens = r#"-DOPENS="/app/lib/libopens.so""#;
    let program = Build::program(variant, source("open.c")).flags([opens, "-ldl"]);
    root.install(&program.build(), PROGRAM);
    let library = Build::library(variant, source("opened.c"), "libopens.so");
    let library = library.flags(["-Dmain=bar", "-ldl"]).build();
    let path = root.install(&library, "/app/lib/libopens.so");
    let report = root
        .wrap("/app")
        .libs([&directory])
        .args(["--search-minimal"])
        .report()
        .success();
    report.file(&path).is("edited", &["liblost.so.1"]);
    assert_eq!(report.file(&path).search_path(), [&directory]);
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "opened 40\n0\n", "{output}");
    // Only this library is named, and no program needs it.
    let lost = root.wrap(&path).only_libs(["/app/none"]).report();
    assert_eq!(lost.exits_with(1).file(&path).status(), "failed");
}

/// A root with a program that makes libc unwind the stack.
fn unwinding(variant: Variant, flag: &str) -> Root {
    let root = Root::new(variant);
    let program = Build::program(variant, source("unwind.c")).flags(WITH_TABLES);
    root.install(&program.flags([flag, "-pthread"]).build(), PROGRAM);
    root
}

/// Asserts that the program loads libgcc_s.so.1, and that libc cannot unwind without it.
#[track_caller]
fn unwinds(variant: Variant, flag: &str, without: &str) {
    for way in WAYS {
        let root = unwinding(variant, flag);
        let libc = root.library_dirs();
        let libc = &libc[..1];
        let wrap = root.wrap(PROGRAM).only_libs(libc);
        let report = wrap.args(way.iter().copied()).report().success();
        let file = report.file(PROGRAM);
        assert_eq!(file.needed(), [""; 0]);
        file.is(file.status(), &["libgcc_s.so.1", "--libs"]);
        let output = root.command(PROGRAM).output();
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(without), "{output}");

        let root = unwinding(variant, flag);
        let wrap = root.wrap(PROGRAM).args(way.iter().copied());
        let report = wrap.report().success();
        assert_eq!(report.file(PROGRAM).needed(), ["libgcc_s.so.1"], "{way:?}");
        let status = root.wrap_buddy().args(["status", PROGRAM]).output();
        assert!(status.success().stdout.contains("libgcc_s.so.1"), "{way:?}");
        let output = root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, "unwound\n", "{way:?}; {output}");
    }
}

fn threads_end(variant: Variant) {
    unwinds(variant, "-DEXIT", "libgcc_s.so.1 must be installed");
    unwinds(variant, "-DCANCEL", "libgcc_s.so.1 must be installed");
}

fn stacks_are_seen(variant: Variant) {
    unwinds(variant, "-DBACKTRACE", "no frames");
}

/// libc uses the program's DT_RPATH to find the library, and loads nothing before it needs it.
fn libc_finds_its_unwinder_itself(variant: Variant) {
    let root = unwinding(variant, "-DEXIT");
    let [_, gcc] = &root.library_dirs()[..] else {
        panic!("glibc and gcc");
    };
    let wrap = root.wrap(PROGRAM);
    let wrap = wrap.args(["--search", "rpath", "--runtime-dependencies", gcc]);
    wrap.run();
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "unwound\n", "{output}");
}

/// A program that calls no such function but needs a library that does.
fn a_library_that_unwinds(variant: Variant) {
    let root = Root::new(variant);
    let library = Build::library(variant, source("unwind.c"), "libunwinds.so");
    let library = library.flags(WITH_TABLES);
    let library = library.flags(["-Dmain=bar", "-DBACKTRACE"]).build();
    let program = Build::program(variant, source("indirect.c")).flags(WITH_TABLES);
    let program = program.link(&library);
    root.install(&program.build(), PROGRAM);
    let directory = root.package("unwinds", &[library]);
    let report = root.wrap(PROGRAM).libs([&directory]).report().success();
    assert_eq!(report.file(PROGRAM).needed(), ["libgcc_s.so.1"]);
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "unwound\n0\n", "{output}");
}

/// libc finds its modules in its built-in directory or in GCONV_PATH, with every `--search`.
#[test]
fn iconv_finds_its_modules() {
    let variant = Variant::new(Arch::host(), Libc::Glibc, Kind::Pie);
    let libc = variant.arch.glibc();
    let modules = libc.with_file_name("gconv");
    for way in WAYS {
        let root = Root::new(variant);
        let program = Build::program(variant, source("iconv.c")).build();
        root.install(&program, PROGRAM);
        let report = root
            .wrap(PROGRAM)
            .args(way.iter().copied())
            .report()
            .success();
        let file = report.file(PROGRAM);
        file.is(file.status(), &["iconv_open", "GCONV_PATH"]);
        root.command(PROGRAM).output().exits_with(1);

        let directory = format!("{}/lib/gconv", store_path("modules"));
        root.bind(&modules, &directory);
        let run = root.command(PROGRAM).env("GCONV_PATH", &directory);
        let output = run.output().success();
        assert_eq!(output.stdout, "0: c6 fc\n", "{output}");

        // The directory that is built into libc.
        let built_in = Path::new("/usr/lib").join(modules.strip_prefix("/lib").unwrap_or(&modules));
        let built_in = fs::canonicalize(&modules).unwrap_or(built_in);
        root.bind(&modules, built_in.to_str().expect("a path in UTF-8"));
        let output = root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, "0: c6 fc\n", "{output}");
        let report = root
            .wrap(PROGRAM)
            .args(way.iter().copied())
            .report()
            .success();
        let notes = report.output.stdout.contains("GCONV_PATH");
        assert!(!notes, "{}", report.output);
    }
}
