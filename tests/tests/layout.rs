//! Files with little room, or with search paths and structures that wrapping has to respect.

use std::fs;
use std::path::Path;

use e2e::check::{dynamic_tags, segments, sidecar_of};
use e2e::offsets::E_TYPE;
use e2e::{Arch, Build, Kind, Libc, Root, Sample, Variant, Wrapped, assert_fails_unwrapped};
use e2e::{matrix, source, toolchain};
use object::elf;
use sidecar::{EditKind, Flags, Sidecar};

matrix!(all:
    no_room_at_the_entry_point, no_room_anywhere, no_pt_phdr, no_spare_dynamic_entry, existing_runpath, existing_rpath_is_inherited,
    existing_runpath_without_spare_entries, two_hundred_search_directories, library_that_cannot_find_its_own,
);
matrix!(architectures: relr, relr_that_ld_so_refuses);
matrix!([aarch64_glibc_pie aarch64_glibc_exec]: (branch_protection));
// musl has no `_r_debug` to point to.
matrix!(glibc: debuggers_see_libraries_where_dynamic_is_a_copy);

/// Without a C runtime: the program's own code only.
const BARE: [&str; 5] = [
    "-nostartfiles",
    "-nostdlib",
    "-O2",
    "-fno-asynchronous-unwind-tables",
    "-Wl,--allow-shlib-undefined",
];

fn no_room_at_the_entry_point(variant: Variant) {
    // The code consists of `_start`: about 60 bytes with the stubs of its calls.
    let finish = Build::library(variant, source("lib/finish.c"), "libfinish.so").build();
    let built = Build::program(variant, source("tiny.c"))
        .flags(BARE)
        .link(&finish)
        .build();
    let wrapped = wrap_and_run(variant, &built, &[&finish], "tiny\n");
    assert!(
        wrapped.kinds().contains(&EditKind::Entry),
        "{:?}",
        wrapped.kinds()
    );
}

fn no_room_anywhere(variant: Variant) {
    // The bytes that follow the code in the file belong to another segment.
    let finish = Build::library(variant, source("lib/finish.c"), "libfinish.so").build();
    let built = Build::program(variant, source("tiny.c"))
        .flags(BARE)
        .flags(toolchain::lld())
        .link(&finish)
        .build();
    let root = Root::new(variant);
    let program = root.install(&built, "/app/program");
    let libs = root.package("libraries", &[&finish]);
    let output = root.wrap(&program).libs([libs]).command().output();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(
        output.stderr.contains("/app/program: there is no room"),
        "{output}"
    );
    assert!(
        root.read(&program) == fs::read(&built).expect("built above"),
        "it was changed"
    );
    assert!(
        !root.path(&sidecar_of(&program)).exists(),
        "a sidecar of a program left alone"
    );
}

fn no_pt_phdr(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let mut file = fs::read(&sample.built).expect("built before");
    let header = segments(&file)
        .into_iter()
        .find(|segment| segment.kind == elf::PT_PHDR);
    let at = header.expect("linkers write a PT_PHDR").header_at;
    file[at..at + 4].copy_from_slice(&elf::PT_NULL.to_le_bytes());
    sample.root.write(&sample.program, &file);
    sample.wrapping().run();
    Wrapped::read(&sample.root, &sample.program, file).check();
    sample.run();
}

fn no_spare_dynamic_entry(variant: Variant) {
    let sample = Sample::with_flags(variant, "/app/program", &toolchain::lld());
    assert_eq!(
        spare_dynamic_entries(&fs::read(&sample.built).expect("built")),
        0
    );
    sample.wrap();
    sample.run();
}

fn debuggers_see_libraries_where_dynamic_is_a_copy(variant: Variant) {
    const EXTRA: [&str; 3] = ["libextra1.so", "libextra2.so", "libextra3.so"];
    let libraries = EXTRA.map(|name| Build::library(variant, source("lib/foo.c"), name).build());
    let built = Build::program(variant, source("debugger.c"))
        .flags(toolchain::lld())
        .build();
    let root = Root::new(variant);
    let program = root.install(&built, "/app/program");
    let libs = root.package("libraries", &libraries.each_ref());
    let wrap = root.wrap(&program).libs([libs]).args(["--needed"]);
    wrap.args(EXTRA).run();

    let bytes = root.read(&sidecar_of(&program));
    let sidecar = Sidecar::parse(&bytes).expect("just written");
    let flags = sidecar.header().flags;
    assert!(flags.contains(Flags::SEED_DEBUG), "the file had room");
    let output = root.command(&program).output().success();
    assert_eq!(
        output.stdout,
        EXTRA.map(|name| format!("{name}\n")).concat()
    );
}

