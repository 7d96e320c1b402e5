//! Programs of Debian's packages, in a root that has only busybox and the bundle.
//!
//! All programs are from Debian's amd64.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use e2e::{Arch, Libc, Root, Run, debian};

use crate::place::{USER, bundle, document, listing, set_mode, starts_anywhere};

pub const SYSTEM: (Arch, Libc) = (Arch::X86_64, Libc::Glibc);

pub const TIMEOUT: Duration = Duration::from_secs(120);

/// A root with Debian packages, in which bundles are made at /out. Returns the root, and the report.
fn made(packages: &[&str], args: &[&str]) -> (Root, serde_json::Value) {
    let root = Root::for_programs_of(&[SYSTEM]);
    debian::unpack(packages, &root.path("/"));
    // Links that a package's script would make.
    let libraries = root.path("usr/lib/x86_64-linux-gnu");
    for name in ["blas", "lapack"] {
        if libraries.join(name).exists() {
            let library = format!("lib{name}.so.3");
            symlink(format!("{name}/{library}"), libraries.join(library)).expect("a link");
        }
    }
    let report = made_in(&root, args);
    (root, report)
}

/// Makes a bundle at /out in `root`, and returns the report.
pub fn made_in(root: &Root, args: &[&str]) -> serde_json::Value {
    let run = bundle(root, args).args(["--output", "/out", "--format", "json"]);
    let run = run.env("PATH", "/usr/bin:/bin").timeout(TIMEOUT);
    let report = document(&run.output().success());
    at_most_a_hundredth_more(&root.path("/out"), &report);
    report
}

/// All files of the bundle together are at most 1 % larger than the files that they are copies of.
fn at_most_a_hundredth_more(tree: &Path, report: &serde_json::Value) {
    let paths = listing(tree).into_keys().map(|path| tree.join(path));
    let files = paths.map(|path| path.symlink_metadata().expect("metadata"));
    let all: u64 = files
        .filter(|found| found.is_file())
        .map(|found| found.len())
        .sum();
    let copied = report["summary"]["bytes"].as_u64().expect("a number");
    println!("{all} bytes, {copied} of them copied");
    assert!(all <= copied + copied / 100, "{all} bytes for {copied}");
}

/// Busybox at /bin, with its usual names.
pub fn with_busybox(root: &Root) {
    let unpacked = tempfile::tempdir().expect("a directory");
    debian::unpack(&["busybox-static"], unpacked.path());
    root.install(&unpacked.path().join("bin/busybox"), "/bin/busybox");
    let install = ["--install", "-s", "/bin"];
    root.command("/bin/busybox")
        .args(install)
        .output()
        .success();
}

/// A bundle at one of its places, and the user who starts its programs.
struct Used<'r> {
    root: &'r Root,
    at: &'r str,
    user: u32,
}

impl<'r> Used<'r> {
    fn run(&self, program: &str) -> Run<'r> {
        let run = self.root.command(&self.path(program));
        let run = run.env("HOME", "/tmp").env("PATH", "/bin");
        let run = run.cwd("/app/work").timeout(TIMEOUT);
        match self.user {
            0 => run,
            user => run.user(user),
        }
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.at)
    }
}

/// Calls `check` for the bundle at each place, as root and as another user.
fn used(tree: &Path, check: fn(&Used<'_>)) {
    starts_anywhere(SYSTEM, tree, &|root, at| {
        if !root.path("/bin/sh").exists() {
            with_busybox(root);
        }
        for user in [0, USER] {
            let work = root.mkdir("/app/work");
            chown(&work, Some(user), Some(user)).expect("chown");
            check(&Used { root, at, user });
            fs::remove_dir_all(work).expect("remove what was written");
        }
    });
}

/// Answers one request, and returns the port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nfetched\n");
    });
    port
}

#[test]
fn curl_fetches() {
    let (root, _) = made(&["curl"], &["curl"]);
    used(&root.path("/out"), |place| {
        let url = format!("http://127.0.0.1:{}/", server());
        let output = place.run("bin/curl").args(["-sS", &url]).output().success();
        assert_eq!(output.stdout, "fetched\n");
    });
}

#[test]
fn git_clones_with_its_helpers_and_scripts() {
    let packages = ["git", "dash"];
    let (root, _) = made(&packages, &["git", "/bin/sh", "--exclude", "gconv"]);
    used(&root.path("/out"), |place| {
        let git = |args: &[&str]| {
            // upload-pack is started by its name.
            let run = place
                .run("bin/git")
                .env("PATH", format!("{}:/bin", place.path("bin")));
            let run = run
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .args(["-C", "/app/work"]);
            run.args(args.iter().copied()).output().success()
        };
        git(&["init", "-q", "first"]);
        let author = [
            "-c",
            "user.name=Tester",
            "-c",
            "user.email=tester@localhost",
        ];
        let commit = [
            "-C",
            "first",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "subject",
        ];
        git(&[&author[..], &commit[..]].concat());
        git(&["clone", "-q", "file:///app/work/first", "second"]);
        let log = git(&["-C", "second", "log", "--format=%an: %s"]);
        assert_eq!(log.stdout, "Tester: subject\n");
        // A helper that is a program of its own.
        let url = format!("http://127.0.0.1:{}/", server());
        let helper = place
            .run("lib/git-core/git-remote-http")
            .args(["origin", &url]);
        let helper = helper.cwd("/app/work/second").stdin("capabilities\n\n");
        let output = helper.output().success();
        assert!(output.stdout.contains("fetch\n"), "{output}");
        // A script, which takes longer.
        if place.at != "/one" || place.user != USER {
            return;
        }
        let add = ["submodule", "--quiet", "add", "/app/work/first", "inner"];
        let second = ["-c", "protocol.file.allow=always", "-C", "second"];
        git(&[&second[..], &add[..]].concat());
        let status = git(&["-C", "second", "submodule", "status"]);
        assert!(status.stdout.contains(" inner (heads/"), "{status}");
    });
}

