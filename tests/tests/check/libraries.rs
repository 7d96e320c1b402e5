//! Libraries that are missing or wrong.

use std::fs;

use e2e::{Arch, Build, Kind, Libc, Root, Sample, Variant, matrix, says, source, store_path};

use crate::cases::at_home;
use crate::checking::{check, human};

matrix!(systems:
    a_program_without_its_linker_and_library, a_library_of_another_machine, libraries_next_to_a_wrapped_program,
);
matrix!(glibc: default_directories_that_are_forbidden);
matrix!(architectures: a_program_for_a_newer_glibc, a_library_that_is_opened_when_it_is_loaded);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);

fn a_program_without_its_linker_and_library(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let before = check(&sample.root, &sample.program, &[]);
    let problems = before.problems();
    assert_eq!(problems[0], "interpreter", "{}", before.output);
    assert!(
        problems.contains(&"library libfoo.so".into()),
        "{}",
        before.output
    );
    let help = format!("it is in {}", sample.library_dir);
    assert!(before.text().contains(&help), "{}", before.output);
    assert!(
        before.next().contains(&sample.interpreter()),
        "{}",
        before.output
    );

    before.repair(&sample.root);
    sample.run();
    let after = check(&sample.root, &sample.program, &[]).is(&[]);
    assert_eq!(after.file["state"], "wrapped");
    let libraries = after.file["libraries"].as_array().expect("a list");
    let mut libraries = libraries.iter();
    let library = libraries
        .find(|one| one["soname"] == "libfoo.so")
        .expect("its library");
    assert_eq!(library["rule"], "runpath");
    assert_eq!(library["path"], format!("{}/libfoo.so", sample.library_dir));
}

/// A program with DF_1_NODEFLIB does not find even its C library in the default directories, whether ld.so.cache has it or not. A
/// library with that flag finds there only libraries that the program has loaded.
fn default_directories_that_are_forbidden(variant: Variant) {
    let flag = "-Wl,-z,nodefaultlib";
    let sample = at_home(variant, &[flag]);
    let (root, defaults) = (&sample.root, variant.default_library_dir());
    root.write("/etc/ld.so.conf", format!("{defaults}\n"));
    let before = check(root, &sample.program, &[]);
    let before = before.is(&["library libfoo.so", "library libc.so.6"]);
    let text = before.text();
    let forbidden = format!("it is in the default directory {defaults}, but /app/program excludes");
    assert!(text.contains(&forbidden), "{text}");
    assert!(!text.contains("ldconfig"), "{text}");
    before.repair(root);
    sample.run();
    check(root, &sample.program, &[]).is(&[]);

    let wrap = |args: &[&str]| {
        let wrap = root.wrap(&sample.program);
        let libs = wrap.only_libs([&*sample.library_dir]);
        let wrap = libs.interpreter(&variant.fhs_interpreter());
        wrap.args(args.iter().copied()).run();
    };
    for args in [["--search", "rpath"], ["--search", "frozen"]] {
        wrap(&args);
        sample.run();
        check(root, &sample.program, &[]).is(&[]);
    }
    let restore = root.wrap_buddy().args(["restore", &sample.program]);
    restore.output().success();
    wrap(&["--strategy", "inplace"]);
    sample.run();
    check(root, &sample.program, &[]).is(&[]);

    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so").link(&inner);
    let outer = outer.flag(flag).build();
    root.install(&inner, &format!("{defaults}/libfoo.so"));
    let program = Build::program(variant, source("indirect.c")).link(&outer);
    let built = program.flag("-Wl,--allow-shlib-undefined").build();
    let directory = root.package("bar", &[outer]);
    let program = root.install(&built, "/app/indirect");
    for search in ["runpath", "rpath", "frozen"] {
        let wrap = root.wrap(&program).only_libs([&*directory]);
        let wrap = wrap.interpreter(&variant.fhs_interpreter());
        wrap.args(["--search", search]).run();
        let output = root.command(&program).output().success();
        assert_eq!(output.stdout, "42\n", "{search}");
        check(root, &program, &[]).is(&[]);
    }
}

