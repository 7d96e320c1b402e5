//! The real dynamic linkers: which there are, and which one a program gets.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use object::elf;

use crate::arch;
use crate::inspect::{Elf, Identity, Source, identify};

/// The C library a dynamic linker is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
    /// Bionic, uClibc, the BSDs.
    Other,
}

impl Libc {
    /// Guessed from the file name of a dynamic linker.
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

    /// Its name.
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
    /// Its path, absolute, as the user gave it.
    pub path: PathBuf,
    /// Which C library it belongs to.
    pub libc: Libc,
    /// Directories it searches by itself, in order.
    pub default_directories: Vec<PathBuf>,
    /// Its own directory, unless that is one of those.
    pub own_directory: Option<PathBuf>,
    /// What was read of it; it is a library too.
    pub elf: Elf,
}

impl Interpreter {
    /// Reads the dynamic linker at `path`.
    ///
    /// # Errors
    /// When it is none, or of an architecture this tool does not know.
    pub fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)?;
        Self::read(&path).with_context(|| format!("{} is no dynamic linker", path.display()))
    }

    fn read(path: &Path) -> Result<Self> {
        let mut source = Source::open(path).context("it cannot be opened")?;
        let identity = identify(&mut source)?;
        let Identity::Elf {
            machine,
            class,
            little_endian: true,
        } = identity
        else {
            bail!("it is not a little-endian ELF file");
        };
        ensure!(
            arch::find(machine, class).is_some(),
            "{} is not supported",
            arch::describe(machine, class)
        );
        let elf = Elf::read(&mut source)?;
        ensure!(elf.kind == elf::ET_DYN, "it is not ET_DYN");
        ensure!(elf.interp.is_none(), "it has a PT_INTERP itself");
        let libc = Libc::of_interpreter(path);
        let default_directories = match libc {
            Libc::Musl => musl_directories(path),
            _ => embedded_directories(&mut source)?,
        };
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        let real = |directory: &Path| fs::canonicalize(directory).ok();
        let is_default = default_directories
            .iter()
            .any(|directory| real(directory).is_some_and(|known| real(&parent) == Some(known)));
        Ok(Self {
            path: path.to_owned(),
            libc,
            default_directories,
            own_directory: (!is_default).then_some(parent),
            elf,
        })
    }

    /// Whether a DT_NEEDED of this name is the dynamic linker itself, and so always loaded.
    pub fn provides(&self, name: &OsStr) -> bool {
        if Some(name) == self.path.file_name() || Some(name) == self.elf.soname().map(|s| &**s) {
            return true;
        }
        // musl's own list of names that it answers for (ldso/dynlink.c, load_library).
        let reserved = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
        self.libc == Libc::Musl
            && name.as_bytes().strip_prefix(b"lib").is_some_and(|rest| {
                reserved
                    .iter()
                    .any(|name| rest.starts_with(name.as_bytes()))
            })
    }

    fn fits(&self, program: &Elf) -> bool {
        (self.elf.machine, self.elf.class) == (program.machine, program.class)
    }
}

