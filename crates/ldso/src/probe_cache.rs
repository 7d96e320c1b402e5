//! A cache of probed paths: each library is read once, however many programs need it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use object::elf;

use crate::cache::Cache;
use crate::conf;
use crate::finds::{Finder, Finds};
use crate::incompatibility::{Incompatible, incompatibility};
use crate::index;
use crate::interpreter::Libc;
use crate::known::{Known, remembered};
use crate::libc_opens;
use crate::root::{Root, is_loop};
use elf_file::bytes;
use elf_file::{Elf, ElfTarget, Identity, Source, identify, imports, read_regular};

/// Maximum length of an ld.so.cache in bytes, enough for some hundred thousand libraries.
const MAX_CACHE: u64 = 64 << 20;

/// The file at a path where a library was searched for.
#[derive(Clone, Debug)]
pub enum Probe {
    /// There is no file.
    Absent,
    /// The file cannot be opened, for this reason.
    Closed(String),
    /// The path is a loop of symbolic links.
    Loop,
    /// The file is not a usable library, for this reason.
    Unusable(String),
    /// A library, of any architecture.
    Library(Arc<Elf>),
}

/// Caches every probe of a run.
#[derive(Debug)]
pub struct ProbeCache {
    root: Root,
    probes: Known<Probe>,
    real: Known<PathBuf>,
    directories: Known<bool>,
    imports: Known<Arc<[&'static str]>>,
    gconv: Known<Option<PathBuf>>,
    caches: Known<Option<Arc<Cache>>>,
    confs: Known<Arc<[PathBuf]>>,
    finds: Mutex<HashMap<Finder, Arc<Finds>>>,
    /// The number of probes so far.
    #[cfg(test)]
    pub(crate) probed: std::sync::atomic::AtomicUsize,
    kinds: RwLock<HashMap<(PathBuf, ElfTarget, Libc), bool>>,
    indexed: Vec<PathBuf>,
    by_soname: OnceLock<HashMap<OsString, Vec<PathBuf>>>,
}

impl ProbeCache {
    /// Creates an empty cache for the files in `root`. [`ProbeCache::with_soname`] searches the `indexed` directories.
    pub fn new(root: Root, indexed: Vec<PathBuf>) -> Self {
        Self {
            root,
            probes: RwLock::default(),
            real: RwLock::default(),
            directories: RwLock::default(),
            imports: RwLock::default(),
            gconv: RwLock::default(),
            caches: RwLock::default(),
            confs: RwLock::default(),
            finds: Mutex::default(),
            #[cfg(test)]
            probed: Default::default(),
            kinds: RwLock::default(),
            indexed,
            by_soname: OnceLock::new(),
        }
    }

    /// Probes `path`, or returns the cached result.
    pub fn probe(&self, path: &Path) -> Probe {
        #[cfg(test)]
        self.probed
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let open = |path: &Path| open_library(&self.root.on_host(path));
        remembered(&self.probes, path, open)
    }

    /// The root in which the paths are absolute.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// `path` without symbolic links; `path` itself if it does not exist.
    pub fn real(&self, path: &Path) -> PathBuf {
        remembered(&self.real, path, |path| self.root.real(path))
    }

    /// Whether `path` is a directory, or a link to one.
    pub fn is_directory(&self, path: &Path) -> bool {
        let is_directory = |path: &Path| self.root.on_host(path).is_dir();
        remembered(&self.directories, path, is_directory)
    }

    /// Those of [`libc_opens::FUNCTIONS`] that the file `elf` at `path` imports.
    pub fn imports(&self, path: &Path, elf: &Elf) -> Arc<[&'static str]> {
        let read = |path: &Path| {
            let source = Source::open(&self.root.on_host(path)).ok();
            let imports =
                source.map(|mut source| imports(elf, &mut source, &libc_opens::FUNCTIONS));
            imports.unwrap_or_default().into()
        };
        remembered(&self.imports, path, read)
    }

    /// Does the same as [`ProbeCache::imports`], but reads from a file that is already open.
    pub fn read_imports(&self, path: &Path, elf: &Elf, source: &mut Source) {
        let read = |_: &Path| imports(elf, source, &libc_opens::FUNCTIONS).into();
        remembered(&self.imports, path, read);
    }

