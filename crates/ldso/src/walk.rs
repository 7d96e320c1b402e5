//! The walk over all libraries that a file has loaded, in ld.so's order: breadth first, each file once (glibc
//! elf/dl-deps.c, _dl_map_object_deps; musl ldso/dynlink.c, load_deps).
//!
//! The order, and which file asks for which name, are the same for every walk. Where a name leads is for a [`Policy`] to say:
//! as things are, or as they are going to be.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use crate::found::{Asker, Found, SearchList, SearchPath};
use crate::interpreter::Libc;
use crate::linker::Linker;
use crate::versions::{self, UnmetVersion, UnversionedRelr};
use elf_file::{Dynamic, Elf, Inode, RELR_VERSION};

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

/// A library that is loaded.
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

/// A name that a file asks for, and that nothing loaded so far answers to.
pub struct Request<'r> {
    /// The name.
    pub name: &'r OsStr,
    /// Which library asks; none: the file itself.
    pub by: Option<usize>,
    /// The file that asks.
    pub asker: Asker<'r>,
    /// The directories that ld.so is told to search on its behalf.
    pub search_list: &'r SearchList,
    /// By what it asks.
    pub cause: Cause,
    /// Whether ld.so goes on without it.
    pub may_be_missing: bool,
}

/// The answer to a [`Request`].
pub struct Answer {
    /// The library.
    pub found: Found,
    /// Which library has it loaded; none: the file itself.
    pub by: Option<usize>,
}

/// Says where names lead.
pub trait Policy {
    /// The library that `request` leads to; none where nothing is loaded. Told of every name that a file asks for until
    /// something answers to it.
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer>;

    /// Where ld.so is told to look on behalf of the file `by`.
    fn search_list(&self, walk: &Walk<'_>, by: Option<usize>) -> Arc<SearchList> {
        walk.search_list(by)
    }

    /// Whether the needs of a library are looked for.
    fn follows(&self, library: &Found) -> bool;
}

/// The order in which symbols are looked up: a list of nodes, each with the one before it and the one behind it.
#[derive(Default)]
struct Order {
    first: Option<usize>,
    last: Option<usize>,
    before: Vec<Option<usize>>,
    behind: Vec<Option<usize>>,
}

impl Order {
    /// Puts the next node at the end.
    fn push(&mut self) {
        let node = self.behind.len();
        self.before.push(self.last);
        self.behind.push(None);
        match self.last.replace(node) {
            None => self.first = Some(node),
            Some(last) => self.behind[last] = Some(node),
        }
    }

    /// Moves `node` right in front of `other`, which is another.
    fn move_before(&mut self, node: usize, other: usize) {
        self.link(self.before[node], self.behind[node]);
        self.link(self.before[other], Some(node));
        self.link(Some(node), Some(other));
    }

    fn link(&mut self, before: Option<usize>, behind: Option<usize>) {
        match before {
            None => self.first = behind,
            Some(before) => self.behind[before] = behind,
        }
        match behind {
            None => self.last = before,
            Some(behind) => self.before[behind] = before,
        }
    }
}

/// What is loaded so far.
pub struct Walk<'a> {
    /// The dynamic linker.
    pub linker: &'a Linker<'a>,
    /// The file itself.
    pub subject: Asker<'a>,
    /// Its search path.
    pub own: SearchPath,
    /// Libraries, in the order of loading.
    pub nodes: Vec<Node>,
    /// The search path of each node.
    searches: Vec<SearchPath>,
    /// By every name it answers to; none is the file itself.
    names: HashMap<OsString, Option<usize>>,
    /// One file is loaded once, whatever it is called.
    inodes: HashMap<Inode, Option<usize>>,
    order: Order,
    /// Which nodes are in front of the one that is asking.
    passed: Vec<bool>,
}