/// glibc's ld.so has its system directories as strings that begin and end with a slash, each with a NUL behind it.
fn embedded_directories(source: &mut Source) -> Result<Vec<PathBuf>> {
    const MOST: u64 = 4 << 20;
    let bytes = source.read(0, source.file_len().min(MOST))?;
    let mut found: Vec<PathBuf> = Vec::new();
    // Backwards from each `/` with a NUL behind it: most of the file is not text.
    let ends = (1..bytes.len()).filter(|&at| bytes[at] == 0 && bytes[at - 1] == b'/');
    for end in ends {
        let start = bytes[..end].iter().rposition(|&byte| byte == 0);
        let text = &bytes[start.map_or(0, |nul| nul + 1)..end];
        let is_directory = text.len() > 1
            && text.starts_with(b"/")
            && text.iter().all(|byte| byte.is_ascii_graphic());
        if !is_directory {
            continue;
        }
        let path = PathBuf::from(OsStr::from_bytes(text));
        // Where it keeps profiles and looks at the kernel are no libraries.
        let elsewhere = ["/var", "/proc", "/etc"]
            .iter()
            .any(|directory| path.starts_with(directory));
        if !elsewhere && !found.contains(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// musl reads a list from `PREFIX/etc/ld-musl-ARCH.path`, its own path being `PREFIX/lib/ld-musl-ARCH.so.1`.
fn musl_directories(path: &Path) -> Vec<PathBuf> {
    let prefix = path
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"));
    let name = Path::new(path.file_name().unwrap_or_default());
    let name = name.with_extension("").with_extension("path");
    let list = fs::read(prefix.join("etc").join(name))
        .unwrap_or_else(|_| b"/lib:/usr/local/lib:/usr/lib".to_vec());
    list.split(|byte| b":\n".contains(byte))
        .filter(|entry| !entry.is_empty())
        .map(|entry| PathBuf::from(OsStr::from_bytes(entry)))
        .collect()
}

/// How a program and the known dynamic linkers go together.
#[derive(Debug)]
pub enum Fit<'a> {
    /// This one.
    Fits(&'a Interpreter),
    /// There is one for this architecture, but of the named libc.
    OtherLibc(Libc),
    /// There is none for this architecture.
    OtherArchitecture,
}

/// The dynamic linkers at hand, in order of preference.
#[derive(Debug, Default)]
pub struct Interpreters {
    list: Vec<Interpreter>,
}

impl Interpreters {
    /// Those the user named or, if none, the ones compiled in or, if none, the running system's.
    ///
    /// # Errors
    /// When one that was named is none.
    pub fn find(named: &[PathBuf]) -> Result<Self> {
        if !named.is_empty() {
            let list = named
                .iter()
                .map(|path| Interpreter::open(&without_newline(path)));
            return Ok(Self {
                list: list.collect::<Result<_>>()?,
            });
        }
        if let Some(compiled_in) = option_env!("WRAP_BUDDY_INTERP") {
            let paths = compiled_in
                .trim()
                .split(':')
                .filter(|path| !path.is_empty());
            let list = paths.map(|path| Interpreter::open(Path::new(path)));
            return Ok(Self {
                list: list.collect::<Result<_>>()?,
            });
        }
        let mut list: Vec<Interpreter> = Vec::new();
        for path in system_interpreters() {
            if let Ok(found) = Interpreter::open(&path) {
                let known =
                    |other: &Interpreter| other.libc == found.libc && other.fits(&found.elf);
                if !list.iter().any(known) {
                    list.push(found);
                }
            }
        }
        Ok(Self { list })
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first with the machine, class and libc of a program that asks for `wanted`.
    pub fn fitting(&self, program: &Elf, wanted: Libc) -> Fit<'_> {
        let mut of_architecture = self
            .list
            .iter()
            .filter(|known| known.fits(program))
            .peekable();
        let Some(first) = of_architecture.peek().map(|first| first.libc) else {
            return Fit::OtherArchitecture;
        };
        of_architecture
            .find(|known| known.libc == wanted)
            .map_or(Fit::OtherLibc(first), Fit::Fits)
    }
}

/// `--interpreter "$(cat $NIX_CC/nix-support/dynamic-linker)"` is often passed without the shell's trimming.
fn without_newline(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| !b"\n\r".contains(byte));
    PathBuf::from(OsStr::from_bytes(&bytes[..end.map_or(0, |last| last + 1)]))
}

/// What the system's own programs ask for, then the places where dynamic linkers usually are.
fn system_interpreters() -> Vec<PathBuf> {
    let asked_for = ["/proc/self/exe", "/bin/sh", "/usr/bin/env"]
        .into_iter()
        .filter_map(|program| {
            let elf = Elf::read(&mut Source::open(Path::new(program)).ok()?).ok()?;
            Some(PathBuf::from(elf.interp?.path))
        });
    let known = arch::all().iter().flat_map(|arch| arch.known_interpreters);
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in asked_for.chain(known.map(PathBuf::from)) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
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
    fn a_newline_behind_the_path_is_not_part_of_it() {
        assert_eq!(without_newline(Path::new("/a/b\n")), Path::new("/a/b"));
        assert_eq!(without_newline(Path::new("/a/b\r\n")), Path::new("/a/b"));
        assert_eq!(without_newline(Path::new("/a b")), Path::new("/a b"));
    }

    #[test]
    fn a_script_is_no_dynamic_linker() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ld.so");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let error = format!("{:#}", Interpreter::open(&path).unwrap_err());
        assert!(
            error.contains("ld.so is no dynamic linker: it is not"),
            "{error}"
        );
    }
}