fn existing_runpath(variant: Variant) {
    runpath_is_kept(variant, &[]);
}

fn existing_runpath_without_spare_entries(variant: Variant) {
    runpath_is_kept(variant, &toolchain::lld());
}

/// The file's own DT_RUNPATH stays first. Directories that do not exist are dropped.
fn runpath_is_kept(variant: Variant, flags: &[String]) {
    let beside = Build::library(variant, source("lib/foo.c"), "libfoo.so")
        .flag("-DVALUE=1")
        .build();
    let packaged = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so").build();
    let built = Build::program(variant, source("walkthrough.c"))
        .flags(flags.iter().cloned())
        .flag("-Wl,--enable-new-dtags,-rpath,/nowhere/lib:$ORIGIN/lib")
        .link(&beside)
        .link(&outer)
        .build();
    let root = Root::new(variant);
    root.install(&built, "/app/program");
    root.install(&beside, "/app/lib/libfoo.so");
    let libs = [
        root.package("foo", &[&packaged]),
        root.package("bar", &[&outer]),
    ];
    root.wrap("/app/program").libs(libs).run();
    let wrapped = Wrapped::read(
        &root,
        "/app/program",
        fs::read(&built).expect("built above"),
    );
    wrapped.check();
    let search = search_path(&wrapped);
    assert!(
        search.starts_with("$ORIGIN/lib:") && !search.contains("/nowhere"),
        "{search}"
    );
    let output = root.command("/app/program").output().success();
    assert_eq!(output.stdout, "foo 1, bar 3\n");
}

