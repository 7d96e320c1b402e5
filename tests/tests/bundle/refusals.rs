//! What cannot be bundled gets one clear error, and nothing is made.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use e2e::run::on_host;
use e2e::{Root, Sample, Variant};

use crate::place::{bundle, set_mode};

fn native() -> Variant {
    Variant::named("x86_64_glibc_pie")
}

/// The names in /made, where the bundles would be.
fn made(root: &Root) -> Vec<String> {
    let entries = fs::read_dir(root.path("/made")).expect("list a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Asserts that `args` fail with one line that has all `words`, and leave nothing.
fn refused(root: &Root, args: &[&str], words: &[&str]) {
    root.mkdir("/made");
    let before = made(root);
    for output in ["/made/out", "/made/out.tar.zst"] {
        let output = bundle(root, &[args, &["--output", output]].concat()).output();
        let output = output.exits_with(1);
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        for word in words {
            assert!(output.stderr.contains(word), "{word}: {output}");
        }
        assert_eq!(output.stdout, "", "{output}");
    }
    assert_eq!(made(root), before);
}

#[test]
fn unsuitable_programs() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    for (line, words) in [
        (
            "/bin/none",
            "/app/script: its interpreter /bin/none cannot be used: ",
        ),
        (
            "none",
            "/app/script is a script, and it is not known how to start none: name",
        ),
        ("/usr/bin/env A=1 none", "--include /app/script"),
    ] {
        root.write("/app/script", format!("#!{line}\necho\n"));
        set_mode(&root.path("/app/script"), 0o755);
        refused(root, &["/app/script"], &[words]);
    }
    root.write("/app/text", "text");
    refused(
        root,
        &["/app/text"],
        &["/app/text is neither a program nor a library"],
    );
    refused(root, &["/app"], &["/app is a directory", "--prefix"]);
    refused(root, &["/app/none"], &["/app/none: "]);
    root.install(&sample.built, "/app/set-id");
    set_mode(&root.path("/app/set-id"), 0o4755);
    refused(
        root,
        &["/app/set-id"],
        &["/app/set-id is set-id", "bundle a copy"],
    );
    root.install(&sample.built, "/app/plain");
    set_mode(&root.path("/app/plain"), 0o644);
    refused(root, &["/app/plain"], &["/app/plain is not executable"]);
    refused(
        root,
        &["/app/program", "--prefix", "/usr"],
        &["--prefix /usr: ", "many packages"],
    );
    refused(
        root,
        &["/app/program", "--include", "/app/none*"],
        &["--include /app/none*: nothing matches"],
    );
    refused(
        root,
        &["/app/program", "--include", "libnone.so"],
        &["--include libnone.so: nothing matches"],
    );
}

#[test]
fn missing_libraries_and_linkers() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    let library = root.path(&format!("{}/libfoo.so", native().default_library_dir()));
    fs::remove_file(library).expect("remove a library");
    refused(
        root,
        &["/app/program"],
        &[
            "/app/program: missing libfoo.so",
            "wrap-buddy check /app/program",
        ],
    );
    bundle(
        root,
        &[
            "/app/program",
            "--output",
            "/out",
            "--ignore-missing",
            "libfoo.so",
        ],
    )
    .output()
    .success();
    fs::remove_file(root.path(&native().fhs_interpreter())).expect("remove the linker");
    refused(
        root,
        &["/app/program"],
        &["its dynamic linker /lib64/ld-linux-x86-64.so.2 cannot be used"],
    );
}

#[test]
fn two_libraries_of_one_name() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    let other = e2e::Build::library(native(), e2e::source("lib/foo.c"), "libfoo.so")
        .flag("-O0")
        .flag("-DOTHER=1")
        .flag("-g")
        .build();
    root.install(&other, "/app/lib/libfoo.so");
    let built = e2e::Build::program(native(), e2e::source("sample.c"))
        .link(&other)
        .flag("-Wl,-rpath,/app/lib")
        .build();
    root.install(&built, "/app/second");
    refused(
        root,
        &["/app/program", "/app/second"],
        &["would both be lib/libfoo.so", "make two bundles"],
    );
}

