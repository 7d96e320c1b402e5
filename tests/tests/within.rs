//! Libraries in the tree that is wrapped, and libraries on the search paths of libraries that were found: you need not name either.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::check::sidecar_of;
use e2e::{Build, Root, Variant, matrix, source, toolchain};
use sidecar::Sidecar;

matrix!(systems: of_the_same_tree, by_its_own_path, the_nearest, search_paths_of_libraries_are_used, check_proposes_the_tree);
matrix!(glibc: the_c_library_stays);
matrix!(architectures: a_chain_of_directories);

const PROGRAM: &str = "/srv/tree/bin/program";

/// In `/srv/tree`, `bin/program` needs `lib/libbar.so.1`, a symbolic link, and that needs `lib/deep/libfoo.so`.
fn tree(variant: Variant) -> Root {
    let root = Root::new(variant);
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so.1").link(&inner);
    let outer = outer.build();
    let built = Build::program(variant, source("indirect.c"))
        .flag("-Wl,--allow-shlib-undefined")
        .link(&outer)
        .build();
    root.install(&built, PROGRAM);
    root.install(&outer, "/srv/tree/lib/libbar.so.1.2");
    root.install(&inner, "/srv/tree/lib/deep/libfoo.so");
    symlink("libbar.so.1.2", root.path("/srv/tree/lib/libbar.so.1")).expect("a symbolic link");
    root
}

#[track_caller]
fn says(root: &Root, program: &str, says: &str) {
    let output = root.command(program).output().success();
    assert_eq!(output.stdout, says, "{output}");
}

/// The search path in the sidecar of a program.
fn search(root: &Root, program: &str) -> String {
    let sidecar = root.read(&sidecar_of(program));
    let sidecar = Sidecar::parse(&sidecar).expect("a sidecar");
    String::from_utf8_lossy(sidecar.search()).into_owned()
}

fn of_the_same_tree(variant: Variant) {
    let root = tree(variant);
    let original = root.read(PROGRAM);
    let wrap = |args: &[&str]| {
        let wrap = root.wrap("/srv/tree").args(args.iter().copied());
        wrap.run();
    };
    wrap(&[]);
    says(&root, PROGRAM, "42\n");
    let path = search(&root, PROGRAM);
    assert!(path.split(':').any(|one| one == "$ORIGIN/../lib"), "{path}");
    for mode in ["rpath", "frozen"] {
        wrap(&["--search", mode]);
        says(&root, PROGRAM, "42\n");
    }
    let restore = || {
        let restore = root.wrap_buddy().args(["restore", "/srv/tree"]);
        restore.output().success();
        assert!(root.read(PROGRAM) == original);
    };
    let moved = "/srv/moved/bin/program";
    let move_and_run = || {
        fs::rename(root.path("/srv/tree"), root.path("/srv/moved")).expect("rename");
        says(&root, moved, "42\n");
        fs::rename(root.path("/srv/moved"), root.path("/srv/tree")).expect("rename");
    };
    restore();
    wrap(&["--strategy", "auto"]);
    says(&root, PROGRAM, "42\n");
    restore();
    wrap(&["--strategy", "inplace"]);
    move_and_run();
    restore();
    for mode in ["runpath", "frozen"] {
        wrap(&["--relocatable", "--allow-outside", "--search", mode]);
        move_and_run();
    }

    // Files that you name one by one are not a tree.
    restore();
    let library = "/srv/tree/lib/libbar.so.1.2";
    let wrap = root.wrap(PROGRAM).and([library]);
    let report = wrap.report();
    report
        .file(PROGRAM)
        .is("failed", &["libraries are missing"]);
}

/// A link to the library is nearer, but from there the library would not find its own needs.
fn by_its_own_path(variant: Variant) {
    let root = tree(variant);
    let library = root.path("/srv/tree/lib/libbar.so.1.2");
    let program = root.install(&root.path(PROGRAM), "/srv/tree/app/bin/exec/program");
    root.install(&library, "/srv/tree/app/plugins/libbar.so.1");
    for path in [
        PROGRAM,
        "/srv/tree/lib/libbar.so.1.2",
        "/srv/tree/lib/libbar.so.1",
    ] {
        fs::remove_file(root.path(path)).expect("remove a file");
    }
    let link = root.path("/srv/tree/app/bin/exec/libbar.so.1");
    symlink("../../plugins/libbar.so.1", link).expect("a symbolic link");
    for mode in [&[][..], &["--search", "rpath"], &["--strategy", "auto"]] {
        let wrap = root.wrap("/srv/tree").args(mode.iter().copied());
        wrap.run();
        says(&root, &program, "42\n");
        let restore = root.wrap_buddy().args(["restore", "/srv/tree"]);
        restore.output().success();
    }
}