#[test]
fn perl_finds_its_modules() {
    let (root, _) = made(&["perl"], &["perl", "--exclude", "gconv"]);
    let script = "#!/usr/bin/perl -w\nuse strict; use POSIX; use File::Temp; use Encode; use Data::Dumper; use Socket;\n\
        print join(',', $0, @ARGV), \" $^X \", floor(2.5), encode('UTF-8', chr(0xfc)), \"\\n\";\n";
    root.write("/app/script", script);
    set_mode(&root.path("/app/script"), 0o755);
    bundle(&root, &["/app/script", "--output", "/out"])
        .output()
        .success();
    used(&root.path("/out"), |place| {
        let output = place
            .run("bin/script")
            .args(["a", "b c"])
            .output()
            .success();
        let perl = place.path(".bin.launched/perl");
        let expected = format!(
            "{},a,b c {perl} 2\u{fc}\n",
            place.path(".bin.launched/script")
        );
        assert_eq!(output.stdout, expected);
    });
}

#[test]
fn python_imports_its_library_and_its_extensions() {
    let include = ["--include", "/usr/lib/python3/dist-packages"];
    let (root, _) = made(
        &["python3", "python3-numpy"],
        &[&["python3"], &include[..]].concat(),
    );
    used(&root.path("/out"), |place| {
        let script = "import bz2, ctypes, curses, hashlib, json, lzma, numpy, readline, sqlite3, ssl, subprocess, sys, zlib\n\
            print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0], ssl.OPENSSL_VERSION[:7])\n\
            print(numpy.linalg.det(numpy.array([[2.0, 0.0], [0.0, 3.0]])))\n\
            print(subprocess.check_output([sys.executable, '-Bc', 'print(1)'], text=True).strip())\n\
            print(all(path.startswith(sys.argv[1]) for path in sys.path if path), 'grüße'.encode('latin-1').hex())\n";
        let python = place.run("bin/python3").env("OPENBLAS_NUM_THREADS", "1");
        let output = python
            .args(["-B", "-c", script, place.at])
            .output()
            .success();
        assert_eq!(output.stdout, "42 OpenSSL\n6.0\n1\nTrue 6772fcdf65\n");
    });
}

#[test]
fn bash_runs_a_script() {
    let (root, _) = made(&["bash"], &["/bin/bash", "--exclude", "gconv"]);
    assert!(!root.path("/out/lib/gconv").exists());
    used(&root.path("/out"), |place| {
        let script = "line=$(printf 'one\\ntwo\\n' | sort -r | head -n 1)\necho \"$line ${BASH_VERSION%%.*} $(id -u)\"\n";
        place.root.write("/app/work/script", script);
        let output = place.run("bin/bash").arg("script").output().success();
        assert_eq!(output.stdout, format!("two 5 {}\n", place.user));
    });
}

#[test]
fn iconv_converts_with_the_modules() {
    let (root, _) = made(&["libc-bin"], &["iconv", "--include", "gconv"]);
    used(&root.path("/out"), |place| {
        let convert = |iconv: Run| {
            let iconv = iconv.args(["-f", "IBM850", "-t", "UTF-8"]);
            iconv.stdin([0x81, b'\n']).output()
        };
        assert_eq!(convert(place.run("bin/iconv")).success().stdout, "\u{fc}\n");
        // Without the launcher, glibc has the common ones only.
        assert_ne!(convert(place.run(".bin.launched/iconv")).status, Some(0));
    });
}

/// Those of the bundle, unless the host has a store.
#[test]
fn curl_uses_certificates_of_the_host_or_of_the_bundle() {
    const STORE: &str = "/etc/ssl/certs/ca-certificates.crt";
    let root = Root::for_programs_of(&[SYSTEM]);
    debian::unpack(&["curl"], &root.path("/"));
    root.write(STORE, "not a certificate");
    let run = bundle(&root, &["curl", "--output", "/out", "--exclude", "gconv"]);
    run.env("PATH", "/usr/bin").output().success();
    used(&root.path("/out"), |place| {
        let refused = |store: &str| {
            let url = format!("https://127.0.0.1:{}/", server());
            let output = place.run("bin/curl").args(["-sS", &url]).output();
            let output = output.exits_with(77);
            // curl shortens the message.
            let store: String = store.chars().take(100).collect();
            assert!(output.stderr.contains(&format!(" {store}")), "{output}");
        };
        refused(&place.path(&STORE[1..]));
        place.root.write(STORE, "not a certificate");
        refused(STORE);
        fs::remove_file(place.root.path(STORE)).expect("remove a file");
    });
}
