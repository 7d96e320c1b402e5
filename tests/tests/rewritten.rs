//! Programs that another tool has changed before they are wrapped, and copies of wrapped programs that it changes.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use e2e::check::segments;
use e2e::{Build, Kind, Root, Sample, Variant, Wrapped, assert_fails_unwrapped};
use e2e::{corpus, matrix, source};
use elf_file::{Elf, Place, Source};
use object::elf;

matrix!(glibc: by_patchelf_0_17, a_copy_by_patchelf, a_cache_of_libraries);

/// The changes that auditwheel makes: other names of libraries, then a DT_RPATH. In a program at a fixed address, patchelf 0.17
/// moves the sections that grow before the first segment, and makes that segment shorter than its contents. The program works only
/// because the kernel maps whole pages, and the contents end on the same page: so they do with these names.
fn by_patchelf_0_17(variant: Variant) {
    let library = Build::library(variant, source("lib/many.c"), "libmany.so").build();
    let built = Build::program(variant, source("many.c"))
        .link(&library)
        .build();
    let root = Root::new(variant);
    let program = root.install(&built, "/app/program");
    let renamed = "libmany-0123456789abcdef.so";
    root.install(&library, &format!("/app/libs/{renamed}"));
    let file = root.path(&program);
    patchelf(&["--replace-needed", "libmany.so", renamed], &file);
    patchelf(&["--force-rpath", "--set-rpath", "$ORIGIN/libs"], &file);
    assert_fails_unwrapped(root.command(&program));

    let original = root.read(&program);
    let all = segments(&original);
    let dynamic = all.iter().find(|one| one.kind == elf::PT_DYNAMIC);
    let dynamic = &dynamic.expect("it has libraries").file;
    let mut loads = all.iter().filter(|one| one.kind == elf::PT_LOAD);
    let inside = loads.any(|load| load.file.start <= dynamic.start && dynamic.end <= load.file.end);
    assert_eq!(inside, variant.kind == Kind::Pie, "another patchelf?");
    root.wrap(&program).run();
    Wrapped::read(&root, &program, original.clone()).check();
    let output = root.command(&program).output().success();
    assert_eq!(output.stdout, "sum 200\n");
    // Without an emulator, `check` does not report the program as one that starts.
    if variant.arch.is_native() {
        let check = root
            .wrap_buddy()
            .args(["check", &program])
            .output()
            .success();
        assert!(check.stdout.contains("all well"), "{check}");
    }
    root.wrap_buddy()
        .args(["restore", &program])
        .output()
        .success();
    assert!(root.read(&program) == original);
}

/// A copy uses the sidecar of the wrapped program. A longer name moves its string table, and a search path adds an entry to
/// .dynamic.
fn a_copy_by_patchelf(variant: Variant) {
    const COPY: &str = "/app/copy";
    let library = Build::library(variant, source("lib/many.c"), "libmany.so").build();
    let program = Build::program(variant, source("many.c")).link(&library);
    let root = Root::new(variant);
    let program = root.install(&program.build(), "/app/program");
    let renamed = "libmany-under-a-name-that-is-longer-than-what-was-there-before.so";
    let libs = root.package("many", &[&library]);
    let packaged = root.path(&format!("{libs}/{renamed}"));
    fs::copy(&library, packaged).expect("copy the library");
    root.wrap(&program).libs([&libs]).run();

    root.install(&root.path(&program), COPY);
    let file = root.path(COPY);
    patchelf(&["--replace-needed", "libmany.so", renamed], &file);
    let output = root.command(COPY).output().success();
    assert_eq!(output.stdout, "sum 200\n", "{output}");

    patchelf(&["--set-rpath", "/nowhere/at/all"], &file);
    let output = root.command(COPY).output().exits_with(127);
    let says = format!("wrap-buddy: {COPY}: changed .dynamic; wrap the program again\n");
    assert_eq!(output.stderr, says);
    // The path in PT_INTERP is lost as well.
    let check = root.wrap_buddy().args(["check", COPY]).output();
    let says = "was changed after it was wrapped";
    assert!(check.stdout.contains(says), "{check}");
    // It is an error if you name the file. In a directory, it is counted with the reason.
    let wrap = |path: &str| root.wrap(path).libs([&libs]).command().output();
    let next = "download or build the program again";
    let named = wrap(COPY).exits_with(1);
    let line = format!("error: {COPY}: {says}");
    assert!(
        named
            .stderr
            .lines()
            .any(|one| one.starts_with(&line) && one.ends_with(next)),
        "{named}"
    );
    let met = wrap("/app").success();
    assert!(
        met.stdout.contains(&format!("{COPY}: skipped: {says}")),
        "{met}"
    );
    for path in [COPY, "/app"] {
        let restored = root
            .wrap_buddy()
            .args(["restore", path, "--dry-run"])
            .output()
            .exits_with(1);
        assert!(restored.stderr.contains(&line), "{restored}");
    }
}

#[track_caller]
fn patchelf(words: &[&str], file: &Path) {
    corpus::patchelf("patchelf", words, file);
}

/// A cache of libraries by patchelf 0.19 is for the search path that the file had then.
fn a_cache_of_libraries(variant: Variant) {
    let says = "its .note.nixos.ldcache has libraries of another search path";
    let sample = Sample::unwrapped(variant);
    let program = sample.root.path("/app/program");
    let library = sample.root.path("/app/libbar.so");
    let built = Build::library(variant, source("lib/bar.c"), "libbar.so")
        .flags(["-DNAME=bar", "-DCALLS=foo", "-Wl,--no-as-needed"])
        .link(Build::library(variant, source("lib/foo.c"), "libfoo.so").build());
    fs::copy(built.build(), &library).expect("copy the library");
    for file in [&program, &library] {
        let patchelf = |words: &[&str]| corpus::patchelf("patchelf-0.19", words, file);
        patchelf(&["--set-rpath", "/gone/lib:$ORIGIN/gone"]);
        patchelf(&["--build-resolution-cache"]);
        let elf = Elf::read(&mut Source::open(file).expect("copied above")).expect("an ELF file");
        let directories = elf.resolved.iter().flat_map(|one| &one.places);
        let directories: Vec<&OsStr> = directories.map(Place::directory).collect();
        assert!(
            directories.starts_with(&["/gone/lib", "$ORIGIN/gone"].map(OsStr::new)),
            "{directories:?}"
        );
    }
    let check = |path: &str| sample.root.wrap_buddy().args(["check", path]).output();
    assert!(!check("/app/program").stdout.contains(says), "it is valid");
    let output = sample.wrapping().args(["/app/libbar.so"]).run();
    assert_eq!(output.stdout.matches(says).count(), 2, "{output}");
    // A stock ld.so does not read it.
    sample.run();
    for path in ["/app/program", "/app/libbar.so"] {
        let output = check(path);
        assert!(output.stdout.contains(says), "{output}");
    }
}