/// Of two libraries with the same name, the nearest is used. The other is reported, unless it is the same file.
fn the_nearest(variant: Variant) {
    let root = Root::new(variant);
    let valued = |value: &str| {
        let build = Build::library(variant, source("lib/foo.c"), "libfoo.so");
        build.flag(format!("-DVALUE={value}")).build()
    };
    let built = Build::program(variant, source("indirect.c"))
        .flag("-Dbar=foo")
        .link(valued("40"))
        .build();
    root.install(&built, "/srv/tree/a/bin/program");
    root.install(&built, "/srv/tree/b/bin/program");
    root.install(&valued("40"), "/srv/tree/a/lib/libfoo.so");
    root.install(&valued("40"), "/srv/tree/b/lib/libfoo.so");
    let note = "libfoo.so is taken from /srv/tree/b/lib, the nearest directory";
    let wrap = || root.wrap("/srv/tree").args(["-v"]).run();
    assert!(!wrap().stdout.contains("is taken from"));

    root.install(&valued("1"), "/srv/tree/a/lib/libfoo.so");
    fs::remove_file(root.path(&sidecar_of("/srv/tree/b/bin/program"))).expect("a sidecar");
    root.install(&built, "/srv/tree/b/bin/program");
    let output = wrap();
    assert!(output.stdout.contains(note), "{output}");
    assert!(
        output
            .stdout
            .contains("there is another in /srv/tree/a/lib"),
        "{output}"
    );
    says(&root, "/srv/tree/a/bin/program", "1\n");
    says(&root, "/srv/tree/b/bin/program", "40\n");
}

/// A library that is found has a search path with a library that the program lacks.
fn search_paths_of_libraries_are_used(variant: Variant) {
    let root = Root::new(variant);
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let friends = root.package("foo", std::slice::from_ref(&inner));
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so").link(&inner);
    let outer = outer.flag(format!("-Wl,-rpath,{friends}")).build();
    let built = Build::program(variant, source("indirect.c"))
        .flag("-Dbar=foo")
        .flag("-Wl,--no-as-needed")
        .link(&inner)
        .link(&outer)
        .build();
    let directory = root.package("bar", &[&outer]);
    for search in ["runpath", "frozen"] {
        root.install(&built, "/app/program");
        let wrap = root.wrap("/app").libs([&*directory]);
        wrap.args(["--search", search]).run();
        says(&root, "/app/program", "40\n");
        fs::remove_file(root.path(&sidecar_of("/app/program"))).expect("a sidecar");
    }
    // A library, too.
    let plain = Build::library(variant, source("lib/bar.c"), "libplain.so");
    let plain = plain.flag("-Wl,--no-as-needed").link(&inner).link(&outer);
    root.install(&plain.build(), "/app/lib/libplain.so");
    let report = root.wrap("/app/lib").libs([&*directory]).report();
    let file = report.file("/app/lib/libplain.so");
    file.is("edited", &[]);
}

/// Programs do not get the C library of their tree.
fn the_c_library_stays(variant: Variant) {
    let root = tree(variant);
    let none = Build::library(variant, source("lib/foo.c"), "libc.so.6");
    root.install(&none.build(), "/srv/tree/lib/libc.so.6");
    root.wrap("/srv/tree").only_libs([""; 0]).run();
    says(&root, PROGRAM, "42\n");
}

