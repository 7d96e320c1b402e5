//! What is in a bundle, where, and why.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use e2e::{Build, Root, Sample, Variant, matrix, says, source};

use crate::place::{bundle, document, listing, set_mode, starts_anywhere};

matrix!(systems: a_prefix_keeps_its_relations);

fn native() -> Variant {
    Variant::named("x86_64_glibc_pie")
}

/// Data, links, hard links, modes and holes of the prefix of a program.
fn a_prefix_keeps_its_relations(variant: Variant) {
    let sample = Sample::installed_at(variant, "/opt/app/bin/program");
    let root = &sample.root;
    root.write("/opt/app/share/app/data", "data");
    set_mode(&root.path("/opt/app/share/app/data"), 0o640);
    root.mkdir("/opt/app/empty");
    let data = root.path("/opt/app/share/app");
    fs::hard_link(data.join("data"), data.join("again")).expect("a hard link");
    symlink("/opt/app/share/app/data", root.path("/opt/app/link")).expect("a link");
    symlink("../share", root.path("/opt/app/bin/share")).expect("a link");
    root.write("/srv/outside", "outside");
    symlink("/srv/outside", root.path("/opt/app/copied")).expect("a link");
    let sparse = fs::File::create(root.path("/opt/app/sparse")).expect("a file");
    sparse.set_len(8 << 20).expect("a hole");
    fs::hard_link(root.path(&sample.program), root.path("/opt/app/bin/second"))
        .expect("a hard link");
    // A helper of the program, in another directory.
    root.install(&sample.built, "/opt/app/libexec/app/helper");

    let arguments = [
        "/opt/app/bin/program",
        "--output",
        "/out",
        "--format",
        "json",
    ];
    let output = bundle(root, &arguments).output().success();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let files = report["files"].as_array().expect("files").iter();
    // These are other names of files that are counted.
    let files =
        files.filter(|file| file["path"] != "share/app/again" && file["path"] != "bin/second");
    let sizes = files.map(|file| file["size"].as_u64().expect("a size"));
    assert_eq!(report["summary"]["bytes"], sizes.sum::<u64>());
    let out = root.path("/out");
    let metadata = |name: &str| out.join(name).symlink_metadata().expect("metadata");
    assert_eq!(metadata("share/app/data").mode() & 0o777, 0o640);
    assert_eq!(
        metadata("share/app/data").ino(),
        metadata("share/app/again").ino()
    );
    assert_eq!(
        metadata("share/app/data").mtime(),
        fs::metadata(data.join("data")).expect("metadata").mtime()
    );
    assert!(metadata("empty").is_dir());
    assert_eq!(
        fs::read_link(out.join("link")).expect("a link").to_str(),
        Some("share/app/data")
    );
    assert_eq!(
        fs::read_link(out.join("bin/share"))
            .expect("a link")
            .to_str(),
        Some("../share")
    );
    assert_eq!(
        fs::read_to_string(out.join("copied")).expect("a file"),
        "outside"
    );
    assert!(!metadata("copied").is_symlink());
    assert_eq!(metadata("sparse").len(), 8 << 20);
    assert!(metadata("sparse").blocks() < 1 << 10);
    assert_eq!(metadata("bin/program").ino(), metadata("bin/second").ino());
    starts_anywhere((variant.arch, variant.libc), &out, &|root, at| {
        for program in ["bin/program", "bin/second", "libexec/app/helper"] {
            says(root.command(&format!("{at}/{program}")).output());
        }
    });
}

#[test]
fn a_name_that_is_a_link_stays_one() {
    let sample = Sample::installed_at(native(), "/usr/bin/program-1");
    let root = &sample.root;
    symlink("program-1", root.path("/usr/bin/program")).expect("a link");
    let run = bundle(root, &["program", "--output", "/out"]).env("PATH", "/usr/bin");
    let output = run.output().success();
    assert!(
        output
            .stderr
            .contains("program: found on PATH: /usr/bin/program"),
        "{output}"
    );
    assert!(output.stdout.contains("/out/bin/program\n"), "{output}");
    let link = fs::read_link(root.path("/out/bin/program")).expect("a link");
    assert_eq!(link.to_str(), Some("program-1"));
    says(root.command("/out/bin/program").output());
}

