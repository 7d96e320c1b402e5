//! `bundle --root`: programs of an image below a directory. Nothing in it is executed, and no file outside of it counts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::run::on_host;
use e2e::{Arch, Libc, Output, Root, Sample, Variant, debian, matrix, says, tool};

use crate::debian::{SYSTEM, with_busybox};
use crate::place::{bundle, copy, listing, set_mode, starts_anywhere};

matrix!(systems: from_a_minimal_image);

/// The tool outside of any root, for the image `root`.
fn from_outside(root: &Root, args: &[&str]) -> Output {
    let top = root.path("/").display().to_string();
    let args = [&["bundle", "--root", &top], args].concat();
    on_host(tool::path(), &args)
}

/// The bundle is the same as one that is made inside of the image.
fn from_a_minimal_image(variant: Variant) {
    let sample = Sample::installed_at(variant, "/opt/app/bin/program");
    let root = &sample.root;
    root.write("/opt/app/share/data", "data");
    symlink("/opt/app/share/data", root.path("/opt/app/share/link")).expect("a link");
    let script = "/opt/app/bin/script";
    root.write(script, "#!/opt/app/bin/program\n");
    set_mode(&root.path(script), 0o755);
    let programs = ["/opt/app/bin/program", script];
    bundle(root, &[&programs[..], &["--output", "/out"]].concat())
        .output()
        .success();
    let made = tempfile::tempdir().expect("a directory");
    let out = made.path().join("out");
    let shown = out.display().to_string();
    // As a path inside, and as one on this machine.
    let through = root.path(programs[0]).display().to_string();
    from_outside(root, &[&through, script, "--output", &shown]).success();
    assert_eq!(listing(&out), listing(&root.path("/out")));
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &out, &|root, at| {
        says(root.command(&format!("{at}/bin/program")).output());
        says(root.command(&format!("{at}/bin/script")).output());
    });
    let runnable = made.path().join("runnable").display().to_string();
    from_outside(root, &[programs[0], "--runnable", &runnable]).success();
    let other = Root::for_programs_of(&[system]);
    other.install(Path::new(&runnable), "/runnable");
    says(other.command("/runnable").env("HOME", "/tmp").output());
}

/// A name is looked up in the image, and so are helpers, templates and the interpreters of scripts.
#[test]
fn git_of_a_debian_image() {
    let image = Root::for_programs_of(&[SYSTEM]);
    debian::unpack(&["git", "dash"], &image.path("/"));
    let made = tempfile::tempdir().expect("a directory");
    let out = made.path().join("out");
    let shown = out.display().to_string();
    let args = ["git", "/bin/sh", "--exclude", "gconv", "--output", &shown];
    let output = from_outside(&image, &args).success();
    assert!(
        output.stderr.contains("git: found on PATH: /usr/bin/git"),
        "{output}"
    );
    let root = Root::for_programs_of(&[SYSTEM]);
    with_busybox(&root);
    copy(&out, &root.path("/bundle"));
    let git = |args: &[&str]| {
        let run = root
            .command("/bundle/bin/git")
            .cwd("/app")
            .env("HOME", "/app");
        let run = run
            .env("PATH", "/bundle/bin:/bin")
            .args(args.iter().copied());
        run.output().success().stdout
    };
    git(&["init", "-q", "first"]);
    assert!(git(&["-C", "first", "status"]).contains("No commits yet"));
    // A script of git with the shell of the bundle.
    assert_eq!(git(&["-C", "first", "submodule", "status"]), "");
}

/// An image of another architecture.
#[test]
fn dash_of_an_aarch64_debian_image() {
    let system = (Arch::Aarch64, Libc::Glibc);
    let image = Root::for_programs_of(&[system]);
    debian::unpack_of(Arch::Aarch64, &["dash"], &image.path("/"));
    let made = tempfile::tempdir().expect("a directory");
    let out = made.path().join("out");
    let shown = out.display().to_string();
    let args = ["sh", "--exclude", "gconv", "--output", &shown];
    from_outside(&image, &args).success();
    starts_anywhere(system, &out, &|root, at| {
        let script = "echo $((6 * 7)) \"$0\"";
        let run = root.command(&format!("{at}/bin/sh"));
        let output = run.args(["-c", script, "name"]).output().success();
        assert_eq!(output.stdout, "42 name\n");
    });
}

/// Links in the image that lead out of it on this machine lead to nothing.
#[test]
fn links_that_lead_out() {
    let variant = Variant::named("x86_64_glibc_pie");
    let sample = Sample::installed_at(variant, "/opt/app/bin/program");
    let root = &sample.root;
    let outside = tempfile::tempdir().expect("a directory");
    let secret = outside.path().join("secret");
    fs::write(&secret, "a secret of this machine").expect("write a file");
    let up = format!("{}{}", "../".repeat(30), &secret.display().to_string()[1..]);
    root.mkdir("/opt/app/share");
    let links = [
        ("/opt/app/share/absolute", secret.display().to_string()),
        ("/opt/app/share/up", up),
        (
            "/opt/app/share/directory",
            outside.path().display().to_string(),
        ),
        ("/opt/app/share/loop", "loop".to_owned()),
    ];
    for (link, target) in &links {
        symlink(target, root.path(link)).expect("a link");
    }
    let made = tempfile::tempdir().expect("a directory");
    let out = made.path().join("out");
    let shown = out.display().to_string();
    let output = from_outside(root, &["/opt/app/bin/program", "--output", &shown]).success();
    for (link, target) in &links {
        let copied = out.join(link.trim_start_matches("/opt/app/"));
        let found = fs::read_link(&copied).expect("a link");
        assert_eq!(found, Path::new(target), "{output}");
        let name = link.rsplit('/').next().expect("a name");
        assert!(
            output
                .stderr
                .contains(&format!("share/{name}: the link leads to")),
            "{output}"
        );
    }
    let refused = |args: &[&str], words: &str| {
        let other = format!("{shown}-other");
        let args = [args, &["--output", &other]].concat();
        let output = from_outside(root, &args).exits_with(1);
        assert!(output.stderr.contains(words), "{words}: {output}");
    };
    let program = "/opt/app/bin/program";
    refused(&["src"], "is not below the root");
    refused(&["/opt/app/share/absolute"], "does not exist");
    refused(
        &[program, "--include", "/opt/app/share/directory/*"],
        "nothing matches",
    );
    refused(
        &[program, "--prefix", "/opt/app/share/directory"],
        "does not exist",
    );
    // A library of this machine is none of the image.
    let library = format!("{}/libfoo.so", variant.default_library_dir());
    let moved = outside.path().join("libfoo.so");
    fs::copy(root.path(&library), &moved).expect("copy a library");
    fs::remove_file(root.path(&library)).expect("remove a library");
    symlink(&moved, root.path(&library)).expect("a link");
    refused(&[program], "missing libfoo.so");
}
