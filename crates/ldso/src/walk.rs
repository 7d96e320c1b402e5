//! The walk over all libraries that a file has loaded, in ld.so's order: breadth first, each file once (glibc elf/dl-deps.c,
//! _dl_map_object_deps; musl ldso/dynlink.c, load_deps).
//!
//! The order, and which file asks for which name, are the same for every walk. A [`Policy`] decides where a name is found: where it
//! is now, or where it will be.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use crate::found::{Dependent, Found, SearchList, SearchPath};
use crate::interpreter::Libc;
use crate::linker::Linker;
use crate::versions::{self, UnmetVersion, UnversionedRelr};
use elf_file::{Dynamic, Elf, FileId, Opened, RELR_VERSION};

/// The dynamic entry or setting that has a library loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// DT_NEEDED.
    Needed,
    /// DT_FILTER or DT_AUXILIARY.
    Filtee,
    /// LD_PRELOAD, or the ld.so.preload at this path.
    Preload(PathBuf),
}

/// A library that is loaded.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name that it was first loaded by.
    pub name: OsString,
    /// Where it was found, and by which rule.
    pub found: Found,
    /// The index of the library that had it loaded; `None` for the file itself.
    pub by: Option<usize>,
    /// The kind of entry that had it loaded.
    pub cause: Cause,
}

/// A name that a file asks for and that no loaded library answers to.
pub struct Request<'r> {
    /// The name.
    pub name: &'r OsStr,
    /// The index of the library that asks; `None` for the file itself.
    pub by: Option<usize>,
    /// The file that asks.
    pub dependent: Dependent<'r>,
    /// The directories of LD_LIBRARY_PATH, DT_RPATH and DT_RUNPATH that ld.so searches for this file.
    pub search_list: &'r SearchList,
    /// The kind of entry that asks.
    pub cause: Cause,
    /// Whether ld.so goes on without the library.
    pub may_be_missing: bool,
}

/// The answer to a [`Request`].
pub struct Answer {
    /// The library.
    pub found: Found,
    /// The index of the library that counts as having it loaded; `None` for the file itself.
    pub by: Option<usize>,
}

/// Decides where names are found.
pub trait Policy {
    /// Returns the library for `request`, or `None` if nothing is loaded. Called for a name each time that a file asks for it,
    /// until a loaded library answers to it.
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer>;

    /// The directories of LD_LIBRARY_PATH, DT_RPATH and DT_RUNPATH that ld.so searches for the file `by`.
    fn search_list(&self, walk: &Walk<'_>, by: Option<usize>) -> Arc<SearchList> {
        walk.search_list(by)
    }

    /// Whether the walk includes the needs of `library`.
    fn follows(&self, library: &Found) -> bool;
}

/// The symbol lookup order, as a doubly linked list of nodes.
#[derive(Default)]
struct Order {
    first: Option<usize>,
    last: Option<usize>,
    before: Vec<Option<usize>>,
    after: Vec<Option<usize>>,
}

impl Order {
    /// Appends the next node.
    fn push(&mut self) {
        let node = self.after.len();
        self.before.push(self.last);
        self.after.push(None);
        match self.last.replace(node) {
            None => self.first = Some(node),
            Some(last) => self.after[last] = Some(node),
        }
    }

    /// Moves `node` directly before `other`, a different node.
    fn move_before(&mut self, node: usize, other: usize) {
        self.link(self.before[node], self.after[node]);
        self.link(self.before[other], Some(node));
        self.link(Some(node), Some(other));
    }

    fn link(&mut self, before: Option<usize>, after: Option<usize>) {
        match before {
            None => self.first = after,
            Some(before) => self.after[before] = after,
        }
        match after {
            None => self.last = before,
            Some(after) => self.before[after] = before,
        }
    }
}

/// A walk and the libraries that it has loaded so far.
pub struct Walk<'a> {
    /// The dynamic linker.
    pub linker: &'a Linker<'a>,
    /// The file itself.
    pub subject: Dependent<'a>,
    /// The search path of the file itself.
    pub own: SearchPath,
    /// The libraries, in the order of loading.
    pub nodes: Vec<Node>,
    /// The search path of each node.
    searches: Vec<SearchPath>,
    /// Nodes by every name they answer to; `None` is the file itself.
    names: HashMap<OsString, Option<usize>>,
    /// Nodes by file, because ld.so loads a file once, under any name.
    file_ids: HashMap<FileId, Option<usize>>,
    order: Order,
    /// Whether each node comes before the asking one in the symbol lookup order.
    passed: Vec<bool>,
}

