//! What a dynamic linker would load, as things are: breadth first, as it does.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::found::{Found, Near, SearchPath, Step};
use super::linker::Linker;
use super::shelf::Shelf;
use super::versions::{self, Unmet};
use crate::inspect::Elf;
use crate::interpreter::Libc;

/// What has a library loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// DT_NEEDED.
    Needed,
    /// DT_FILTER or DT_AUXILIARY.
    Filtee,
    /// LD_PRELOAD, or the file of that path.
    Preload(PathBuf),
}

/// A library that would be loaded.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name it was first asked for by.
    pub name: OsString,
    /// Where it is, and why there.
    pub found: Found,
    /// Which library had it loaded; none: the file itself.
    pub by: Option<usize>,
    /// By what.
    pub cause: Cause,
}

/// A library that would not be found, and that ld.so does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispensable {
    /// The name it is asked for by.
    pub name: OsString,
    /// Which library asks for it; none: the file itself.
    pub by: Option<usize>,
    /// By what.
    pub cause: Cause,
}

/// A library that would not be found.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The name it is asked for by.
    pub name: OsString,
    /// Which library asks for it; none: the file itself.
    pub by: Option<usize>,
    /// Files that come close.
    pub near: Vec<Near>,
}

/// All that a file would have loaded.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// In the order of loading.
    pub nodes: Vec<Node>,
    /// What is missing, in the order of asking; each name once.
    pub lost: Vec<Lost>,
    /// What is missing and does not matter.
    pub dispensable: Vec<Dispensable>,
    /// Symbol versions that would not be found.
    pub unmet: Vec<Unmet>,
}

impl Tree {
    /// The path of the file that the node `by` is, `own` for the file itself.
    pub fn path_of<'a>(&'a self, by: Option<usize>, own: &'a Path) -> &'a Path {
        by.map_or(own, |index| &self.nodes[index].found.path)
    }

    /// What the node at `index` has loaded, or needs and did not have to.
    pub fn children(&self, index: Option<usize>) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| node.by == index)
            .map(|(child, _)| child)
    }
}

fn with_defaults(elf: &Elf) -> bool {
    let dynamic = elf.dynamic.as_ref();
    dynamic.is_none_or(|dynamic| !dynamic.no_default_directories)
}

/// Device and inode: one file is loaded once, whatever it is called.
type Place = (u64, u64);

struct Walk<'a> {
    linker: &'a Linker<'a>,
    shelf: &'a Shelf,
    own: SearchPath,
    searches: Vec<SearchPath>,
    names: HashMap<OsString, Option<usize>>,
    places: HashMap<Place, Option<usize>>,
    tree: Tree,
}

/// What `linker` would load for the file `elf` opened as `path`, absolute.
pub(super) fn tree(linker: &Linker<'_>, shelf: &Shelf, path: &Path, elf: &Elf) -> Tree {
    let mut walk = Walk {
        linker,
        shelf,
        own: linker.search_path(path, elf),
        searches: Vec::new(),
        names: HashMap::new(),
        places: HashMap::new(),
        tree: Tree::default(),
    };
    // glibc knows what is loaded by DT_SONAME as well; musl does not even know the program's.
    if linker.interpreter.libc != Libc::Musl {
        walk.names
            .extend(elf.soname().map(|name| (name.clone(), None)));
        walk.places
            .extend(walk.place(path).map(|place| (place, None)));
    }
    walk.preloads(path, elf);
    walk.needs_of(None, path, elf);
    let mut next = 0;
    while let Some(node) = walk.tree.nodes.get(next) {
        let (at, elf) = (node.found.path.clone(), Arc::clone(&node.found.elf));
        walk.needs_of(Some(next), &at, &elf);
        next += 1;
    }
    walk.check_versions(path, elf);
    walk.tree
}