    /// The iconv module directory that is built into the libc at `path`.
    pub fn gconv_directory(&self, path: &Path) -> Option<PathBuf> {
        let read = |path: &Path| libc_opens::gconv_directory(&self.root.on_host(path));
        remembered(&self.gconv, path, read)
    }

    /// Whether `directory` has shared libraries, by their names, for the dynamic linker `linker` of `libc`. The first library whose
    /// libc is known decides.
    pub fn has_libraries(&self, directory: &Path, linker: &Elf, libc: Libc) -> bool {
        let key = (directory.to_owned(), linker.target(), libc);
        let read = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&key) {
            return *known;
        }
        drop(read);
        let entries = fs::read_dir(self.root.on_host(directory));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name());
        let names = names.filter(|name| bytes::contain(name.as_bytes(), b".so"));
        let mut fits = names.filter_map(|name| match self.probe(&directory.join(name)) {
            Probe::Library(library) => match incompatibility(linker, libc, &library) {
                None => Some(Libc::of_library(&library)),
                Some(Incompatible::Libc(other)) => Some(Some(other)),
                Some(_) => None,
            },
            _ => None,
        });
        let first = fits.next();
        let says = first.and_then(|first| first.or_else(|| fits.flatten().next()));
        let has = first.is_some() && says.is_none_or(|says| says == libc);
        let mut write = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        write.insert(key, has);
        has
    }

    /// The ld.so.cache at `path`.
    pub fn cache(&self, path: &Path) -> Option<Arc<Cache>> {
        let read = |path: &Path| {
            let bytes = read_regular(&self.root.on_host(path), MAX_CACHE).ok()?;
            Cache::parse(&bytes).map(Arc::new)
        };
        remembered(&self.caches, path, read)
    }

    /// The directories in the ld.so.conf at `path`.
    pub fn conf(&self, path: &Path) -> Arc<[PathBuf]> {
        let read = |path: &Path| conf::directories(&self.root, path).into();
        remembered(&self.confs, path, read)
    }

    /// The cached results of `finder`.
    pub(crate) fn finds(&self, finder: Finder) -> Arc<Finds> {
        let mut finds = self.finds.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(finds.entry(finder).or_default())
    }

    /// The files in the indexed directories whose DT_SONAME is `soname`, under any file name.
    pub fn with_soname(&self, soname: &OsStr) -> &[PathBuf] {
        let index = self.by_soname.get_or_init(|| {
            let on_host = self.indexed.iter().map(|one| (one, self.root.on_host(one)));
            let mut index: HashMap<OsString, Vec<PathBuf>> = HashMap::new();
            for (inside, on_host) in on_host {
                for entry in index::directory(&on_host) {
                    let Some(soname) = entry.soname else {
                        continue;
                    };
                    index
                        .entry(soname)
                        .or_default()
                        .push(inside.join(entry.name));
                }
            }
            index
        });
        index.get(soname).map_or(&[], Vec::as_slice)
    }
}

fn open_library(path: &Path) -> Probe {
    if is_loop(path) {
        return Probe::Loop;
    }
    let mut source = match Source::open(path) {
        Ok(source) => source,
        Err(error) if is_absent(&error) => return Probe::Absent,
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => return Probe::Loop,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Probe::Closed("cannot be opened: permission denied".to_owned());
        }
        Err(error) => return Probe::Unusable(format!("cannot be opened: {error}")),
    };
    match identify(&mut source) {
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(Identity::Malformed(why)) => return Probe::Unusable(format!("is malformed: {why}")),
        Ok(_) => return Probe::Unusable("is not a little-endian ELF file".to_owned()),
        Err(error) => return Probe::Unusable(format!("is malformed: {error:#}")),
    }
    match Elf::read(&mut source) {
        Ok(elf) if elf.kind != elf::ET_DYN => Probe::Unusable("is not a shared library".to_owned()),
        Ok(elf) => Probe::Library(Arc::new(elf)),
        Err(error) => Probe::Unusable(format!("is malformed: {error:#}")),
    }
}

/// Whether ld.so goes on to the next directory: the file or the directory does not exist, or the name is too long.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ENAMETOOLONG)
}
