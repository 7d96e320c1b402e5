//! This machine's files for each architecture: libraries, dynamic linkers, emulators.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use object::elf;

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::check::segments;
use crate::toolchain::{Build, Compiler, find_program, source};
use crate::{cache, fork};

impl Arch {
    /// The compiler for glibc.
    ///
    /// # Panics
    /// If there is none.
    pub fn compiler(self) -> Compiler {
        Compiler::of(self, Libc::Glibc)
    }

    /// This machine's directories with the C and C++ libraries of the architecture, its own or those of a cross compiler. Their paths
    /// have no symbolic links.
    pub fn library_dirs(self) -> Vec<PathBuf> {
        let compiler = self.compiler();
        let text = remembered(&format!("libraries of {compiler:?}"), || {
            let libraries = ["libc.so.6", "libgcc_s.so.1", "libstdc++.so.6"];
            let files = libraries.iter().filter_map(|name| compiler.file(name));
            let mut dirs: Vec<PathBuf> = files.map(|file| parent(&file).to_owned()).collect();
            dirs.sort();
            dirs.dedup();
            let dirs = dirs.iter().map(|dir| dir.display().to_string());
            dirs.collect::<Vec<_>>().join("\n")
        });
        text.lines().map(PathBuf::from).collect()
    }

    /// The path of a library on this machine.
    pub fn find_library(self, soname: &str) -> Option<PathBuf> {
        let mut files = self.library_dirs().into_iter().map(|dir| dir.join(soname));
        files.find(|path| path.exists())
    }

    /// glibc's dynamic linker on this machine: at its usual path, or else the compiler's.
    ///
    /// # Panics
    /// If there is none.
    pub fn interpreter(self) -> &'static str {
        static FOUND: [OnceLock<String>; Arch::ALL.len()] =
            [const { OnceLock::new() }; Arch::ALL.len()];
        FOUND[self as usize].get_or_init(|| {
            let conventional = self.fhs_interpreter(Libc::Glibc);
            if self == Arch::host() && Path::new(conventional).exists() {
                return conventional.into();
            }
            let linker = Variant::new(self, Libc::Glibc, Kind::Pie).dynamic_linker();
            linker.display().to_string()
        })
    }

    /// glibc itself on this machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn glibc(self) -> PathBuf {
        self.find_library("libc.so.6")
            .unwrap_or_else(|| panic!("no glibc for {}; run: cargo xtask setup", self.name()))
    }

    /// Whether this machine's kernel runs such programs natively. This runs one to find out.
    pub fn is_native(self) -> bool {
        static I686: OnceLock<bool> = OnceLock::new();
        match (Arch::host(), self) {
            (host, arch) if host == arch => true,
            (Arch::X86_64, Arch::I686) => *I686.get_or_init(|| {
                let variant = Variant::new(self, Libc::Glibc, Kind::Exec);
                let build = Build::program(variant, source("probe.c"));
                let probe = build.flag("-static").build();
                fork::spawn(&mut Command::new(probe))
                    .and_then(|mut child| child.wait())
                    .is_ok_and(|status| status.success())
            }),
            _ => false,
        }
    }

    /// The emulator's path on this machine. Panics if it is not installed.
    pub fn qemu_path(self) -> PathBuf {
        find_program(self.qemu())
            .unwrap_or_else(|| panic!("{} is not installed; run: cargo xtask setup", self.qemu()))
    }
}

impl Variant {
    /// The dynamic linker on this machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn dynamic_linker(self) -> PathBuf {
        let linker = match self.libc {
            Libc::Glibc => self.arch.find_library(self.arch.ld_so()),
            Libc::Musl => Some(self.interpreter_of_programs()),
        };
        linker.unwrap_or_else(|| panic!("no dynamic linker for {self}; run: cargo xtask setup"))
    }

    /// The PT_INTERP of programs that its compiler makes.
    fn interpreter_of_programs(self) -> PathBuf {
        let built = Build::program(self, source("hello.c")).build();
        let file = fs::read(built).expect("built before");
        let interp = segments(&file)
            .into_iter()
            .find(|segment| segment.kind == elf::PT_INTERP);
        let path = &file[interp.expect("a PT_INTERP").file];
        PathBuf::from(String::from_utf8_lossy(path).trim_end_matches('\0'))
    }

    /// A default directory of the dynamic linker.
    pub fn default_library_dir(self) -> String {
        if self.libc == Libc::Musl {
            return "/usr/lib".into();
        }
        let linker = self.dynamic_linker();
        remembered(
            &format!("default directory of {}", linker.display()),
            || {
                let mut command = match self.arch.is_native() {
                    true => Command::new(&linker),
                    false => Command::new(self.arch.qemu_path()),
                };
                if !self.arch.is_native() {
                    command.arg(&linker);
                }
                command
                    .arg("--help")
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped());
                let output = fork::spawn(&mut command).and_then(Child::wait_with_output);
                let output = output.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let mut dirs = text
                    .lines()
                    .filter_map(|line| line.trim().strip_suffix(" (system search path)"));
                let dir = dirs.find(|dir| dir.starts_with("/usr/"));
                let dir = dir.unwrap_or_else(|| panic!("{} has none: {text}", linker.display()));
                dir.to_owned()
            },
        )
    }
}

/// The result of `find`, from this process or an earlier one.
fn remembered(what: &str, find: impl FnOnce() -> String) -> String {
    let key = cache::digest([what.as_bytes()]);
    let place = cache::filled("machine", &key, |place| {
        fs::write(place.join("found"), find()).expect("write into a fresh directory");
    });
    fs::read_to_string(place.join("found")).expect("written before")
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a file is in a directory")
}