#[test]
fn an_output_that_exists() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    root.write("/there/file", "mine");
    symlink("/there", root.path("/link")).expect("a link");
    root.write("/archive.tar", "mine");
    for (output, words) in [
        ("/there", "/there exists and is no bundle"),
        ("/there/file", "/there/file exists and is no bundle"),
        ("/link", "/link exists and is no bundle"),
        ("/archive.tar", "/archive.tar exists and is no bundle"),
        ("/none/out", "--output /none/out: "),
    ] {
        let output = bundle(root, &["/app/program", "--output", output])
            .output()
            .exits_with(1);
        assert!(output.stderr.contains(words), "{output}");
    }
    assert_eq!(root.read("/there/file"), b"mine");
    assert_eq!(root.read("/archive.tar"), b"mine");
    assert!(!root.path("/none").exists());
}

/// On a file system of 1 MiB.
#[test]
fn a_full_disk() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    root.mkdir("/small");
    let small = root.path("/small").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=1m none '{small}' && chroot '{}' {} bundle /app/program --output /small/out; \
         echo \"status $?\"; ls -A '{small}'",
        root.path("/").display(),
        "/tool/static",
    );
    // The tool of the root needs mounts; here its libraries are copied.
    let tool = e2e::tool::path();
    on_host(
        "cp",
        &[
            tool.to_str().expect("UTF-8"),
            &root.path("/tool/static").display().to_string(),
        ],
    )
    .success();
    let directory = native().default_library_dir();
    for name in ["libgcc_s.so.1", "libm.so.6"] {
        let library = native()
            .arch
            .find_library(name)
            .expect("a library of this machine");
        root.install(&library, &format!("{directory}/{name}"));
    }
    let output = on_host("unshare", &["--mount", "sh", "-c", &script]);
    assert!(output.stdout.ends_with("status 1\n"), "{output}");
    assert!(output.stderr.contains("error: cannot copy "), "{output}");
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
}

/// A static program needs nothing.
#[test]
fn a_static_program_is_copied_as_it_is() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    let built = e2e::Build::program(Variant::named("x86_64_glibc_exec"), e2e::source("hello.c"))
        .flag("-static")
        .build();
    root.install(&built, "/app/static");
    bundle(root, &["/app/static", "--output", "/out"])
        .output()
        .success();
    assert!(root.read("/out/bin/static") == fs::read(&built).expect("built before"));
    assert_eq!(
        fs::read_dir(root.path("/out"))
            .expect("a directory")
            .count(),
        2
    );
    assert_eq!(
        root.command("/out/bin/static").output().success().stdout,
        "hello\n"
    );
}

/// A signal ends the run, and nothing is made.
#[test]
fn a_signal() {
    let sample = Sample::installed_at(native(), "/opt/app/bin/program");
    let root = &sample.root;
    root.mkdir("/made");
    // Enough files for the signal to arrive in time.
    for name in 0..3000 {
        root.write(&format!("/opt/app/share/{name}"), "data");
    }
    let run = bundle(root, &["/opt/app/bin/program", "--output", "/made/out"]);
    let running = run.spawn().expect("start the tool");
    let tree = root.path("/made/.out.wrapbuddy-bundle/share");
    let began = Instant::now();
    while !tree.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no tree is made");
        thread::sleep(Duration::from_millis(1));
    }
    let pid = i32::try_from(running.pid()).expect("a process");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("send a signal");
    let output = running.finish(Duration::from_secs(60));
    assert_eq!(output.status, Some(130), "{output}");
    assert!(
        output.stderr.contains("stopped; nothing was made"),
        "{output}"
    );
    assert_eq!(made(root), [""; 0]);
}