#[test]
fn the_report_says_why_each_file_is_there() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    let libc = format!("{}/libc.so.6", native().default_library_dir());
    root.write(
        "/var/lib/dpkg/info/libc6:amd64.list",
        format!("/.\n{libc}\n"),
    );
    let copyright = "Format: 1.0\n\nFiles: *\nLicense: LGPL-2.1+\n\nFiles: x\nLicense: BSD\n";
    root.write("/usr/share/doc/libc6/copyright", copyright);
    let args = ["/app/program", "--output", "/out", "--format", "json"];
    let dry = bundle(root, &args).arg("--dry-run").output().success();
    assert!(!root.path("/out").exists());
    let dry = document(&dry);
    assert_eq!(dry["dry_run"], true);
    let real = document(&bundle(root, &args).output().success());
    let entry = |document: &serde_json::Value, path: &str| {
        let files = document["files"].as_array().expect("files").clone();
        let found = files.into_iter().find(|file| file["path"] == path);
        found.unwrap_or_else(|| panic!("no {path}: {document}"))
    };
    let libc = entry(&real, "lib/libc.so.6");
    assert_eq!(libc["package"], "libc6");
    assert_eq!(libc["licences"], serde_json::json!(["BSD", "LGPL-2.1+"]));
    let library = entry(&real, "lib/libfoo.so");
    assert_eq!(library["package"], serde_json::Value::Null);
    assert_eq!(library["role"], "library");
    assert_eq!(library["needed_by"], "/app/program");
    assert_eq!(library["rule"], "default directory");
    assert_eq!(entry(&real, "bin/program")["role"], "program");
    assert_eq!(
        entry(&real, "lib/ld-linux-x86-64.so.2")["role"],
        "dynamic-linker"
    );
    // The sizes are those of the files, and the plan is that of the real run.
    let files = real["files"].as_array().expect("files");
    let mut bytes = 0;
    for file in files {
        let path = root
            .path("/out")
            .join(file["path"].as_str().expect("a path"));
        let len = path.metadata().expect("a file of the report").len();
        assert_eq!(file["size"], len, "{file}");
        bytes += len;
    }
    assert_eq!(real["summary"]["bytes"], bytes);
    let paths = |document: &serde_json::Value| -> Vec<String> {
        let files = document["files"].as_array().expect("files");
        files.iter().map(|file| file["path"].to_string()).collect()
    };
    assert_eq!(paths(&dry), paths(&real));
    // All others are sidecars and the list.
    for path in listing(&root.path("/out")).keys() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_listed = files
            .iter()
            .any(|file| file["path"] == *path.to_string_lossy());
        let is_own = name.ends_with(".wrapbuddy") || name == ".wrap-buddy-bundle.json";
        assert!(
            is_listed || is_own || root.path("/out").join(path).is_dir(),
            "{}",
            path.display()
        );
    }
    let listed = bundle(
        root,
        &["/app/program", "--output", "/other", "--list", "--dry-run"],
    );
    let listed = listed.output().success();
    let line = "  library for /app/program, default directory, from ";
    assert!(listed.stdout.contains(line), "{listed}");
    assert!(
        listed.stdout.contains(", of libc6 (BSD; LGPL-2.1+)\n"),
        "{listed}"
    );
    assert!(
        listed.stdout.contains("/other: would be made: "),
        "{listed}"
    );
}

/// Sonames and files of `--include`, and a library that stays the host's.
#[test]
fn included_and_excluded() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    let extra = Build::library(native(), source("lib/foo.c"), "libextra.so.1").build();
    let directory = native().default_library_dir();
    root.install(&extra, &format!("{directory}/libextra.so.1"));
    root.write("/usr/share/app/a.txt", "a");
    root.write("/usr/share/app/deep/b.txt", "b");
    root.write("/usr/share/app/deep/c.bin", "c");
    let args = [
        "/app/program",
        "--output",
        "/out",
        "--include",
        "libextra.so.*",
        "/usr/share/app/**/*.txt",
    ];
    bundle(root, &args).output().success();
    let has = |name: &str| root.path("/out").join(name).exists();
    assert!(has("lib/libextra.so.1") && has("share/app/a.txt") && has("share/app/deep/b.txt"));
    assert!(!has("share/app/deep/c.bin"));

    let args = ["/app/program", "--output", "/host", "--exclude", "libfoo*"];
    let output = bundle(root, &args).output().success();
    assert!(
        output.stdout.contains("of the host  libfoo.so\n"),
        "{output}"
    );
    assert!(!root.path("/host/lib/libfoo.so").exists());
    // The host has it here, and not in an empty root.
    says(root.command("/host/bin/program").output());
    let empty = Root::for_programs_of(&[(native().arch, native().libc)]);
    crate::place::copy(&root.path("/host"), &empty.path("/host"));
    let output = empty.command("/host/bin/program").output();
    let output = output.exits_with(127);
    assert!(output.stderr.contains("libfoo.so: cannot open"), "{output}");
}

/// Libraries that a file opens, and their own needs.
#[test]
fn libraries_of_the_dlopen_note_are_in_it() {
    let variant = native();
    let inner = Build::library(variant, source("lib/foo.c"), "libinner.so").build();
    let opened = Build::library(variant, source("lib/foo.c"), "libopened.so")
        .link(&inner)
        .flag("-Wl,--no-as-needed")
        .build();
    let note = r#"__asm__(".section .note.dlopen,\"a\",%note\n.balign 4\n.long 4, 2f-1f, 0x407c0c0a\n.asciz \"FDO\"\n1: .asciz \"[{\\\"soname\\\":[\\\"libopened.so\\\"],\\\"priority\\\":\\\"required\\\"}]\"\n2: .balign 4\n.previous\n");
        #include <dlfcn.h>
        #include <stdio.h>
        int main(void) { puts(dlopen("libopened.so", RTLD_NOW) ? "opened" : dlerror()); return 0; }"#;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("opens.c");
    fs::write(&file, note).expect("write a source");
    let program = Build::program(variant, file).build();
    let sample: Sample = Sample::installed_at(variant, "/app/program");
    let root = &sample.root;
    for (library, name) in [(&inner, "libinner.so"), (&opened, "libopened.so")] {
        root.install(
            library,
            &format!("{}/{name}", variant.default_library_dir()),
        );
    }
    root.install(&program, "/app/opens");
    let output = bundle(
        root,
        &["/app/opens", "--output", "/out", "--format", "json"],
    )
    .output()
    .success();
    assert!(output.stdout.contains("\"opened\""), "{output}");
    starts_anywhere(
        (variant.arch, variant.libc),
        &root.path("/out"),
        &|root, at| {
            let output = root.command(&format!("{at}/bin/opens")).output().success();
            assert_eq!(output.stdout, "opened\n", "{output}");
        },
    );
}
