//! Installs programs and trees in a root, and wraps them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e::check::sidecar_of;
use e2e::{Arch, Edited, Libc, Report, Root, Wrapped, assert_fails_unwrapped, toolchain};

/// The architecture of a program, and the way to wrap it.
#[derive(Clone, Copy)]
pub struct Case {
    pub arch: Arch,
    auto: bool,
    own: bool,
    embedded: bool,
}

impl Case {
    /// The case called `name`; see `on!`.
    pub fn named(name: &str) -> Case {
        let is = |suffix| match name.strip_suffix(suffix) {
            Some(arch) => (arch, true),
            None => (name, false),
        };
        let ((of_auto, auto), (of_own, own)) = (is("_auto"), is("_own"));
        let (of_embedded, embedded) = is("_embedded");
        let arch = match (own, embedded) {
            (true, _) => of_own,
            (_, true) => of_embedded,
            _ => of_auto,
        };
        let host = (arch == "host").then(Arch::host);
        let known = || Arch::ALL.into_iter().find(|known| known.name() == arch);
        let arch = host.or_else(known);
        Case {
            arch: arch.unwrap_or_else(|| panic!("no case is called {name}")),
            auto,
            own,
            embedded,
        }
    }

    /// The value of `--strategy`.
    pub fn strategy(self) -> &'static str {
        if self.auto { "auto" } else { "stub" }
    }
}

/// A root for programs of a case, with a `/bin/sh`: a wrapped dash of this machine's own architecture.
pub fn root_with_shell(case: Case) -> Root {
    let mut systems = vec![(case.arch, Libc::Glibc)];
    if case.arch != Arch::host() {
        systems.push((Arch::host(), Libc::Glibc));
    }
    let root = Root::with_systems(&systems);
    root.install(&host_program("dash"), "/bin/sh");
    wrap(case, &root, "/bin/sh", &[]);
    root
}

/// A root for programs of a case.
pub fn root(case: Case) -> Root {
    Root::with_systems(&[(case.arch, Libc::Glibc)])
}

/// The path of a program on this machine.
pub fn host_program(name: &str) -> PathBuf {
    let path = Path::new("/usr/bin").join(name);
    let found = if path.is_file() {
        Some(path)
    } else {
        toolchain::find_program(name)
    };
    let found = found.unwrap_or_else(|| panic!("{name} is not installed; run: cargo xtask setup"));
    fs::canonicalize(&found).unwrap_or_else(|error| panic!("{}: {error}", found.display()))
}

/// Wraps `program`. Asserts that it did not run before, and that it is unchanged apart from the edits.
pub fn wrap(case: Case, root: &Root, program: &str, more: &[&str]) {
    wrap_with(case, root, program, &[], more);
}

/// Does the same with more library directories.
pub fn wrap_with(case: Case, root: &Root, program: &str, libs: &[String], more: &[&str]) {
    assert_fails_unwrapped(root.command(program));
    let original = root.read(program);
    let wrap = root.wrap(program).libs(libs);
    let mut wrap = wrap.args(["--strategy", case.strategy()]);
    if case.own {
        wrap = wrap.without_loader_dir().args(["--self-contained"]);
    }
    if case.embedded {
        wrap = wrap.args(["--embedded"]);
    }
    let report = wrap.args(more.iter().copied()).report().success();
    check(case, root, program, original, &report);
    if case.embedded {
        let sidecar = root.path(&sidecar_of(program));
        fs::remove_file(sidecar).expect("a sidecar");
    }
}

/// Checks a wrapped program by the rules of its strategy.
pub fn check(case: Case, root: &Root, program: &str, original: Vec<u8>, report: &Report) {
    let name = toolchain::file_name(program.as_ref());
    let no_room = NO_ROOM
        .iter()
        .any(|(program, arches)| *program == name && arches.contains(&case.arch));
    if case.auto && !no_room {
        report.file(program).is("edited", &[]);
        Edited::read(root, program, original);
    } else {
        report.file(program).is("wrapped", &[]);
        Wrapped::read(root, program, original).check();
    }
}

/// Programs without room for paths as long as those here, with their architectures. `--strategy auto` falls back to a stub. The
/// room between a program's segments depends on chance.
const NO_ROOM: [(&str, &[Arch]); 12] = [
    ("bun", &[Arch::X86_64, Arch::Aarch64]),
    ("cmake", &[Arch::X86_64, Arch::Aarch64, Arch::Armv7]),
    ("cpack", &[Arch::X86_64, Arch::Aarch64, Arch::Armv7]),
    ("ctest", &[Arch::X86_64, Arch::Aarch64, Arch::Armv7]),
    ("dart", &[Arch::X86_64]),
    ("initdb", &[Arch::I686]),
    ("java", &[Arch::Aarch64]),
    ("pg_ctl", &[Arch::Aarch64]),
    ("ruff", &[Arch::X86_64]),
    ("uv", &[Arch::X86_64, Arch::I686]),
    ("uvx", &[Arch::X86_64, Arch::I686]),
    // It needs libgcc_s.so.1 in DT_NEEDED, and a search path.
    ("workerd", &[Arch::X86_64, Arch::Aarch64]),
];

/// Edits the libraries in `directory` in place. `names` are the names of their originals.
pub fn edit_libraries(root: &Root, directory: &str, names: &[&str]) {
    let path = |name: &&str| format!("{directory}/{name}");
    let paths: Vec<String> = names.iter().map(path).collect();
    let originals: Vec<Vec<u8>> = paths.iter().map(|path| root.read(path)).collect();
    let report = root.wrap(directory).report().success();
    for (path, original) in paths.iter().zip(originals) {
        report.file(path).is("edited", &[]);
        Edited::read(root, path, original);
    }
}

/// Copies a directory of this machine, with its symlinks and modes.
pub fn install_tree(root: &Root, tree: &Path, inside: &str) {
    let target = root.mkdir(inside);
    let entries = fs::read_dir(tree).unwrap_or_else(|error| panic!("{}: {error}", tree.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() {
            install_tree(root, &entry.path(), &format!("{inside}/{name}"));
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).expect("a symlink");
            std::os::unix::fs::symlink(link, target.join(name))
                .expect("a symlink in a fresh directory");
        } else {
            fs::copy(entry.path(), target.join(name)).expect("a copy in a fresh directory");
        }
    }
}

/// A directory in which programs that run as `user` may write.
pub fn mkdir_for(root: &Root, inside: &str, user: u32) -> PathBuf {
    let path = root.mkdir(inside);
    std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap_or_else(|error| {
        panic!("chown {inside} to {user}: {error}; the tests need root for this")
    });
    path
}

/// Retries for half a minute.
pub fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let value = attempt();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory as `/proc/self/fd/N`: a socket's address has only 108 bytes, and a checkout may have a long path.
pub struct ShortPath(fs::File);

impl ShortPath {
    /// The directory `inside` the root.
    pub fn new(root: &Root, inside: &str) -> ShortPath {
        ShortPath(fs::File::open(root.path(inside)).expect("a directory made before"))
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Connects to the socket of that name in the directory.
    pub fn connect(&self, name: &str) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.path().join(name))
    }
}