/// A file edited in place is checked without its sidecar.
#[test]
fn edited_in_place() {
    let sample = Sample::new_in_place(HOST);
    let file = check(&sample.root, &sample.program, &[]).is(&[]).file;
    assert_eq!(file["state"], "in-place");
    assert_eq!(file["interpreter"], sample.interpreter());
}

/// If only a wrapped program has a known dynamic linker, libraries next to it are checked with that. The C library, which is not on
/// their search path, is loaded already.
fn libraries_next_to_a_wrapped_program(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    sample.wrap();
    let plain = Build::library(variant, source("lib/foo.c"), "libplain.so");
    let all_needed = plain.clone().flag("-Wl,--no-as-needed").flag("-lc");
    let path = sample
        .root
        .install(&all_needed.build(), "/app/lib/libplain.so");
    let nowhere = ["--find-in", "/app"];
    let text = human(&sample.root, "/app", &["-v", "--find-in", "/app"]);
    assert!(text.contains(&format!("{path}: ok")), "{text}");
    assert!(!text.contains("at hand"), "{text}");

    // The same if a command has to name it. The program has not loaded the library that this one needs.
    let inner = Build::library(variant, source("lib/foo.c"), "libinner.so").build();
    let bar = Build::library(variant, source("lib/bar.c"), "libbar.so").link(&inner);
    let bar = sample.root.install(&bar.build(), "/app/lib/libbar.so");
    let dir = sample.root.package("inner", &[&inner]);
    let text = human(&sample.root, "/app", &["--find-in", &dir]);
    let call = format!(
        "next: wrap-buddy --paths {bar} --libs {dir} --interpreter {}",
        sample.interpreter()
    );
    assert!(text.contains(&call), "{call} in {text}");

    let alone = check(&sample.root, &path, &nowhere).is(&[]);
    assert_eq!(alone.diagnoses(), ["usual-rules"], "{}", alone.output);

    // No command is proposed for a library without needs.
    let path = sample.root.install(&plain.build(), &path);
    let alone = check(&sample.root, &path, &nowhere).is(&[]);
    assert_eq!(
        alone.file["next"].as_array().map(Vec::len),
        Some(0),
        "{}",
        alone.output
    );
}

fn a_library_of_another_machine(variant: Variant) {
    let other = variant.arch.other(Libc::Glibc);
    let sample = Sample::with_flags(variant, "/app/program", &["-Wl,-rpath,/app/lib".into()]);
    let foreign = Variant::new(other, Libc::Glibc, Kind::Pie);
    let foreign = Build::library(foreign, source("lib/foo.c"), "libfoo.so").build();
    sample.root.install(&foreign, "/app/lib/libfoo.so");
    // The program's own dynamic linker is at its path, so the fault is the library.
    let linker = fs::read(sample.root.lookup(&sample.interpreter())).expect("its dynamic linker");
    sample.root.write(&variant.fhs_interpreter(), linker);

    let text = check(&sample.root, &sample.program, &[]).text();
    let why = format!("is for {}", other.name());
    let known = text.contains("/app/lib/libfoo.so") && text.contains(&why);
    assert!(known, "{why:?} in {text}");
}

#[test]
fn the_whole_report_of_a_missing_library() {
    let sample = Sample::unwrapped(HOST);
    insta::assert_snapshot!(human(&sample.root, &sample.program, &[]));
    let nowhere = human(&sample.root, &sample.program, &["--find-in", "/app"]);
    insta::assert_snapshot!("nowhere", nowhere);
    sample.wrap();
    insta::assert_snapshot!("wrapped", human(&sample.root, &sample.program, &[]));
    insta::assert_snapshot!("tree", human(&sample.root, &sample.program, &["-v"]));
}

