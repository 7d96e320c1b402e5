//! The test matrix: architectures, C libraries, kinds of executable.

use std::fmt;
use std::path::Path;

use crate::offsets::E_MACHINE;

/// An architecture that wrap-buddy supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    X86_64,
    I686,
    Aarch64,
    Riscv64,
    Armv7,
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
    pub const ALL: [Arch; 5] = [
        Arch::X86_64,
        Arch::I686,
        Arch::Aarch64,
        Arch::Riscv64,
        Arch::Armv7,
    ];

    /// The architecture that the tests themselves run on.
    pub fn host() -> Arch {
        Arch::from_machine(sys::arch::MACHINE).expect("tests for each architecture")
    }

    /// The architecture of programs with this `e_machine`.
    pub fn from_machine(machine: u16) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.machine() == machine)
    }

    fn row(self) -> &'static sys::arch::Arch {
        let machine = match self {
            Arch::X86_64 => sidecar::machine::X86_64,
            Arch::I686 => sidecar::machine::I686,
            Arch::Aarch64 => sidecar::machine::AARCH64,
            Arch::Riscv64 => sidecar::machine::RISCV,
            Arch::Armv7 => sidecar::machine::ARM,
        };
        let mut rows = sys::arch::all().iter();
        rows.find(|row| row.machine == machine)
            .expect("a row of the table")
    }

    /// The name in target triples.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The address of the first instruction, for a value of e_entry.
    pub fn code_address(self, e_entry: u64) -> u64 {
        self.row().target().code_address(e_entry)
    }

    pub fn machine(self) -> u16 {
        self.row().machine
    }

    pub fn is_64(self) -> bool {
        self.row().class == 2
    }

    /// The usual path of the dynamic linker.
    pub fn fhs_interpreter(self, libc: Libc) -> &'static str {
        let [glibc, musl] = self.row().known_interpreters else {
            panic!("one dynamic linker of each C library");
        };
        match libc {
            Libc::Glibc => glibc,
            Libc::Musl => musl,
        }
    }

    /// The file name of glibc's dynamic linker.
    pub fn ld_so(self) -> &'static str {
        let path = self.fhs_interpreter(Libc::Glibc);
        path.rsplit_once('/').map_or(path, |(_, name)| name)
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
            Arch::Riscv64 => "qemu-riscv64-static",
            Arch::Armv7 => "qemu-arm-static",
        }
    }

    /// The name of the machine in uname(2), platform tags of wheels, and systems of Nix.
    pub fn machine_name(self) -> &'static str {
        match self {
            Arch::Armv7 => "armv7l",
            _ => self.name(),
        }
    }

    /// Its names in those of cross compilers, and the ABI after the name of the C library there.
    pub fn in_triples(self) -> (Vec<&'static str>, &'static str) {
        match self {
            Arch::Armv7 => (vec!["arm", self.machine_name()], "eabihf"),
            _ => (vec![self.name()], ""),
        }
    }

    /// An architecture whose files its ld.so passes over. musl passes over files of the other class only, and has tests for 64 bits.
    pub fn other(self, libc: Libc) -> Arch {
        match (self, libc) {
            (Arch::Aarch64, _) | (_, Libc::Musl) => Arch::I686,
            _ => Arch::Aarch64,
        }
    }

    /// The architecture of the ELF file at `path`, if it is supported.
    pub fn of_file(path: &Path) -> Option<Arch> {
        use std::io::Read;
        let mut header = [0; 20];
        std::fs::File::open(path)
            .ok()?
            .read_exact(&mut header)
            .ok()?;
        let machine = u16::from_le_bytes([header[E_MACHINE], header[E_MACHINE + 1]]);
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
        self.arch.fhs_interpreter(self.libc).into()
    }
}

/// The file name of musl's dynamic linker, which is also its libc.
pub fn musl_ld_so(arch: Arch) -> String {
    let path = Path::new(arch.fhs_interpreter(Libc::Musl));
    let name = path.file_name().expect("a path with a name");
    name.to_string_lossy().into_owned()
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
