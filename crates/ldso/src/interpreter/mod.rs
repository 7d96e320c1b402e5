//! Dynamic linkers, and which of them a program gets.

mod built_in;
mod known;

pub use built_in::BuiltIn;
pub use known::{Fit, Interpreters};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};
use object::elf;

use crate::root::Root;
use elf_file::{Elf, Identity, Source, identify, io_reason};

/// The C library that a dynamic linker is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Libc {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
    /// Bionic, uClibc, or a BSD's.
    Other,
}

impl Libc {
    /// Derives the libc from the file name of a dynamic linker.
    pub fn of_interpreter(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if name.starts_with(b"ld-musl-") {
            Libc::Musl
        } else if [&b"linker"[..], b"ld-uClibc", b"ld-elf", b"ld.elf"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            Libc::Other
        } else {
            Libc::Glibc
        }
    }

    /// The libc that a library is linked to, by its DT_NEEDED. `None` if these do not say.
    pub fn of_library(elf: &Elf) -> Option<Self> {
        let names = elf.needed().iter().filter_map(|name| name.to_str());
        names
            .filter_map(|name| match name {
                "libc.so.6" => Some(Libc::Glibc),
                "libc.so" => Some(Libc::Musl),
                _ if name.starts_with("libc.musl-") || name.starts_with("ld-musl-") => {
                    Some(Libc::Musl)
                }
                _ if name.starts_with("ld-linux") => Some(Libc::Glibc),
                _ => None,
            })
            .next()
    }

    /// The libc that a program with the dynamic linker `path` is linked to. Its DT_NEEDED is better evidence than PT_INTERP, which
    /// may have been changed.
    pub fn of_program(elf: &Elf, path: &Path) -> Self {
        match Self::of_interpreter(path) {
            Libc::Other => Libc::Other,
            by_name => Self::of_library(elf).unwrap_or(by_name),
        }
    }

    /// The name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Libc::Glibc => "glibc",
            Libc::Musl => "musl",
            Libc::Other => "another libc",
        }
    }
}

/// A dynamic linker that programs can be given.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The absolute path that the user gave.
    pub path: PathBuf,
    /// Its C library.
    pub libc: Libc,
    /// Its headers and .dynamic: it is also a library.
    pub elf: Elf,
    /// The root in which its path is absolute.
    pub root: Root,
    built_in: OnceLock<BuiltIn>,
    is_the_systems: OnceLock<bool>,
}

impl Interpreter {
    /// Reads the dynamic linker at `path`.
    ///
    /// # Errors
    /// If the file is not a dynamic linker, or its architecture is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_in(&Root::default(), &std::path::absolute(path)?)
    }

    /// Reads the dynamic linker at `path`, which is absolute in `root`.
    ///
    /// # Errors
    /// As [`Interpreter::open`].
    pub fn open_in(root: &Root, path: &Path) -> Result<Self> {
        Self::read(root, path)
            .with_context(|| format!("{} is not a dynamic linker", path.display()))
    }

    /// A dynamic linker that does not exist here, for the file `program` with the PT_INTERP `path`. It is of `libc` and has the
    /// usual defaults. `None` for an architecture or a libc without usual defaults.
    pub fn presumed(root: &Root, path: Option<&Path>, libc: Libc, program: &Elf) -> Option<Self> {
        let arch = program.target().arch()?;
        let mut known = arch.known_interpreters.iter().map(Path::new);
        let usual = known.find(|path| Libc::of_interpreter(path) == libc)?;
        let own = path.filter(|path| Libc::of_interpreter(path) == libc);
        let path = own.unwrap_or(usual);
        Some(Self {
            path: path.to_owned(),
            libc,
            elf: Elf::of_target(arch.target()),
            root: root.clone(),
            built_in: OnceLock::from(BuiltIn::usual(root, path, libc, arch)),
            is_the_systems: OnceLock::new(),
        })
    }

    fn read(root: &Root, path: &Path) -> Result<Self> {
        let mut source =
            Source::open(&root.on_host(path)).map_err(|error| anyhow!("{}", io_reason(&error)))?;
        let identity = identify(&mut source)?;
        let Identity::Elf {
            target,
            little_endian: true,
        } = identity
        else {
            bail!("it is not a little-endian ELF file");
        };
        ensure!(target.arch().is_some(), "{target} is not supported");
        let elf = Elf::read(&mut source)?;
        ensure!(elf.kind == elf::ET_DYN, "it is not ET_DYN");
        ensure!(elf.interp.is_none(), "it has a PT_INTERP itself");
        let libc = Libc::of_interpreter(path);
        Ok(Self {
            path: path.to_owned(),
            libc,
            elf,
            root: root.clone(),
            built_in: OnceLock::new(),
            is_the_systems: OnceLock::new(),
        })
    }

    /// Its built-in defaults, read from the file on first use.
    pub fn built_in(&self) -> &BuiltIn {
        self.built_in
            .get_or_init(|| BuiltIn::of(&self.root, &self.path, self.libc, &self.elf))
    }

    /// Whether its path is the system's usual one in its root, or links to the same file.
    pub fn is_the_systems(&self) -> bool {
        *self.is_the_systems.get_or_init(|| {
            let real = |path: &Path| {
                let real = self.root.real(path);
                self.root.on_host(&real).exists().then_some(real)
            };
            let usual = self.elf.target().arch();
            let mut usual = usual.into_iter().flat_map(|arch| arch.known_interpreters);
            let own = real(&self.path);
            let is_own = |usual: &Path| usual == self.path || real(usual) == own;
            own.is_some() && usual.any(|usual| is_own(Path::new(usual)))
        })
    }

    /// Whether a DT_NEEDED of this name is the dynamic linker itself, which is always loaded.
    pub fn provides(&self, name: &OsStr) -> bool {
        if Some(name) == self.path.file_name() || Some(name) == self.elf.soname().map(|s| &**s) {
            return true;
        }
        // The names that musl itself provides (ldso/dynlink.c, load_library).
        let reserved = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
        self.libc == Libc::Musl
            && name.as_bytes().strip_prefix(b"lib").is_some_and(|rest| {
                reserved
                    .iter()
                    .any(|name| rest.starts_with(name.as_bytes()))
            })
    }

    /// Whether every program has loaded a library of this name before another library asks for it.
    pub fn is_always_loaded(&self, name: &OsStr) -> bool {
        self.provides(name) || (self.libc == Libc::Glibc && name == "libc.so.6")
    }

    fn fits(&self, program: &Elf) -> bool {
        self.elf.target() == program.target()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_tells_the_libc() {
        for (path, libc) in [
            ("/lib64/ld-linux-x86-64.so.2", Libc::Glibc),
            ("/nix/store/x-musl/lib/ld-musl-x86_64.so.1", Libc::Musl),
            ("/system/bin/linker64", Libc::Other),
            ("/lib/ld-uClibc.so.0", Libc::Other),
            ("/lib/ld.so.1", Libc::Glibc),
        ] {
            assert_eq!(Libc::of_interpreter(Path::new(path)), libc, "{path}");
        }
    }

    #[test]
    fn script_is_refused_as_dynamic_linker() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ld.so");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let error = format!("{:#}", Interpreter::open(&path).unwrap_err());
        assert!(
            error.contains("ld.so is not a dynamic linker: it is not"),
            "{error}"
        );
    }
}