/// With `--libs`, the report says which problems wrapping with these would solve.
#[test]
fn libs_that_would_solve_a_problem() {
    let sample = Sample::unwrapped(HOST);
    let interpreter = sample.interpreter();
    let with = ["--libs", &sample.library_dir, "--interpreter", &interpreter];
    let checked = check(
        &sample.root,
        &sample.program,
        &[&with[..], &["--find-in", "/app"]].concat(),
    );
    let expected = ["wrap-buddy", "--paths", &sample.program];
    assert_eq!(checked.next(), [&expected[..], &with].concat());
    checked.repair(&sample.root);
    sample.run();
}

#[test]
fn a_library_for_another_libc() {
    let sample = Sample::with_flags(HOST, "/app/program", &["-Wl,-rpath,/app/lib".into()]);
    let musl = Variant::new(Arch::X86_64, Libc::Musl, Kind::Pie);
    let foreign = Build::library(musl, source("lib/foo.c"), "libfoo.so").build();
    sample.root.install(&foreign, "/app/lib/libfoo.so");
    let checked = check(&sample.root, &sample.program, &[]);
    let problems = checked.problems();
    assert!(
        problems.contains(&"unfit-library libfoo.so".into()),
        "{}",
        checked.output
    );
    assert!(
        checked.text().contains("is linked to musl, not to glibc"),
        "{}",
        checked.output
    );
    assert!(
        !problems.iter().any(|one| one.contains("libc.so ")),
        "{}",
        checked.output
    );
}

/// Of two libraries with the same name, only one has the version.
#[test]
fn a_symbol_version_that_a_library_lacks() {
    let root = Root::new(HOST);
    let version = |name: &str| format!("-Wl,--version-script={}", source(name).display());
    let library = |script: &str| {
        let build = Build::library(HOST, source("lib/foo.c"), "libfoo.so");
        build.flag(version(script)).build()
    };
    let (old, new) = (library("lib/old.map"), library("lib/new.map"));
    let program = Build::program(HOST, source("sample.c")).link(&new);
    let program = program.flag("-Wl,-rpath,/app/old").build();
    root.install(&program, "/app/program");
    root.install(&old, "/app/old/libfoo.so");
    root.package("new", &[&new]);
    let checked = check(&root, "/app/program", &[]);
    assert!(
        checked
            .problems()
            .contains(&"symbol-version libfoo.so".into()),
        "{}",
        checked.output
    );
    let text = checked.text();
    let expected = "FOO_2.0 wanted by /app/program, /app/old/libfoo.so has up to FOO_1.0";
    assert!(text.contains(expected), "{}", checked.output);
    // The program's own search path comes first, so no call of the tool can give it the other library.
    let next = checked.file["next"].to_string();
    assert!(
        next.contains("find /app/old/libfoo.so first; replace that"),
        "{}",
        checked.output
    );
    root.install(&new, "/app/old/libfoo.so");
    let checked = check(&root, "/app/program", &[]);
    assert!(!checked.text().contains("FOO_2.0"), "{}", checked.output);
}

/// The store has the library with the version, and another without.
#[test]
fn a_symbol_version_that_one_of_two_packages_has() {
    let root = Root::new(HOST);
    let library = |script: &str| {
        let script = format!("-Wl,--version-script={}", source(script).display());
        let build = Build::library(HOST, source("lib/foo.c"), "libfoo.so");
        build.flag(script).build()
    };
    let (old, new) = (library("lib/old.map"), library("lib/new.map"));
    let program = Build::program(HOST, source("sample.c")).link(&new).build();
    root.install(&program, "/app/program");
    let libs = root.package("old", &[&old]);
    let directory = root.package("new", &[&new]);
    let checked = check(
        &root,
        "/app/program",
        &["--libs", &libs, "--find-in", "/nix/store"],
    );
    assert!(checked.next().contains(&directory), "{}", checked.output);
    checked.repair(&root);
    says(root.command("/app/program").output());
    check(&root, "/app/program", &[]).is(&[]);
}