fn existing_rpath_is_inherited(variant: Variant) {
    // A library opened with dlopen has no search path, and the library that it needs is found only by the program's DT_RPATH.
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so")
        .link(&inner)
        .build();
    let built = Build::program(variant, source("open.c"))
        .flags(["-ldl", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib"])
        .build();
    let root = Root::new(variant);
    root.install(&built, "/app/program");
    root.install(&inner, "/app/lib/libfoo.so");
    root.install(&outer, "/app/lib/libbar.so");
    root.wrap("/app/program").run();
    let wrapped = Wrapped::read(
        &root,
        "/app/program",
        fs::read(&built).expect("built above"),
    );
    wrapped.check();
    let sidecar = Sidecar::parse(&wrapped.sidecar).expect("checked before");
    assert!(sidecar.header().flags.contains(sidecar::Flags::RPATH));
    let output = root.command("/app/program").output().success();
    assert_eq!(output.stdout, "42\n");
}

fn two_hundred_search_directories(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let dirs: Vec<String> = (0..200)
        .map(|n| sample.root.package(&format!("x{n}"), &[""; 0]))
        .collect();
    let mut wrap = sample.wrapping();
    for dir in &dirs {
        wrap = wrap.args(["--runtime-dependencies", dir]);
    }
    wrap.run();
    let wrapped = sample.wrapped();
    let search = search_path(&wrapped);
    let listed: Vec<&str> = search.split(':').collect();
    assert!(
        dirs.iter().all(|dir| listed.contains(&dir.as_str())),
        "{search}"
    );
    sample.run();
}

fn library_that_cannot_find_its_own(variant: Variant) {
    // libbar.so needs libfoo.so and has no search path. The program needs only libbar.so.
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so")
        .link(&inner)
        .build();
    let built = Build::program(variant, source("indirect.c"))
        .flag("-Wl,--allow-shlib-undefined")
        .link(&outer)
        .build();
    let root = Root::new(variant);
    root.install(&built, "/app/program");
    assert_fails_unwrapped(root.command("/app/program"));
    let libs = [
        root.package("foo", &[&inner]),
        root.package("bar", &[&outer]),
    ];
    let report = root.wrap("/app/program").libs(libs).run();
    // With musl, the program's search path applies to the library too.
    if variant.libc == Libc::Glibc {
        let added = report.stdout.contains("libfoo.so");
        assert!(added, "the report names what was added; {report}");
    }
    let output = root.command("/app/program").output().success();
    assert_eq!(output.stdout, "42\n");
}

fn relr(variant: Variant) {
    // glibc requires a version that only GNU ld adds. Where the linker cannot pack relocations, the program requires no version of
    // libc.
    let finish = Build::library(variant, source("lib/finish.c"), "libfinish.so").build();
    let build = Build::program(variant, source("relr.c")).link(&finish);
    let built = build
        .flags(["-nostartfiles", "-nostdlib", "-Wl,--pack-dyn-relocs=relr"])
        .flags(toolchain::lld())
        .build();
    let file = fs::read(&built).expect("built above");
    let tags = dynamic_tags(&file);
    assert!(tags.contains(&DT_RELR), "{tags:x?}");
    wrap_and_run(variant, &built, &[&finish], "relative\n");

    // GNU ld 2.40 can do that for x86 only.
    if matches!(variant.arch, Arch::X86_64 | Arch::I686) {
        let flags = ["-Wl,-z,pack-relative-relocs".to_string()];
        let sample = Sample::with_flags(variant, "/app/program", &flags);
        let tags = dynamic_tags(&fs::read(&sample.built).expect("built before"));
        assert!(tags.contains(&DT_RELR), "{tags:x?}");
        sample.wrap();
        sample.run();
    }
}

/// An older flag of lld writes DT_RELR without the required version of libc. The report names a program, and a library that it
/// loads.
fn relr_that_ld_so_refuses(variant: Variant) {
    let flags: Vec<String> = toolchain::lld().into();
    let flags = [&flags[..], &["-Wl,--pack-dyn-relocs=relr".to_owned()]].concat();
    // It has relative relocations, and requires a version of libc.
    let library = Build::library(variant, source("hello.c"), "libfoo.so");
    let library = |flags: &[String]| {
        let library = library.clone().flag("-Dmain=foo");
        library.flags(flags.iter().cloned()).build()
    };
    let program = |flags: &[String], library: &Path| {
        let build = Build::program(variant, source("hello.c")).flags(flags.iter().cloned());
        build.flag("-Wl,--no-as-needed").link(library).build()
    };
    for (of_program, of_library, refused) in [
        (&flags[..], &[][..], "/app/program"),
        (&[], &flags, "/libfoo.so"),
        (&[], &[], ""),
    ] {
        let root = Root::new(variant);
        let library = library(of_library);
        root.install(&program(of_program, &library), "/app/program");
        let libs = root.package("libraries", &[&library]);
        let output = root.wrap("/app/program").libs([libs]).run();
        let warning = format!("{refused} has DT_RELR and does not require GLIBC_ABI_DT_RELR");
        let is_refused = !refused.is_empty();
        assert_eq!(output.stderr.contains(&warning), is_refused, "{output}");
        let output = root.command("/app/program").output();
        let says = "DT_RELR without GLIBC_ABI_DT_RELR";
        assert_eq!(output.stderr.contains(says), is_refused, "{output}");
        assert_eq!(output.status == Some(0), !is_refused, "{output}");
    }
}

fn branch_protection(variant: Variant) {
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let built = Build::program(variant, source("bti.c"))
        .flags([
            "-mbranch-protection=standard",
            "-Wl,-z,force-bti",
            "-nostartfiles",
        ])
        .link(&inner)
        .build();
    let wrapped = wrap_and_run(variant, &built, &[&inner], "guarded\n");
    let property = segments(&wrapped.file)
        .into_iter()
        .any(|s| s.kind == elf::PT_GNU_PROPERTY);
    assert!(property, "built with a GNU property note");
}

/// Puts a program and its libraries into a root, asserts that it fails, wraps it, and compares its output.
fn wrap_and_run(variant: Variant, built: &Path, libraries: &[&Path], says: &str) -> Wrapped {
    let root = Root::new(variant);
    root.install(built, "/app/program");
    assert_fails_unwrapped(root.command("/app/program"));
    let libs = root.package("libraries", libraries);
    root.wrap("/app/program").libs([libs]).run();
    let wrapped = Wrapped::read(
        &root,
        "/app/program",
        fs::read(built).expect("built before"),
    );
    wrapped.check();
    let output = root.command("/app/program").output().success();
    assert_eq!(output.stdout, says, "{output}");
    wrapped
}

const DT_RELR: u64 = 36;

fn spare_dynamic_entries(file: &[u8]) -> usize {
    let tags = dynamic_tags(file);
    tags.iter().filter(|tag| **tag == 0).count() - 1
}

fn search_path(wrapped: &Wrapped) -> String {
    let sidecar = Sidecar::parse(&wrapped.sidecar).expect("checked before");
    String::from_utf8(sidecar.search().to_vec()).expect("paths here are UTF-8")
}

#[test]
fn fixed_address_programs_are_et_exec() {
    // The matrix would prove little if the compiler ignored -no-pie.
    for variant in Variant::all() {
        let file = fs::read(Build::program(variant, source("hello.c")).build()).expect("built");
        let kind = u16::from_le_bytes([file[E_TYPE], file[E_TYPE + 1]]);
        let expected = if variant.kind == Kind::Exec {
            elf::ET_EXEC
        } else {
            elf::ET_DYN
        };
        assert_eq!(kind, expected, "{variant}");
    }
}
