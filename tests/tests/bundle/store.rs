//! Real programs of a Nix store: each library is in a store path of its own, and the files refer to each other by DT_RUNPATH.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use e2e::root::store_path;
use e2e::run::on_host;
use e2e::{Root, debian};
use tempfile::TempDir;

use crate::debian::{SYSTEM, TIMEOUT, made_in};
use crate::place::{USER, starts_anywhere};

/// Libraries of glibc work only together.
const GLIBC: [&str; 8] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// Debian packages, from which a store is made in a root.
struct Source {
    unpacked: TempDir,
    /// The libraries, by their names.
    libraries: BTreeMap<String, PathBuf>,
    root: Root,
    /// Libraries that are in the store.
    placed: BTreeSet<String>,
}

impl Source {
    fn of(packages: &[&str]) -> Self {
        let unpacked = tempfile::tempdir().expect("a directory");
        debian::unpack(packages, unpacked.path());
        let mut libraries = BTreeMap::new();
        for directory in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
            let entries = fs::read_dir(unpacked.path().join(directory)).expect("a directory");
            for entry in entries.map(|entry| entry.expect("an entry")) {
                let name = entry.file_name().to_string_lossy().into_owned();
                libraries.insert(name, entry.path());
            }
        }
        Self {
            unpacked,
            libraries,
            root: Root::for_programs_of(&[SYSTEM]),
            placed: BTreeSet::new(),
        }
    }

    /// Copies the file `from` of the packages to `to` in the root, with a DT_RUNPATH to the store paths of what it needs.
    fn install(&mut self, from: &Path, to: &str, is_program: bool) {
        self.root.install(from, to);
        let path = self.root.path(to).display().to_string();
        let printed = on_host("patchelf", &["--print-needed", &path])
            .success()
            .stdout;
        let needed: Vec<String> = printed.lines().map(str::to_owned).collect();
        let directories: BTreeSet<String> = needed.iter().map(|name| directory(name)).collect();
        let is_glibc = to.starts_with(&store_path("glibc"));
        if !directories.is_empty() && !is_glibc {
            let search = directories.into_iter().collect::<Vec<_>>().join(":");
            on_host("patchelf", &["--set-rpath", &search, &path]).success();
        }
        if is_program {
            let linker = format!("{}/{}", directory(GLIBC[0]), GLIBC[0]);
            on_host("patchelf", &["--set-interpreter", &linker, &path]).success();
        }
        for name in needed {
            self.library(&name);
        }
    }

    fn library(&mut self, name: &str) {
        if !self.placed.insert(name.to_owned()) {
            return;
        }
        let from = self.libraries.get(name);
        let from = from.unwrap_or_else(|| panic!("no {name}")).clone();
        self.install(&from, &format!("{}/{name}", directory(name)), false);
    }
}

/// The directory in the store of the library `name`.
fn directory(name: &str) -> String {
    let package = if GLIBC.contains(&name) { "glibc" } else { name };
    format!("{}/lib", store_path(package))
}

#[test]
fn curl_of_a_store() {
    let mut source = Source::of(&["curl"]);
    let program = format!("{}/bin/curl", store_path("curl"));
    let from = source.unpacked.path().join("usr/bin/curl");
    source.install(&from, &program, true);
    let root = &source.root;
    assert!(source.placed.len() > 20, "{:?}", source.placed);
    root.command(&program).arg("--version").output().success();
    made_in(root, &[&program, "--exclude", "gconv"]);
    starts_anywhere(SYSTEM, &root.path("/out"), &|root, at| {
        root.write("/app/page", "fetched\n");
        let curl = root.command(&format!("{at}/bin/curl")).user(USER);
        let output = curl.args(["-sS", "file:///app/page"]).output().success();
        assert_eq!(output.stdout, "fetched\n");
    });
}

/// The directory of its own has the standard library, and extensions with libraries of other store paths.
#[test]
fn python_of_a_store() {
    let mut source = Source::of(&["python3"]);
    let own = store_path("python3");
    let unpacked = source.unpacked.path().to_owned();
    let from = unpacked.join("usr/bin/python3.11");
    source.install(&from, &format!("{own}/bin/python3.11"), true);
    let library = unpacked.join("usr/lib/python3.11");
    let shown = library.display().to_string();
    let found = on_host("find", &[&shown, "-type", "f"]).success().stdout;
    for path in found.lines().map(Path::new) {
        let below = path.strip_prefix(&library).expect("below it");
        let to = format!("{own}/lib/python3.11/{}", below.display());
        match path.extension().is_some_and(|end| end == "so") {
            true => source.install(path, &to, false),
            false => drop(source.root.install(path, &to)),
        }
    }
    let root = &source.root;
    made_in(
        root,
        &[&format!("{own}/bin/python3.11"), "--exclude", "gconv"],
    );
    starts_anywhere(SYSTEM, &root.path("/out"), &|root, at| {
        let script = "import bz2, ctypes, hashlib, lzma, sqlite3, ssl, sys, zlib; \
            print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0], sys.prefix)";
        let python = root.command(&format!("{at}/bin/python3.11")).user(USER);
        let python = python.args(["-B", "-c", script]).timeout(TIMEOUT);
        let output = python.output().success();
        assert_eq!(output.stdout, format!("42 {at}\n"));
    });
}