/// ld.so searches for file names.
#[test]
fn a_library_that_is_called_differently() {
    let sample = Sample::unwrapped(HOST);
    let from = sample
        .root
        .path(&format!("{}/libfoo.so", sample.library_dir));
    let to = sample
        .root
        .path(&format!("{}/libfoo.so.1.2", sample.library_dir));
    fs::rename(from, to).expect("rename a library");
    let checked = check(&sample.root, &sample.program, &[]);
    let expected = "/libfoo.so.1.2 has this DT_SONAME; make a symbolic link libfoo.so to it";
    assert!(checked.text().contains(expected), "{}", checked.output);
    checked.repair(&sample.root);
    // Its libraries are there now, so it is wrapped.
    check(&sample.root, &sample.program, &[]).repair(&sample.root);
    says(sample.root.command(&sample.program).output());
}

/// Libraries in its dlopen metadata.
#[test]
fn a_library_that_is_opened() {
    let root = Root::new(HOST);
    let library = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    root.install(
        &Build::program(HOST, source("opened.c")).build(),
        "/app/program",
    );
    let directory = root.package("foo", &[&library]);
    let checked = check(&root, "/app/program", &[]);
    assert!(
        checked.problems().contains(&"dlopen libfoo.so".into()),
        "{}",
        checked.output
    );
    let notes = checked.file["notes"].to_string();
    assert!(
        notes.contains("libnone.so.1") && notes.contains("suggested"),
        "{}",
        checked.output
    );
    assert!(checked.next().contains(&directory), "{}", checked.output);
    checked.repair(&root);
    let output = root.command("/app/program").output().success();
    assert_eq!(output.stdout, "opened 40\n");
    check(&root, "/app/program", &[]).is(&[]);
}

/// dlopen finds a library that is already loaded by its name, in any directory.
fn a_library_that_is_opened_when_it_is_loaded(variant: Variant) {
    let root = Root::new(variant);
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so")
        .flag("-Wl,-rpath,$ORIGIN/../inner,--enable-new-dtags")
        .link(&inner)
        .build();
    let interpreter = root.interpreter(variant.arch, variant.libc);
    let program = Build::program(variant, source("opened.c"))
        .flag("-Wl,-rpath,$ORIGIN/outer,--enable-new-dtags,--no-as-needed,--allow-shlib-undefined")
        .flag(format!("-Wl,--dynamic-linker={interpreter}"))
        .link(&outer)
        .build();
    root.install(&program, "/app/program");
    root.install(&outer, "/app/outer/libbar.so");
    let problems = || check(&root, "/app/program", &[]).problems();
    assert!(problems().contains(&"library libfoo.so".into()));
    root.install(&inner, "/app/inner/libfoo.so");
    let libc = root.library_dirs().join(":");
    let start = root.command("/app/program").env("LD_LIBRARY_PATH", &libc);
    assert_eq!(start.output().success().stdout, "opened 40\n");
    let opened = "dlopen libfoo.so".to_owned();
    assert!(!problems().contains(&opened), "{:?}", problems());
}

/// A library that no program needs is checked as a library.
#[test]
fn a_library_that_lacks_one() {
    let root = Root::new(HOST);
    let inner = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(HOST, source("lib/bar.c"), "libbar.so")
        .link(&inner)
        .build();
    root.install(&outer, "/app/libbar.so");
    root.package("foo", &[&inner]);
    let interpreter = root.interpreter(HOST.arch, HOST.libc);
    let with = ["--interpreter", &interpreter];
    let checked = check(&root, "/app/libbar.so", &with);
    assert!(
        checked.problems().contains(&"library libfoo.so".into()),
        "{}",
        checked.output
    );
    checked.repair(&root);
    let file = check(&root, "/app/libbar.so", &with).file;
    let library = file["libraries"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["soname"] == "libfoo.so");
    assert_eq!(
        library.expect("found")["path"],
        format!("{}/lib/libfoo.so", store_path("foo"))
    );
}

