//! A bundle that exists: other commands, and programs that are added.

use std::fs;

use e2e::{Build, Sample, Variant, says, source};

use crate::place::{bundle, document, listing, starts_anywhere};

fn native() -> Variant {
    Variant::named("x86_64_glibc_pie")
}

#[test]
fn check_and_status_know_it() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    bundle(root, &["/app/program", "--output", "/out"])
        .output()
        .success();
    let check = root.wrap_buddy().args(["check", "/out"]).output().success();
    assert!(check.stdout.contains("all well"), "{check}");
    let status = root
        .wrap_buddy()
        .args(["status", "/out"])
        .output()
        .success();
    assert!(
        status.stdout.contains("/out/bin/program: wrapped"),
        "{status}"
    );
    fs::remove_file(root.path("/out/lib/libc.so.6")).expect("remove a library");
    fs::remove_file(root.path(&format!("{}/libc.so.6", native().default_library_dir())))
        .expect("remove a library");
    let check = root
        .wrap_buddy()
        .args(["check", "/out"])
        .output()
        .exits_with(1);
    assert!(check.stdout.contains("libc.so.6"), "{check}");
}

#[test]
fn a_second_program_joins_the_first() {
    let variant = native();
    let sample = Sample::installed_at(variant, "/app/program");
    let root = &sample.root;
    let hello = Build::program(variant, source("hello.c")).build();
    root.install(&hello, "/app/hello");
    bundle(root, &["/app/program", "--output", "/out"])
        .output()
        .success();
    // The first program may be gone from this machine.
    fs::remove_file(root.path("/app/program")).expect("remove a program");
    root.write("/out/own-file", "mine");
    let before = listing(&root.path("/out"));
    let args = ["/app/hello", "--output", "/out", "--format", "json"];
    let dry = bundle(root, &args).arg("--dry-run").output().success();
    assert_eq!(document(&dry)["added"], true);
    assert_eq!(before, listing(&root.path("/out")));
    let added = document(&bundle(root, &args).output().success());
    assert_eq!(
        added["programs"],
        serde_json::json!(["bin/hello", "bin/program"])
    );
    let after = listing(&root.path("/out"));
    for (path, line) in before
        .iter()
        .filter(|(path, _)| root.path("/out").join(path).is_file())
    {
        let is_list = path.ends_with(".wrap-buddy-bundle.json");
        assert!(is_list || after[path] == *line, "{}", path.display());
    }
    assert!(
        !root.path("/.out.wrapbuddy-old").exists() && !root.path("/.out.wrapbuddy-bundle").exists()
    );
    starts_anywhere(
        (variant.arch, variant.libc),
        &root.path("/out"),
        &|root, at| {
            says(root.command(&format!("{at}/bin/program")).output());
            let output = root.command(&format!("{at}/bin/hello")).output().success();
            assert_eq!(output.stdout, "hello\n");
        },
    );
    // The same once more changes nothing but is no error.
    bundle(root, &args).output().success();
    assert_eq!(listing(&root.path("/out")), after);
}

#[test]
fn another_file_of_the_same_name_is_refused() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    bundle(root, &["/app/program", "--output", "/out"])
        .output()
        .success();
    let before = listing(&root.path("/out"));
    let hello = Build::program(native(), source("hello.c")).build();
    root.install(&hello, "/other/program");
    let output = bundle(root, &["/other/program", "--output", "/out"])
        .output()
        .exits_with(1);
    assert!(
        output.stderr.contains("would both be bin/program"),
        "{output}"
    );
    assert_eq!(listing(&root.path("/out")), before);
}

#[test]
fn a_bundle_in_its_own_prefix_does_not_have_itself() {
    let sample = Sample::installed_at(native(), "/opt/app/bin/program");
    let root = &sample.root;
    root.write("/opt/app/share/data", "data");
    let run = || bundle(root, &["bin/program", "--output", "bundle"]).cwd("/opt/app");
    run().output().success();
    let before = listing(&root.path("/opt/app/bundle"));
    run().output().success();
    assert_eq!(listing(&root.path("/opt/app/bundle")), before);
    assert!(root.path("/opt/app/bundle/share/data").exists());
    assert!(!root.path("/opt/app/bundle/bundle").exists());
}
