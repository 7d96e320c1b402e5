//! Freezes what a program loads: each library by its path, in the order in which ld.so would load it, so that nothing is
//! searched for at a start.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use globset::GlobSet;

use ldso::Found;
use ldso::{Node, Walk};

/// Where drivers of the machine are, which are not those of the machine that a program was wrapped on.
const DRIVERS: [&str; 2] = ["/run/opengl-driver", "/run/opengl-driver-32"];

/// Where nothing ever changes.
pub const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];

/// What belongs to glibc, and only works with a dynamic linker of the very same build.
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

/// A DT_NEEDED in front of a program's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepended {
    /// A name, to be searched for.
    Name(OsString),
    /// A file, absolute.
    File(PathBuf),
}

/// A program whose libraries are all known.
pub(super) struct Subject<'a> {
    /// What it loads.
    pub walk: &'a Walk<'a>,
    /// What it needs itself, in order, extra names included.
    pub needed: Vec<&'a OsStr>,
    /// Names that it needs in place of its libraries, which do not find them by themselves.
    pub added: HashSet<&'a OsStr>,
    /// Names that are searched for as ever.
    pub except: &'a GlobSet,
}

impl<'a> Subject<'a> {
    /// What goes in front of its own DT_NEEDED. Those follow, so that names are known by which symbol versions are looked
    /// for: ld.so finds them loaded, by their DT_SONAME (glibc elf/dl-load.c, `_dl_map_object`).
    ///
    /// Libraries are in the order in which ld.so looks up symbols, which stays. What only libraries need that are searched
    /// for is left to those.
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

    /// Names that it needs and that ld.so need not be told: their libraries are among the files in `front`, and answer to the
    /// name by their DT_SONAME whoever asks. Those that files require versions of stay, because ld.so looks for these only
    /// by names that something was loaded by (elf/dl-version.c, find_needed).
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

    /// What is made for one kind of processor is searched for as well: the next machine may have another.
    fn is_exempt(&self, name: &OsStr, found: &Found) -> bool {
        let is_driver = |drivers| found.path.starts_with(drivers);
        self.except.is_match(name) || DRIVERS.iter().any(is_driver) || found.subdirectory.is_some()
    }

    /// glibc is frozen as one, and only together with the dynamic linker that comes with it.
    fn family_is_searched_for(&self) -> bool {
        let home = directory(&self.walk.linker.interpreter.path);
        LIBC_FAMILY.iter().map(OsStr::new).any(|name| {
            self.except.is_match(name)
                || self
                    .library(name)
                    .is_some_and(|found| directory(&found.path) != home)
        })
    }
}

/// Whether a library of this name only works with a dynamic linker of the same build.
pub(super) fn is_of_family(name: &OsStr) -> bool {
    LIBC_FAMILY.iter().any(|member| name == *member)
}

/// The directory a file really is in.
fn directory(file: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    real.parent().map(Path::to_owned)
}

fn files(prepended: &[Prepended]) -> impl Iterator<Item = &PathBuf> {
    prepended.iter().filter_map(|one| match one {
        Prepended::File(path) => Some(path),
        Prepended::Name(_) => None,
    })
}

/// What of `front` may move, or change, without the program: what is neither in a store nor below one of `bundle`, which are
/// free of symbolic links.
pub(super) fn unstable_paths(prepended: &[Prepended], bundle: &[PathBuf]) -> Vec<PathBuf> {
    let stays = |path: &Path| {
        let stores = STORES.iter().map(Path::new);
        let mut directories = stores.chain(bundle.iter().map(PathBuf::as_path));
        directories.any(|directory| path.starts_with(directory))
    };
    files(prepended)
        .filter(|path| {
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
            !stays(path) && !stays(&real)
        })
        .cloned()
        .collect()
}
