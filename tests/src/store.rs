//! A real Nix store for one test: `/nix/store` of a root in which the rest of this machine is mounted, to build in. The results run
//! in another root, which contains only their closure.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::arch::{Arch, Libc};
use crate::cache;
use crate::root::{Root, system_package};
use crate::run::Run;
use crate::{tool, toolchain};

/// No network, no users, and no sandbox, because the root is one already.
const CONFIG: &str = "build-users-group =
sandbox = false
substitute = false
substituters =
flake-registry =
experimental-features = nix-command flakes
";

/// The variable that names a real nixpkgs.
const NIXPKGS: &str = "WRAP_BUDDY_NIXPKGS";

/// The time limit of a build on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Files of this repository that its Nix files refer to.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "crates",
    "default.nix",
    "flake.nix",
    "loader",
    "nix",
    "shell.nix",
    "stub",
    "tests/Cargo.toml",
    "tests/src",
    "xtask",
];

/// A Nix store of its own.
///
/// The root has this repository's sources at `/source`, the stand-in for nixpkgs at `/stand-in`, and files of the test at `/files`. If
/// `WRAP_BUDDY_NIXPKGS` names a real nixpkgs, that is at `/nixpkgs`.
pub struct Store {
    root: Root,
    arches: Vec<Arch>,
}

impl Store {
    /// An empty store, for packages of `arches`. Panics if Nix is not installed.
    pub fn new(arches: &[Arch]) -> Store {
        assert!(
            toolchain::find_program("nix-build").is_some(),
            "nix-build is not installed; run: cargo xtask setup"
        );
        let root = Root::with_systems(&[]);
        root.bind_machine();
        // Nix reads the output of builders from a terminal.
        root.mkdir("/dev/pts");
        for (target, name) in [
            ("pts/ptmx", "ptmx"),
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
        ] {
            let link = root.path("/dev").join(name);
            symlink(target, link).expect("a symlink in a fresh directory");
        }
        root.mkdir("/files");
        let store = Store {
            root,
            arches: arches.to_vec(),
        };
        let workspace = cache::fixtures().join("../..");
        for name in SOURCES {
            store.copy(&workspace.join(name), &format!("/source/{name}"));
        }
        store.copy(&workspace.join("tests/nix/stand-in"), "/stand-in");
        if let Some(nixpkgs) = env::var_os(NIXPKGS) {
            store.root.bind(Path::new(&nixpkgs), "/nixpkgs");
        }
        store.describe_machine();
        store
    }

    /// Writes `/stand-in/machine`: C libraries, the tool, loaders.
    fn describe_machine(&self) {
        let machine = "/stand-in/machine";
        let mut text = format!(
            "{{\n  system = \"{}\";\n  bash = \"/bin/bash\";\n  path = \"/usr/bin:/bin\";\n",
            system(Arch::host())
        );
        for arch in Arch::ALL {
            let (name, system) = (arch.name(), system(arch));
            text.push_str(&format!("  linker.{system} = \"{}\";\n", arch.ld_so()));
            for (attribute, package) in [("glibc", "glibc"), ("libraries", "gcc")] {
                let package = format!("{package}-{name}");
                text.push_str(&format!(
                    "  {attribute}.{system} = builtins.path {{ path = ./{package}; name = \"{package}\"; }};\n"
                ));
                if self.arches.contains(&arch) {
                    let target = format!("{machine}/{package}");
                    self.copy(&system_package(arch, &package), &target);
                }
            }
        }
        text.push_str("}\n");
        self.root.write(&format!("{machine}/default.nix"), text);

        let programs = format!("{machine}/programs");
        self.root
            .install(&tool::path(), &format!("{programs}/wrap-buddy"));
    }

    /// The root to build in.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Copies a file of this machine to `/files/NAME`, executable.
    pub fn add_file(&self, file: &Path, name: &str) {
        self.root.install(file, &format!("/files/{name}"));
    }