impl Walk<'_> {
    fn place(&self, path: &Path) -> Option<Place> {
        let metadata = fs::metadata(self.shelf.root().on_host(path)).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// Where the file `by` is told to look.
    fn told(&self, by: Option<usize>) -> Vec<Step> {
        let libraries = std::iter::successors(by, |index| self.tree.nodes[*index].by);
        let libraries = libraries.map(|index| &self.searches[index]);
        self.linker.told(libraries.chain([&self.own]))
    }

    /// glibc looks for them as the program would (elf/rtld.c, do_preload), musl as nobody in particular (ldso/dynlink.c,
    /// load_preload).
    fn preloads(&mut self, path: &Path, elf: &Elf) {
        let told = match self.linker.interpreter.libc {
            Libc::Musl => self.linker.told([]),
            _ => self.told(None),
        };
        for (name, from) in self.linker.preloads() {
            let cause = Cause::Preload(from);
            if self.is_known(&name) {
                continue;
            }
            match self.linker.find(&name, path, &told, with_defaults(elf)) {
                Ok(found) => self.load(&name, found, None, cause),
                Err(_) => self.tree.dispensable.push(Dispensable {
                    name,
                    by: None,
                    cause,
                }),
            }
        }
    }

    fn is_known(&self, name: &OsStr) -> bool {
        self.linker.interpreter.provides(name) || self.names.contains_key(name)
    }

    fn filtees_of(&mut self, by: Option<usize>, path: &Path, elf: &Elf) {
        let filtees = self.linker.filtees(elf);
        if filtees.is_empty() {
            return;
        }
        let told = self.told(by);
        for filtee in filtees {
            let name = &filtee.name;
            if self.is_known(name) {
                continue;
            }
            match self.linker.find(name, path, &told, with_defaults(elf)) {
                Ok(found) => self.load(name, found, by, Cause::Filtee),
                Err(_) if filtee.is_auxiliary => self.tree.dispensable.push(Dispensable {
                    name: name.clone(),
                    by,
                    cause: Cause::Filtee,
                }),
                Err(near) => self.lose(name, by, near),
            }
        }
    }

    /// Each file that needs it looks for itself.
    fn lose(&mut self, name: &OsStr, by: Option<usize>, near: Vec<Near>) {
        match self.tree.lost.iter_mut().find(|lost| lost.name == name) {
            Some(known) => {
                let more = near.into_iter().filter(|one| !known.near.contains(one));
                let more: Vec<Near> = more.collect();
                known.near.extend(more);
            }
            None => self.tree.lost.push(Lost {
                name: name.to_owned(),
                by,
                near,
            }),
        }
    }

    fn needs_of(&mut self, by: Option<usize>, path: &Path, elf: &Elf) {
        let mut told = None;
        for name in elf.needed() {
            if self.is_known(name) {
                continue;
            }
            let told = told.get_or_insert_with(|| self.told(by));
            match self.linker.find(name, path, &*told, with_defaults(elf)) {
                Ok(found) => self.load(name, found, by, Cause::Needed),
                Err(near) => self.lose(name, by, near),
            }
        }
        self.filtees_of(by, path, elf);
    }

    fn load(&mut self, name: &OsStr, found: Found, by: Option<usize>, cause: Cause) {
        let place = self.place(&found.path);
        if let Some(known) = place.and_then(|place| self.places.get(&place)) {
            self.names.insert(name.to_owned(), *known);
            return;
        }
        let index = self.tree.nodes.len();
        self.places.extend(place.map(|place| (place, Some(index))));
        self.names.insert(name.to_owned(), Some(index));
        if self.linker.interpreter.libc != Libc::Musl
            && let Some(soname) = found.elf.soname()
        {
            self.names.entry(soname.clone()).or_insert(Some(index));
        }
        self.searches
            .push(self.linker.search_path(&found.path, &found.elf));
        let name = name.to_owned();
        self.tree.nodes.push(Node {
            name,
            found,
            by,
            cause,
        });
    }

    /// musl does not know symbol versions.
    fn check_versions(&mut self, path: &Path, elf: &Elf) {
        let interpreter = self.linker.interpreter;
        if interpreter.libc != Libc::Glibc {
            return;
        }
        let library = |name: &OsStr| {
            if interpreter.provides(name) {
                return Some((interpreter.path.as_path(), &interpreter.elf));
            }
            let index = (*self.names.get(name)?)?;
            let found = &self.tree.nodes[index].found;
            Some((found.path.as_path(), &*found.elf))
        };
        let mut unmet = versions::unmet(path, elf, library);
        for node in &self.tree.nodes {
            unmet.extend(versions::unmet(&node.found.path, &node.found.elf, library));
        }
        self.tree.unmet = unmet;
    }
}