fn check_proposes_the_tree(variant: Variant) {
    let root = tree(variant);
    let check = root
        .wrap_buddy()
        .args(["check", "/srv/tree", "--find-in", "/nix/store"]);
    let output = check.output().exits_with(1);
    let help = "it is in /srv/tree/lib";
    assert!(output.stdout.contains(help), "{output}");
    assert!(!output.stdout.contains("nowhere"), "{output}");
    // All the commands that it proposes.
    let calls: Vec<Vec<String>> = output
        .stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix("next: wrap-buddy "))
        .map(|call| shlex::split(call).expect("a command line"))
        .collect();
    let names_tree = |call: &Vec<String>| call.iter().any(|word| word == "/srv/tree/lib");
    assert!(calls.iter().any(names_tree), "{output}");
    for call in calls {
        let run = root.wrap_buddy().env("HOME", "/srv/home");
        run.args(call.iter().map(String::as_str)).output().success();
    }
    says(&root, PROGRAM, "42\n");
}

/// An argument that is not a library directory is accepted, and reported, if its meaning is clear.
#[test]
fn unusual_arguments_of_libs_are_accepted() {
    let variant = Variant::new(e2e::Arch::host(), e2e::Libc::Glibc, e2e::Kind::Pie);
    let sample = e2e::Sample::unwrapped(variant);
    let (root, dir) = (&sample.root, &sample.library_dir);
    let library = format!("{dir}/libfoo.so");
    let package = dir.trim_end_matches("/lib");
    let wrap = |libs: &[&str], args: &[&str]| {
        let wrap = root.wrap(&sample.program).libs(libs.iter().copied());
        wrap.args(args.iter().copied()).command().output()
    };
    // Without any directory, only the library is missing.
    let only = root.wrap(&sample.program).only_libs([""]);
    let output = only.args(["--libs", "--runtime-dependencies"]);
    let output = output.command().output().exits_with(1);
    assert!(output.stderr.contains("libfoo.so"), "{output}");

    let output = wrap(&[package], &[]).exits_with(1);
    let hint = format!("{package} has no libraries; did you mean {dir}?");
    assert!(output.stderr.contains(&hint), "{output}");
    let check = ["check", &sample.program, "--libs", package];
    let output = root.wrap_buddy().args(check).output();
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(told.contains(&hint), "{output}");

    let both = format!("{dir}:/opt/lib");
    let output = wrap(&[&both], &[]).exits_with(2);
    let hint = format!("no such directory; write --libs {dir} /opt/lib");
    assert!(output.stderr.contains(&hint), "{output}");

    let output = wrap(&[&library], &[]).success();
    let warning = format!("--libs {library} is a file; its directory is searched");
    assert!(output.stderr.contains(&warning), "{output}");
    sample.run();
}

/// Each library needs one in a directory that is on no other search path. The search follows them up to a limit.
fn a_chain_of_directories(variant: Variant) {
    let library = |name: &str| Build::library(variant, source("lib/foo.c"), name);
    let last = library("libchain-000.so").build();
    let link = library("libchain-000.so").flag("-Wl,--no-as-needed");
    let link = link.flags(toolchain::lld());
    let link = link.link(library("libchain-999.so").build()).build();
    let link = toolchain::without_room(&link);
    let [link, last] = [link, last].map(|path| fs::read(path).expect("just built"));
    let program = Build::program(variant, source("hello.c")).flag("-Wl,--no-as-needed");
    let program = program.flag("-Wl,--allow-shlib-undefined");
    let program = program.link(library("libchain-001.so").build()).build();
    for (length, found) in [(20, true), (40, false)] {
        let root = Root::new(variant);
        root.install(&program, PROGRAM);
        for number in 1..=length {
            let built = if number == length { &last } else { &link };
            let own = renamed(built, "chain-000", &format!("chain-{number:03}"));
            let bytes = renamed(&own, "chain-999", &format!("chain-{:03}", number + 1));
            root.write(
                &format!("/srv/tree/{number}/libchain-{number:03}.so"),
                bytes,
            );
        }
        let output = root.wrap("/srv/tree").args(["--force"]).command().output();
        match found {
            true => {
                output.success();
                says(&root, PROGRAM, "hello\n");
            }
            false => {
                let output = output.exits_with(1);
                let words = ["libchain-032.so", "32 attempts", "--libs"];
                let is_said = words.iter().all(|word| output.stderr.contains(word));
                assert!(is_said, "{output}");
            }
        }
    }
}

/// The library with every occurrence of a name replaced by another of the same length.
fn renamed(library: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = library.to_vec();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..at + from.len()) {
        if rest == from.as_bytes() {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        at += 1;
    }
    bytes
}