impl<'a> Walk<'a> {
    /// Loads the `extra` names and then everything that `subject`, whose search path is `own`, needs. `policy` decides where names
    /// are found.
    pub fn new(
        linker: &'a Linker<'a>,
        subject: Dependent<'a>,
        own: SearchPath,
        extra: &[(OsString, Cause)],
        policy: &mut impl Policy,
    ) -> Self {
        let mut walk = Self {
            linker,
            subject,
            own,
            nodes: Vec::new(),
            searches: Vec::new(),
            names: HashMap::new(),
            file_ids: HashMap::new(),
            order: Order::default(),
            passed: Vec::new(),
        };
        // glibc also knows a loaded library by its DT_SONAME. musl knows not even that of the program.
        if linker.interpreter.libc != Libc::Musl {
            let soname = subject.elf.soname();
            walk.names.extend(soname.map(|name| (name.clone(), None)));
            walk.file_ids
                .extend(subject.elf.file_id.map(|file_id| (file_id, None)));
        }
        let search_list = policy.search_list(&walk, None);
        for (name, cause) in extra {
            walk.ask(
                Request {
                    name,
                    by: None,
                    dependent: subject,
                    search_list: &search_list,
                    may_be_missing: matches!(cause, Cause::Preload(_)),
                    cause: cause.clone(),
                },
                policy,
            );
        }
        walk.needs_of(None, policy);
        let mut next = walk.order.first;
        let mut is_done = Vec::new();
        while let Some(node) = next {
            is_done.resize(walk.nodes.len(), false);
            let was_done = std::mem::replace(&mut is_done[node], true);
            // The filtees come next, and then the node again; its own needs are done by then.
            next = match !was_done && policy.follows(&walk.nodes[node].found) {
                true => walk.needs_of(Some(node), policy),
                false => None,
            };
            if next.is_none() {
                walk.passed[node] = true;
                next = walk.order.after[node];
            }
        }
        walk
    }

    /// The node that answers to `name`. `None` for a missing library, for ld.so and for the file itself.
    pub fn node(&self, name: &OsStr) -> Option<usize> {
        self.names.get(name).copied().flatten()
    }

    /// Names that nodes answer to, other than the one that they were loaded by and their DT_SONAME.
    pub fn aliases(&self) -> impl Iterator<Item = (OsString, usize)> {
        let known = self.names.iter();
        let known = known.filter_map(|(name, node)| Some((name, (*node)?)));
        let is_other = |(name, index): &(&OsString, usize)| {
            let node = &self.nodes[*index];
            node.name != **name && node.found.elf.soname() != Some(*name)
        };
        known
            .filter(is_other)
            .map(|(name, node)| (name.clone(), node))
    }

    /// The nodes in the symbol lookup order.
    pub fn order(&self) -> impl Iterator<Item = usize> {
        iter::successors(self.order.first, |node| self.order.after[*node])
    }

    /// The search paths of the library `by`, of the one that had it loaded, and so on.
    pub fn chain(&self, by: Option<usize>) -> impl Iterator<Item = &SearchPath> {
        let libraries = std::iter::successors(by, |index| self.nodes[*index].by);
        libraries.map(|index| &self.searches[index])
    }

    /// Whether the search path of the file itself applies to the needs of the library `by`.
    pub fn inherits(&self, by: Option<usize>) -> bool {
        let own = by.map(|library| &self.searches[library]);
        self.linker.interpreter.libc == Libc::Musl
            || (!self.own.is_runpath && own.is_none_or(|own| !own.is_runpath))
    }