/// Names with special characters are quoted for the shell.
#[test]
fn the_command_is_quoted() {
    let sample = Sample::unwrapped_at(HOST, "/app/it's a program");
    let checked = check(&sample.root, &sample.program, &[]);
    checked.repair(&sample.root);
    says(sample.command().output());
}

/// The system's glibc is too old, and so is one of two others.
fn a_program_for_a_newer_glibc(variant: Variant) {
    const WANTED: &str = "GLIBC_2.34";
    let sample = at_home(variant, &[]);
    let root = &sample.root;
    let default = variant.default_library_dir();
    let mut old = root.read(&format!("{default}/libc.so.6"));
    let name = [b"\0", WANTED.as_bytes(), b"\0"].concat();
    let windows = old.windows(name.len()).enumerate();
    let at: Vec<usize> = windows
        .filter(|(_, bytes)| *bytes == name)
        .map(|(at, _)| at)
        .collect();
    assert!(!at.is_empty(), "no {WANTED} in this machine's libc");
    for at in at {
        old[at + WANTED.len()] = b'!';
    }
    root.write(&format!("{default}/libc.so.6"), &old);
    root.write("/opt/old/libc.so.6", &old);
    let linker = root.read(&variant.fhs_interpreter());
    root.write(&format!("/opt/old/{}", variant.arch.ld_so()), linker);

    let with = ["--find-in", "/opt", "/nix/store"];
    let before = check(root, &sample.program, &with);
    let problems = before.problems();
    let is_known = problems.contains(&"symbol-version libc.so.6".into());
    assert!(is_known, "{}", before.output);
    let wants = format!("{WANTED} wanted by {}", sample.program);
    assert!(before.text().contains(&wants), "{}", before.output);
    let next = before.next();
    assert!(next.contains(&sample.interpreter()), "{}", before.output);
    before.repair(root);
    sample.run();
    check(root, &sample.program, &with).is(&[]);

    // Only old ones.
    let sample = at_home(variant, &[]);
    sample.root.write(&format!("{default}/libc.so.6"), &old);
    let with = ["--find-in", &sample.library_dir];
    let nowhere = check(&sample.root, &sample.program, &with);
    assert_eq!(nowhere.commands(), [""; 0], "{}", nowhere.output);
    let next = nowhere.file["next"].to_string();
    assert!(next.contains("it needs a newer C library"), "{next}");
}

/// ld.so.cache counts for the system's dynamic linker only.
#[test]
fn a_library_of_the_cache() {
    let sample = at_home(HOST, &[]);
    let root = &sample.root;
    let library = root.lookup(&format!("{}/libfoo.so", sample.library_dir));
    root.install(&library, "/opt/foo/libfoo.so");
    root.write("/etc/ld.so.conf", "/opt/foo\n");
    root.install("/sbin/ldconfig".as_ref(), "/sbin/ldconfig");
    root.command("/sbin/ldconfig").output().success();
    check(root, &sample.program, &[]).is(&[]);

    let wrap = |interpreter: &str| {
        let run = root.wrap(&sample.program).only_libs([""; 0]);
        run.interpreter(interpreter).args(["--force"]).report()
    };
    let elsewhere = wrap(&sample.interpreter()).exits_with(1);
    elsewhere
        .file(&sample.program)
        .is("failed", &["libraries are missing"]);
    let wrapped = wrap(&HOST.fhs_interpreter()).success();
    wrapped.file(&sample.program).is("wrapped", &[]);
    let status = check(root, &sample.program, &[]).is(&[]).file;
    assert_eq!(status["state"], "wrapped");
    let rules = status["libraries"].as_array().expect("a list");
    assert_eq!(rules[0]["rule"], "ld-so-cache", "{status}");
    sample.run();
    fs::remove_file(root.path("/etc/ld.so.cache")).expect("remove the cache");
    let after = check(root, &sample.program, &[]);
    assert_eq!(after.problems(), ["library libfoo.so"], "{}", after.output);
}