impl<'a> Walk<'a> {
    /// Loads for `subject`, with the search path `own`, the `extra` names first, then all it needs, as `policy` says.
    pub fn new(
        linker: &'a Linker<'a>,
        subject: Asker<'a>,
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
            inodes: HashMap::new(),
            order: Order::default(),
            passed: Vec::new(),
        };
        // glibc knows what is loaded by DT_SONAME as well; musl does not even know the program's.
        if linker.interpreter.libc != Libc::Musl {
            let soname = subject.elf.soname();
            walk.names.extend(soname.map(|name| (name.clone(), None)));
            walk.inodes
                .extend(subject.elf.inode.map(|inode| (inode, None)));
        }
        let search_list = policy.search_list(&walk, None);
        for (name, cause) in extra {
            walk.ask(
                Request {
                    name,
                    by: None,
                    asker: subject,
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
            // What it filters comes next, and then the node itself again, which has asked for all it needs by then.
            next = match !was_done && policy.follows(&walk.nodes[node].found) {
                true => walk.needs_of(Some(node), policy),
                false => None,
            };
            if next.is_none() {
                walk.passed[node] = true;
                next = walk.order.behind[node];
            }
        }
        walk
    }

    /// The node that answers to `name`; none for what is missing, for ld.so and for the file itself.
    pub fn node(&self, name: &OsStr) -> Option<usize> {
        self.names.get(name).copied().flatten()
    }

    /// The nodes in the order in which symbols are looked up.
    pub fn order(&self) -> impl Iterator<Item = usize> {
        iter::successors(self.order.first, |node| self.order.behind[*node])
    }

    /// The search paths of a library, of the one that had it loaded, and so on.
    pub fn chain(&self, by: Option<usize>) -> impl Iterator<Item = &SearchPath> {
        let libraries = std::iter::successors(by, |index| self.nodes[*index].by);
        libraries.map(|index| &self.searches[index])
    }

    /// Whether the library `by` is served by the search path of the file itself.
    pub fn inherits(&self, by: Option<usize>) -> bool {
        let own = by.map(|library| &self.searches[library]);
        self.linker.interpreter.libc == Libc::Musl
            || (!self.own.is_runpath && own.is_none_or(|own| !own.is_runpath))
    }

    /// Where the libraries themselves have ld.so look, in the order of loading, each once.
    pub fn searched(&self) -> impl Iterator<Item = &PathBuf> {
        let mut known = HashSet::new();
        let all = self.searches.iter().flat_map(|path| &path.directories);
        all.filter(move |one| known.insert(*one))
    }

    /// Where ld.so is told to look on behalf of the file `by`.
    pub fn search_list(&self, by: Option<usize>) -> Arc<SearchList> {
        self.linker.search_list(self.chain(by).chain([&self.own]))
    }

    /// Symbol versions that the file, and the libraries that are `judged`, will not find. musl does not know symbol versions.
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

    /// The file itself, and those of the libraries that are `judged`, that ld.so refuses: a libc that does not define the version
    /// they lack comes with an ld.so that does not ask for it.
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

    /// Loads what the file `by` asks for. What it filters goes right in front of it: the first of these is returned.
    fn needs_of(&mut self, by: Option<usize>, policy: &mut impl Policy) -> Option<usize> {
        let library = by.map(|node| &self.nodes[node].found);
        let library = library.map(|found| (found.path.clone(), Arc::clone(&found.elf)));
        let asker = match &library {
            Some((path, elf)) => Asker { path, elf },
            None => self.subject,
        };
        let filtees = self.linker.filtees(asker.elf);
        let filtee_names = filtees.iter().map(|filtee| &filtee.name);
        let mut names = asker.elf.needed().iter().chain(filtee_names);
        if names.all(|name| self.is_known(name)) && filtees.is_empty() {
            return None;
        }
        let search_list = policy.search_list(self, by);
        let request = |name, cause, may_be_missing| Request {
            name,
            by,
            asker,
            search_list: &search_list,
            cause,
            may_be_missing,
        };
        for name in asker.elf.needed() {
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
            // One that is in front already stays there.
            if by != Some(node) && !self.passed[node] {
                match front {
                    Some(first) if first == node => front = self.order.behind[node],
                    Some(other) => self.order.move_before(node, other),
                    // Nothing else is loaded: it is the last.
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

    /// Whether something loaded answers to `name`.
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
        let inode = found.elf.inode;
        if let Some(known) = inode.and_then(|inode| self.inodes.get(&inode)) {
            self.names.insert(name, *known);
            return;
        }
        let node = self.nodes.len();
        self.inodes.extend(inode.map(|inode| (inode, Some(node))));
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