    /// The file of the node `by`; `None` is the file itself.
    pub fn dependent(&self, by: Option<usize>) -> Dependent<'_> {
        by.map_or(self.subject, |node| {
            let found = &self.nodes[node].found;
            Dependent {
                path: &found.path,
                elf: &found.elf,
            }
        })
    }

    /// Libraries that the file `by` declares to open with dlopen (`.note.dlopen`), if none of their names is loaded before or found
    /// in `search_list`.
    pub fn unopened<'w>(
        &'w self,
        by: Option<usize>,
        search_list: &'w SearchList,
    ) -> impl Iterator<Item = &'w Opened> {
        let dependent = self.dependent(by);
        dependent.elf.opened.iter().filter(move |opened| {
            let mut names = opened.soname.iter().map(OsStr::new);
            !opened.soname.is_empty()
                && !names.any(|name| {
                    self.is_known(name) || self.linker.find(name, dependent, &[search_list]).is_ok()
                })
        })
    }

    /// The directories in the libraries' own search paths, in the order of loading, each once.
    pub fn searched(&self) -> impl Iterator<Item = &PathBuf> {
        let mut known = HashSet::new();
        let all = self.searches.iter().flat_map(|path| &path.directories);
        all.filter(move |one| known.insert(*one))
    }

    /// The directories of LD_LIBRARY_PATH, DT_RPATH and DT_RUNPATH that ld.so searches for the file `by`.
    pub fn search_list(&self, by: Option<usize>) -> Arc<SearchList> {
        self.linker.search_list(self.chain(by).chain([&self.own]))
    }

    /// Like [`search_list`](Self::search_list), for a file that a program with the search path `opener` opens with dlopen.
    pub fn search_list_of_opened(&self, by: Option<usize>, opener: &SearchPath) -> Arc<SearchList> {
        let chain = self.chain(by).chain([&self.own, opener]);
        self.linker.search_list(chain)
    }

    /// Symbol versions that the file itself, and the libraries for which `judged` is true, require and do not find. Empty for musl,
    /// which ignores symbol versions.
    pub fn unmet_versions(&self, judged: impl Fn(&Found) -> bool) -> Vec<UnmetVersion> {
        let interpreter = self.linker.interpreter;
        if interpreter.libc != Libc::Glibc {
            return Vec::new();
        }
        let library = |name: &OsStr| {
            if interpreter.provides(name) {
                return Some((interpreter.path.as_path(), &interpreter.elf));
            }
            let found = &self.nodes[self.node(name)?].found;
            Some((found.path.as_path(), &*found.elf))
        };
        let mut unmet_versions =
            versions::unmet_versions(self.subject.path, self.subject.elf, library);
        let found = self.nodes.iter().map(|node| &node.found);
        for found in found.filter(|found| judged(found)) {
            unmet_versions.extend(versions::unmet_versions(&found.path, &found.elf, library));
        }
        unmet_versions
    }

    /// Those that ld.so refuses among the file itself and the libraries for which `judged` is true. Empty if libc does not define
    /// GLIBC_ABI_DT_RELR, because its ld.so then does not require it.
    pub fn unversioned_relr(&self, judged: impl Fn(&Found) -> bool) -> Vec<UnversionedRelr> {
        let knows = |elf: &Elf| {
            let mut defined = elf.dynamic.iter().flat_map(|own| &own.defines);
            defined.any(|version| version == RELR_VERSION)
        };
        let libraries = self.nodes.iter().map(|node| &node.found);
        if self.linker.interpreter.libc != Libc::Glibc
            || !libraries.clone().any(|found| knows(&found.elf))
        {
            return Vec::new();
        }
        let libraries = libraries.filter(|found| judged(found));
        let libraries = libraries.map(|found| (found.path.as_path(), &*found.elf));
        let files = iter::once((self.subject.path, self.subject.elf)).chain(libraries);
        let lacking = files.filter(|(_, elf)| {
            let own = elf.dynamic.as_ref();
            own.is_some_and(Dynamic::lacks_relr_version)
        });
        lacking
            .map(|(path, _)| UnversionedRelr(path.to_owned()))
            .collect()
    }

    /// Loads the needs and filtees of the file `by`. Moves the filtees directly before it in the lookup order, and returns the
    /// first of those.
    fn needs_of(&mut self, by: Option<usize>, policy: &mut impl Policy) -> Option<usize> {
        let library = by.map(|node| &self.nodes[node].found);
        let library = library.map(|found| (found.path.clone(), Arc::clone(&found.elf)));
        let dependent = match &library {
            Some((path, elf)) => Dependent { path, elf },
            None => self.subject,
        };
        let filtees = self.linker.filtees(dependent.elf);
        let filtee_names = filtees.iter().map(|filtee| &filtee.name);
        let mut names = dependent.elf.needed().iter().chain(filtee_names);
        if names.all(|name| self.is_known(name)) && filtees.is_empty() {
            return None;
        }
        let search_list = policy.search_list(self, by);
        let request = |name, cause, may_be_missing| Request {
            name,
            by,
            dependent,
            search_list: &search_list,
            cause,
            may_be_missing,
        };
        for name in dependent.elf.needed() {
            self.ask(request(name, Cause::Needed, false), policy);
        }
        let mut moved = Vec::new();
        let mut front = by.or(self.order.first);
        for filtee in filtees {
            let request = request(&filtee.name, Cause::Filtee, filtee.is_auxiliary);
            self.ask(request, policy);
            let Some(node) = self.node(&filtee.name) else {
                continue;
            };
            // A filtee that already comes before the file stays there.
            if by != Some(node) && !self.passed[node] {
                match front {
                    Some(first) if first == node => front = self.order.after[node],
                    Some(other) => self.order.move_before(node, other),
                    // No other library is loaded, so this is the last.
                    None => {}
                }
                self.passed[node] = true;
                moved.push(node);
            }
        }
        for &node in &moved {
            self.passed[node] = false;
        }
        moved.first().copied()
    }

    /// Whether a loaded library answers to `name`.
    pub fn is_known(&self, name: &OsStr) -> bool {
        self.linker.interpreter.provides(name) || self.names.contains_key(name)
    }

    fn ask(&mut self, request: Request<'_>, policy: &mut impl Policy) {
        if !self.is_known(request.name)
            && let Some(answer) = policy.find(self, &request)
        {
            self.load(request.name.to_owned(), answer, request.cause);
        }
    }

    fn load(&mut self, name: OsString, Answer { found, by }: Answer, cause: Cause) {
        let file_id = found.elf.file_id;
        if let Some(known) = file_id.and_then(|file_id| self.file_ids.get(&file_id)) {
            self.names.insert(name, *known);
            return;
        }
        let node = self.nodes.len();
        self.file_ids
            .extend(file_id.map(|file_id| (file_id, Some(node))));
        self.names.insert(name.clone(), Some(node));
        if self.linker.interpreter.libc != Libc::Musl
            && let Some(soname) = found.elf.soname()
        {
            self.names.entry(soname.clone()).or_insert(Some(node));
        }
        self.searches
            .push(self.linker.search_path(&found.path, &found.elf));
        self.nodes.push(Node {
            name,
            found,
            by,
            cause,
        });
        self.order.push();
        self.passed.push(false);
    }
}
