//! The test matrix: architectures, C libraries, kinds of executable.

use std::fmt;
use std::path::{Path, PathBuf};

/// An architecture that wrap-buddy supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    X86_64,
    I686,
    Aarch64,
}

/// The C library that a program is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Libc {
    Glibc,
    Musl,
}

/// Position-independent, or at a fixed address (ET_EXEC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pie,
    Exec,
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub arch: Arch,
    pub libc: Libc,
    pub kind: Kind,
}

impl Arch {
    pub const ALL: [Arch; 3] = [Arch::X86_64, Arch::I686, Arch::Aarch64];

    /// The architecture that the tests themselves run on.
    pub fn host() -> Arch {
        let name = std::env::consts::ARCH;
        Arch::ALL
            .into_iter()
            .find(|arch| arch.name() == name || (name == "x86" && *arch == Arch::I686))
            .unwrap_or_else(|| panic!("no tests for a host of architecture {name}"))
    }

    /// The architecture of programs with this `e_machine`.
    pub fn from_machine(machine: u16) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.machine() == machine)
    }

    /// The name in target triples.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::I686 => "i686",
            Arch::Aarch64 => "aarch64",
        }
    }

    pub fn machine(self) -> u16 {
        match self {
            Arch::X86_64 => sidecar::machine::X86_64,
            Arch::I686 => sidecar::machine::I686,
            Arch::Aarch64 => sidecar::machine::AARCH64,
        }
    }

    pub fn is_64(self) -> bool {
        self != Arch::I686
    }

    /// The triple in Rust and in the `cc` crate.
    pub fn triple(self, libc: Libc) -> String {
        let libc = match libc {
            Libc::Glibc => "gnu",
            Libc::Musl => "musl",
        };
        format!("{}-unknown-linux-{libc}", self.name())
    }

    /// The file name of glibc's dynamic linker.
    pub fn ld_so(self) -> &'static str {
        match self {
            Arch::X86_64 => "ld-linux-x86-64.so.2",
            Arch::I686 => "ld-linux.so.2",
            Arch::Aarch64 => "ld-linux-aarch64.so.1",
        }
    }

    /// The name of the loader image in a loader directory, for a tool built for this host.
    pub fn loader_file(self) -> String {
        match (Arch::host(), self) {
            (host, arch) if host == arch => "loader.bin".into(),
            (Arch::X86_64, Arch::I686) => "loader32.bin".into(),
            (_, arch) => format!("loader-{}.bin", arch.name()),
        }
    }

    /// The name of QEMU's user-mode emulator.
    pub fn qemu(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-x86_64-static",
            Arch::I686 => "qemu-i386-static",
            Arch::Aarch64 => "qemu-aarch64-static",
        }
    }

    /// This machine's directories with libraries of the architecture: its own, or those of a cross compiler.
    pub fn library_dirs(self) -> Vec<PathBuf> {
        let multiarch = match self {
            Arch::X86_64 => "x86_64-linux-gnu",
            Arch::I686 => "i386-linux-gnu",
            Arch::Aarch64 => "aarch64-linux-gnu",
        };
        [
            format!("/usr/{}-linux-gnu/lib", self.name()),
            format!("/lib/{multiarch}"),
            format!("/usr/lib/{multiarch}"),
        ]
        .into_iter()
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir())
        .collect()
    }

    /// The path of a library on this machine.
    pub fn find_library(self, soname: &str) -> Option<PathBuf> {
        self.library_dirs()
            .into_iter()
            .map(|dir| dir.join(soname))
            .find(|path| path.exists())
    }

    /// The architecture of the ELF file at `path`, if it is supported.
    pub fn of_file(path: &Path) -> Option<Arch> {
        use std::io::Read;
        let mut header = [0; 20];
        std::fs::File::open(path)
            .ok()?
            .read_exact(&mut header)
            .ok()?;
        let machine = u16::from_le_bytes([header[18], header[19]]);
        header
            .starts_with(b"\x7fELF")
            .then(|| Arch::from_machine(machine))?
    }
}

impl Variant {
    pub const fn new(arch: Arch, libc: Libc, kind: Kind) -> Variant {
        Variant { arch, libc, kind }
    }

    /// The whole matrix: musl only where Debian has a toolchain for it.
    pub fn all() -> Vec<Variant> {
        let mut all = Vec::new();
        for arch in Arch::ALL {
            for kind in [Kind::Pie, Kind::Exec] {
                all.push(Variant::new(arch, Libc::Glibc, kind));
                if arch == Arch::host() {
                    all.push(Variant::new(arch, Libc::Musl, kind));
                }
            }
        }
        all
    }

    /// The cell called `name` (see [`Display`](fmt::Display)). Panics if there is none.
    pub fn named(name: &str) -> Variant {
        Variant::all()
            .into_iter()
            .find(|variant| variant.to_string() == name)
            .unwrap_or_else(|| panic!("no cell of the matrix is called {name}"))
    }

    /// The dynamic linker that an executable of this kind names. No root has it.
    pub fn fhs_interpreter(self) -> String {
        match (self.arch, self.libc) {
            (Arch::X86_64, Libc::Glibc) => "/lib64/ld-linux-x86-64.so.2".into(),
            (arch, Libc::Glibc) => format!("/lib/{}", arch.ld_so()),
            (arch, Libc::Musl) => format!("/lib/{}", musl_ld_so(arch)),
        }
    }
}

/// The file name of musl's dynamic linker, which is also its libc.
pub fn musl_ld_so(arch: Arch) -> String {
    let name = match arch {
        Arch::I686 => "i386",
        other => other.name(),
    };
    format!("ld-musl-{name}.so.1")
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let libc = match self.libc {
            Libc::Glibc => "glibc",
            Libc::Musl => "musl",
        };
        let kind = match self.kind {
            Kind::Pie => "pie",
            Kind::Exec => "exec",
        };
        write!(f, "{}_{libc}_{kind}", self.arch.name())
    }
}
