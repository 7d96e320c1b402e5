//! The libraries looked at so far: each file is read once, however many programs need it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object::elf;

use crate::arch;
use crate::inspect::{Elf, Identity, Source, identify};
use crate::interpreter::Libc;

/// What is at a path where a library was looked for.
#[derive(Clone, Debug)]
pub enum Probe {
    /// Nothing.
    Absent,
    /// Something that is no library, and why.
    Unusable(String),
    /// A library, of some architecture.
    Library(Arc<Elf>),
}

/// Remembers every probe.
#[derive(Debug)]
pub struct Shelf {
    probes: Mutex<HashMap<PathBuf, Probe>>,
    real: Mutex<HashMap<PathBuf, PathBuf>>,
    indexed: Vec<PathBuf>,
    by_soname: OnceLock<HashMap<OsString, Vec<PathBuf>>>,
}

impl Shelf {
    /// An empty shelf; the `indexed` directories are where [`Shelf::with_soname`] looks.
    pub fn new(indexed: Vec<PathBuf>) -> Self {
        Self {
            probes: Mutex::default(),
            real: Mutex::default(),
            indexed,
            by_soname: OnceLock::new(),
        }
    }

    /// What is at `path`.
    pub fn probe(&self, path: &Path) -> Probe {
        remembered(&self.probes, path, open_library)
    }

    /// The directory that `path` leads to, free of symbolic links; `path` itself if there is none.
    pub fn real(&self, path: &Path) -> PathBuf {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        remembered(&self.real, path, real)
    }

    /// Files in the indexed directories whose DT_SONAME is `soname`, whatever they are called.
    pub fn with_soname(&self, soname: &OsStr) -> &[PathBuf] {
        let index = self.by_soname.get_or_init(|| {
            let mut index: HashMap<OsString, Vec<PathBuf>> = HashMap::new();
            let entries = self.indexed.iter().filter_map(|dir| fs::read_dir(dir).ok());
            for entry in entries.flatten().flatten() {
                if let Probe::Library(library) = open_library(&entry.path())
                    && let Some(soname) = library.soname()
                {
                    index.entry(soname.clone()).or_default().push(entry.path());
                }
            }
            index
        });
        index.get(soname).map_or(&[], Vec::as_slice)
    }
}

/// What `find` says of `path`, asked once. Two threads may both ask: the lock is not held meanwhile.
fn remembered<T: Clone>(
    known: &Mutex<HashMap<PathBuf, T>>,
    path: &Path,
    find: impl FnOnce(&Path) -> T,
) -> T {
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(path) {
        return known.clone();
    }
    let found = find(path);
    lock().insert(path.to_owned(), found.clone());
    found
}

fn open_library(path: &Path) -> Probe {
    let mut source = match Source::open(path) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Probe::Absent,
        Err(error) => return Probe::Unusable(format!("cannot be opened: {error}")),
    };
    match identify(&mut source) {
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(_) => return Probe::Unusable("is not a little-endian ELF file".to_owned()),
        Err(error) => return Probe::Unusable(format!("is malformed: {error:#}")),
    }
    match Elf::read(&mut source) {
        Ok(elf) if elf.kind != elf::ET_DYN => Probe::Unusable("is not a shared library".to_owned()),
        Ok(elf) => Probe::Library(Arc::new(elf)),
        Err(error) => Probe::Unusable(format!("is malformed: {error:#}")),
    }
}

/// Why ld.so would pass over `library` for `program`, or why it would be a mistake not to.
pub fn misfit(program: &Elf, libc: Libc, library: &Elf) -> Option<String> {
    if (library.machine, library.class) != (program.machine, program.class) {
        let name = arch::describe(library.machine, library.class);
        return Some(format!("is for {name}"));
    }
    if library.os_abi != elf::ELFOSABI_SYSV && library.os_abi != elf::ELFOSABI_GNU {
        return Some(format!("is for the OS ABI {}", library.os_abi));
    }
    let needs = |is: fn(&str) -> bool| {
        let mut names = library.needed().iter();
        names.any(|name| name.to_str().is_some_and(is))
    };
    match libc {
        Libc::Musl if needs(|name| name == "libc.so.6") => Some("is linked to glibc".to_owned()),
        Libc::Glibc if needs(|name| name == "libc.so" || name.starts_with("libc.musl-")) => {
            Some("is linked to musl".to_owned())
        }
        _ => None,
    }
}