    /// Copies a file or directory of this machine, with modes, to `/files/NAME`.
    pub fn add_tree(&self, tree: &Path, name: &str) {
        self.copy(tree, &format!("/files/{name}"));
    }

    /// One of Nix's programs, to start.
    pub fn nix(&self, program: &str) -> Run<'_> {
        let path = toolchain::find_program(program)
            .unwrap_or_else(|| panic!("{program} is not installed; run: cargo xtask setup"));
        self.shell(self.root.command(&path.to_string_lossy()))
    }

    /// `program`, a shell that starts Nix's programs.
    pub fn shell<'r>(&self, program: Run<'r>) -> Run<'r> {
        program
            .env("NIX_CONFIG", CONFIG)
            .env("NIX_CONF_DIR", "/files/no-configuration")
            .env("HOME", "/tmp/home")
            .env("PATH", "/usr/bin:/bin")
            .timeout(TIMEOUT)
    }

    /// `nix-build` of an expression. The packages of `arch` and of the overlay are in scope.
    pub fn build(&self, arch: Arch, expression: &str) -> Run<'_> {
        self.nix("nix-build")
            .args(["--no-out-link", "-E", &in_scope(arch, expression)])
    }

    /// Builds the expression twice, asserts that both results are equal, and returns the store path.
    #[track_caller]
    pub fn built(&self, arch: Arch, expression: &str) -> String {
        let output = self.build(arch, expression).output().success();
        self.build(arch, expression)
            .arg("--check")
            .output()
            .success();
        output.stdout.trim().to_string()
    }

    /// The lines that `nix-store --query` prints about a path.
    #[track_caller]
    pub fn query(&self, what: &str, path: &str) -> Vec<String> {
        let output = self
            .nix("nix-store")
            .args(["--query", what, path])
            .output()
            .success();
        output.stdout.lines().map(String::from).collect()
    }

    /// A root without an FHS dynamic linker, with the closure of `path`.
    #[track_caller]
    pub fn closure_root(&self, path: &str) -> Root {
        let systems: Vec<_> = self
            .arches
            .iter()
            .map(|arch| (*arch, Libc::Glibc))
            .collect();
        let root = Root::for_programs_of(&systems);
        for path in self.query("--requisites", path) {
            root.bind(&self.root.path(&path), &path);
        }
        root
    }

    fn copy(&self, source: &Path, inside: &str) {
        if source.is_dir() {
            for entry in fs::read_dir(source).expect("a directory") {
                let entry = entry.expect("an entry of a directory");
                let name = entry.file_name();
                self.copy(
                    &entry.path(),
                    &format!("{inside}/{}", name.to_string_lossy()),
                );
            }
            return;
        }
        let target = self.root.path(inside);
        let parent = target.parent().expect("a path below the root");
        fs::create_dir_all(parent).expect("create a directory");
        fs::copy(source, &target)
            .unwrap_or_else(|error| panic!("copy {}: {error}", source.display()));
    }
}

impl Drop for Store {
    /// Nix makes directories read-only, so ordinary users cannot remove them.
    fn drop(&mut self) {
        if !nix::unistd::geteuid().is_root() {
            make_writable(&self.root.path("/nix/store"));
        }
    }
}

/// Nix's name for Linux on an architecture.
pub fn system(arch: Arch) -> String {
    format!("{}-linux", arch.machine_name())
}

/// The nixpkgs to evaluate with: a real one if there is one, or else the stand-in. Nothing can be built with the real one here.
pub fn nixpkgs() -> &'static str {
    match env::var_os(NIXPKGS) {
        Some(_) => "/nixpkgs",
        None => "/stand-in",
    }
}

/// `expression` with the packages of `arch` in scope.
pub fn in_scope(arch: Arch, expression: &str) -> String {
    format!(
        "with (import /stand-in {{ system = \"{}\"; }}).extend (import /source/nix/overlay.nix);\n{expression}",
        system(arch)
    )
}

fn make_writable(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let dirs: Vec<PathBuf> = dirs.map(|entry| entry.path()).collect();
    for dir in dirs {
        make_writable(&dir);
    }
}
