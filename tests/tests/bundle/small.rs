//! A small program of each architecture and C library.

use std::fs;

use e2e::root::store_path;
use e2e::run::on_host;
use e2e::{Build, Kind, Root, Sample, Variant, matrix, says, source};

use crate::place::{USER, bundle, listing, starts_anywhere};

matrix!(all: starts_anywhere_with_nothing_else);
matrix!(systems: the_same_twice, from_a_store_and_without_it, programs_that_are_wrapped);

fn starts_anywhere_with_nothing_else(variant: Variant) {
    let sample = Sample::installed_at(variant, "/app/program");
    bundle(&sample.root, &["/app/program", "--output", "/out"])
        .output()
        .success();
    let original = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read("/app/program") == original);
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &sample.root.path("/out"), &|root, at| {
        let program = format!("{at}/bin/program");
        says(root.command(&program).output());
        says(root.command(&program).user(USER).output());
        says(root.command("bin/program").cwd(at).output());
    });
}

/// A program of Nix: its dynamic linker and its search path are in the store. The bundle does not use a store, even if one with the same
/// paths is there.
fn from_a_store_and_without_it(variant: Variant) {
    let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let root = Root::new(variant);
    let own = root.package("foo", &[&library]);
    let directories = [root.library_dirs(), vec![own]].concat().join(":");
    let linker = root.interpreter(variant.arch, variant.libc);
    let flags = format!("-Wl,--dynamic-linker={linker},-rpath,{directories}");
    let built = Build::program(variant, source("sample.c"));
    let built = built.link(&library).flag(flags).build();
    let program = format!("{}/bin/program", store_path("app"));
    root.install(&built, &program);
    root.write(&format!("{}/share/data", store_path("app")), "data");
    says(root.command(&program).output());
    bundle(&root, &[&program, "--output", "/out"])
        .output()
        .success();
    assert_eq!(root.read("/out/share/data"), b"data");
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &root.path("/out"), &|root, at| {
        for directory in directories.split(':').filter(|_| at == "/one") {
            for name in ["libfoo.so", "libc.so.6"] {
                root.write(&format!("{directory}/{name}"), "not a library");
            }
        }
        says(root.command(&format!("{at}/bin/program")).output());
    });
}

/// Programs of a tree that was wrapped for this machine: the named one, and a helper.
fn programs_that_are_wrapped(variant: Variant) {
    let sample = Sample::at(variant, "/opt/app/bin/program");
    let root = &sample.root;
    root.install(&sample.built, "/opt/app/libexec/helper");
    let wrap = root
        .wrap("/opt/app/libexec/helper")
        .libs([sample.library_dir.clone()]);
    wrap.run();
    let before = listing(&root.path("/opt/app"));
    bundle(root, &["/opt/app/bin/program", "--output", "/out"])
        .output()
        .success();
    assert_eq!(listing(&root.path("/opt/app")), before);
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &root.path("/out"), &|root, at| {
        says(root.command(&format!("{at}/bin/program")).output());
        says(root.command(&format!("{at}/libexec/helper")).output());
    });
    // Restored, it is the program as it was before it was wrapped.
    let restore = root.wrap_buddy().args(["restore", "/out"]);
    restore.output().success();
    assert!(root.read("/out/bin/program") == fs::read(&sample.built).expect("built before"));
}

/// Another run, at another path and time, makes the same bytes, modes and times.
fn the_same_twice(variant: Variant) {
    let sample = Sample::installed_at(variant, "/app/program");
    let root = &sample.root;
    root.mkdir("/other/place");
    let make = |output: &str, epoch: &str| {
        let run = bundle(root, &["/app/program", "--output", output]);
        run.env("SOURCE_DATE_EPOCH", epoch).output().success();
        listing(&root.path(output))
    };
    let first = make("/out", "");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(first, make("/other/place/out2", ""));
    let dated = make("/dated", "86400");
    for (path, line) in &dated {
        assert!(line.contains(" 86400 "), "{}: {line}", path.display());
    }
    assert_eq!(dated, make("/dated-again", "86400"));
}

/// Two architectures do not share a directory of libraries.
#[test]
fn programs_of_two_architectures_are_in_one_bundle() {
    let [one, other] = ["x86_64_glibc_pie", "i686_glibc_pie"].map(Variant::named);
    let root = Root::with_systems(&[(one.arch, one.libc), (other.arch, other.libc)]);
    for (variant, name) in [(one, "one"), (other, "other")] {
        let sample = Sample::installed_at(
            Variant {
                kind: Kind::Pie,
                ..variant
            },
            &format!("/app/{name}"),
        );
        let tree = sample.root.path("/").display().to_string();
        on_host(
            "cp",
            &[
                "-a",
                "-n",
                &format!("{tree}/."),
                &root.path("/").display().to_string(),
            ],
        )
        .success();
    }
    bundle(&root, &["/app/one", "/app/other", "--output", "/out"])
        .output()
        .success();
    starts_anywhere((one.arch, one.libc), &root.path("/out"), &|root, at| {
        says(root.command(&format!("{at}/bin/one")).output());
        says(root.command(&format!("{at}/bin/other")).output());
    });
}
