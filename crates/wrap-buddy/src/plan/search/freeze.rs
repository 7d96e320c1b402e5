//! Freezes the libraries of a program: each is loaded by path, in ld.so's order, so that nothing is searched for at a start.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use globset::GlobSet;

use ldso::Found;
use ldso::{Node, Walk};

/// Directories of drivers, which have to match the machine that the program runs on.
const DRIVERS: [&str; 2] = ["/run/opengl-driver", "/run/opengl-driver-32"];

/// Directories in which nothing ever changes.
pub const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];

/// The libraries of glibc. They work only with the dynamic linker of the same build.
const LIBC_FAMILY: [&str; 12] = [
    "libBrokenLocale.so.1",
    "libanl.so.1",
    "libc.so.6",
    "libc_malloc_debug.so.0",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libthread_db.so.1",
    "libutil.so.1",
];

/// A DT_NEEDED before the program's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepended {
    /// A name to search for.
    Name(OsString),
    /// The absolute path of a file.
    File(PathBuf),
}

/// A program whose libraries are all known.
pub(super) struct Subject<'a> {
    /// The libraries that it loads.
    pub walk: &'a Walk<'a>,
    /// Its DT_NEEDED in order, with additions.
    pub needed: Vec<&'a OsStr>,
    /// Names that it loads on behalf of libraries that do not find them.
    pub added: HashSet<&'a OsStr>,
    /// Names that are still searched for.
    pub except: &'a GlobSet,
}

impl<'a> Subject<'a> {
    /// The entries before its own DT_NEEDED. Its own follow because symbol versions are looked up by these names: ld.so finds the libraries
    /// loaded already, by their DT_SONAME (glibc elf/dl-load.c, `_dl_map_object`).
    ///
    /// Libraries are in ld.so's order of symbol lookup, which is the walk's, so that it stays the same. Dependencies of libraries that are
    /// searched for are left to those libraries: the loop below finds the others, and their order does not matter.
    pub fn prepended(&self) -> Vec<Prepended> {
        let family_stays = self.family_is_searched_for();
        let is_searched = |one: &Node| {
            self.is_exempt(&one.name, &one.found) || (family_stays && is_of_family(&one.name))
        };
        let direct: HashSet<&OsStr> = self.needed.iter().copied().collect();
        let mut reached: HashSet<usize> = HashSet::new();
        let mut ahead: Vec<usize> = self
            .needed
            .iter()
            .filter_map(|name| self.walk.node(name))
            .collect();
        while let Some(index) = ahead.pop() {
            let node = &self.walk.nodes[index];
            if reached.insert(index) && !is_searched(node) {
                let elf = &node.found.elf;
                let filtees = elf.filtees().iter().map(|filtee| &filtee.name);
                let names = elf.needed().iter().chain(filtees);
                ahead.extend(names.filter_map(|name| self.walk.node(name)));
            }
        }
        let order = self.walk.order().filter(|index| reached.contains(index));
        let prepended = order.filter_map(|index| {
            let one = &self.walk.nodes[index];
            let name = one.name.as_os_str();
            match is_searched(one) {
                false => Some(Prepended::File(one.found.path.clone())),
                true if direct.contains(name) || self.added.contains(name) => {
                    Some(Prepended::Name(name.to_owned()))
                }
                true => None,
            }
        });
        prepended.collect()
    }

    fn library(&self, name: &OsStr) -> Option<&'a Found> {
        Some(&self.walk.nodes[self.walk.node(name)?].found)
    }

    /// Own names that can be left out: their libraries are among the files of `prepended`, and have the name as DT_SONAME. Names stay if a
    /// file requires versions of them, because ld.so identifies the library of a version only by the names that were loaded
    /// (elf/dl-version.c, find_needed).
    pub fn redundant(&self, prepended: &[Prepended]) -> HashSet<OsString> {
        let libraries = self.walk.nodes.iter().map(|node| &*node.found.elf);
        let all = libraries.chain([self.walk.subject.elf]);
        let required = all.filter_map(|elf| elf.dynamic.as_ref());
        let required = required.flat_map(|dynamic| &dynamic.requires);
        let versioned: HashSet<&OsStr> = required.map(|one| one.library.as_os_str()).collect();
        let files: HashSet<&Path> = files(prepended).map(PathBuf::as_path).collect();
        let is_implied = |name: &OsStr| {
            self.library(name).is_some_and(|found| {
                let soname = found
                    .elf
                    .dynamic
                    .as_ref()
                    .and_then(|own| own.soname.as_deref());
                soname == Some(name) && files.contains(&*found.path)
            })
        };
        let names = self.needed.iter().filter(|name| is_implied(name));
        let names = names.filter(|name| !versioned.contains(*name));
        names.map(|&name| name.to_owned()).collect()
    }

    /// Libraries for one kind of processor are searched for, too: the next machine may have another.
    fn is_exempt(&self, name: &OsStr, found: &Found) -> bool {
        let is_driver = |drivers| found.path.starts_with(drivers);
        self.except.is_match(name) || DRIVERS.iter().any(is_driver) || found.subdirectory.is_some()
    }

    /// glibc is frozen as a whole, and only together with its own dynamic linker.
    fn family_is_searched_for(&self) -> bool {
        let interpreter = self.walk.linker.interpreter;
        let directory = |file: &Path| interpreter.root.real(file).parent().map(Path::to_owned);
        let home = directory(&interpreter.path);
        LIBC_FAMILY.iter().map(OsStr::new).any(|name| {
            self.except.is_match(name)
                || self
                    .library(name)
                    .is_some_and(|found| directory(&found.path) != home)
        })
    }
}

/// Whether a library of this name works only with the dynamic linker of the same build.
pub(super) fn is_of_family(name: &OsStr) -> bool {
    LIBC_FAMILY.iter().any(|member| name == *member)
}

fn files(prepended: &[Prepended]) -> impl Iterator<Item = &PathBuf> {
    prepended.iter().filter_map(|one| match one {
        Prepended::File(path) => Some(path),
        Prepended::Name(_) => None,
    })
}

/// The files of `prepended` that may move or change independently of the program: those that are neither in a store nor in the directories
/// `bundle`, which are free of symbolic links. `real` resolves symbolic links.
pub(super) fn unstable_paths(
    prepended: &[Prepended],
    bundle: &[PathBuf],
    real: impl Fn(&Path) -> PathBuf,
) -> Vec<PathBuf> {
    let stays = |path: &Path| {
        let stores = STORES.iter().map(Path::new);
        let mut directories = stores.chain(bundle.iter().map(PathBuf::as_path));
        directories.any(|directory| path.starts_with(directory))
    };
    files(prepended)
        .filter(|path| !stays(path) && !stays(&real(path)))
        .cloned()
        .collect()
}
