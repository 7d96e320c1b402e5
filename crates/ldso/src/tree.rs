//! All libraries that a dynamic linker would load for a file now.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::iter::successors;
use std::path::Path;
use std::sync::Arc;

use crate::found::{Dependent, Found, NearMiss, Rule, SearchList, SearchPath};
use crate::interpreter::Libc;
use crate::linker::Linker;
use crate::versions::{UnmetVersion, UnversionedRelr};
use crate::walk::{Answer, Cause, Node, Policy, Request, Walk};
use elf_file::Opened;

/// Maximum number of missing names that are listed. Each file of a tree may lack every missing library of that tree.
const MAX_MISSING: usize = 1000;

/// A library that ld.so would not find and does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalLibrary {
    /// The name in the dynamic entry.
    pub name: OsString,
    /// The index of the library with that entry; `None` for the file itself.
    pub by: Option<usize>,
    /// The kind of dynamic entry.
    pub cause: Cause,
}

/// A library that ld.so would not find.
#[derive(Clone, Debug)]
pub struct MissingLibrary {
    /// The name in DT_NEEDED.
    pub name: OsString,
    /// The index of the library that needs it; `None` for the file itself.
    pub by: Option<usize>,
    /// Files of that name that ld.so passes over.
    pub near_misses: Vec<NearMiss>,
}

/// Everything that ld.so would load for a file.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The libraries, in the order of loading.
    pub nodes: Vec<Node>,
    /// The missing libraries, in the order of the search; each name once.
    pub missing: Vec<MissingLibrary>,
    /// How many more names are missing than `missing` lists.
    pub more_missing: usize,
    /// The missing libraries that ld.so does without.
    pub optional: Vec<OptionalLibrary>,
    /// Libraries that the file declares to open with dlopen, and that ld.so would not find.
    pub unopened: Vec<Opened>,
    /// The symbol versions that ld.so would not find.
    pub unmet_versions: Vec<UnmetVersion>,
    /// The files that ld.so refuses because of DT_RELR.
    pub unversioned_relr: Vec<UnversionedRelr>,
    /// The names that the file itself asks for, preloaded ones first.
    asked: Vec<OsString>,
    /// Further names that libraries answer to.
    aliases: HashMap<OsString, usize>,
    /// The names that ld.so itself answers to.
    of_linker: HashSet<OsString>,
    /// Whether filters load their filtees.
    has_filtees: bool,
}

/// A name that a file asks for, and what answers to it.
#[derive(Clone, Copy, Debug)]
pub struct Need<'t> {
    /// The name.
    pub name: &'t OsStr,
    /// What answers to it.
    pub answer: Answerer,
}

/// What answers to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The library with this index.
    Library(usize),
    /// ld.so itself.
    Linker,
    /// Nothing: the library is missing.
    Missing,
    /// Nothing: the library is missing, and ld.so continues without it.
    Optional,
    /// A file that is loaded anyway: the file itself, or the program that opens it.
    Loaded,
}

impl Tree {
    /// Computes what `linker` would load for `subject`: when it is started, or when `opener` opens it with dlopen.
    pub fn of(linker: &Linker<'_>, subject: Dependent<'_>, opener: Option<&Opener>) -> Self {
        let own = linker.search_path(subject.path, subject.elf);
        let preloads = linker.preloads().into_iter();
        let preloads: Vec<(OsString, Cause)> = preloads
            .map(|(name, from)| (name, Cause::Preload(from)))
            .collect();
        let mut policy = AsThingsAre {
            opener,
            missing: Vec::new(),
            known: HashMap::new(),
            optional: Vec::new(),
        };
        let walk = Walk::new(linker, subject, own, &preloads, &mut policy);
        let unmet_versions = walk.unmet_versions(|_| true);
        let unversioned_relr = walk.unversioned_relr(|_| true);
        let search_list = policy.search_list(&walk, None);
        let is_loaded = |opened: &&Opened| {
            let mut names = opened.soname.iter().map(OsStr::new);
            opener.is_some_and(|opener| names.any(|name| opener.names.contains(name)))
        };
        let unopened = walk.unopened(None, &search_list);
        let unopened = unopened.filter(|opened| !is_loaded(opened));
        let unopened = unopened.cloned().collect();
        let preloads = preloads.into_iter().map(|(name, _)| name);
        let has_filtees = linker.interpreter.libc != Libc::Musl;
        let needed = subject.elf.needed().iter();
        let filtees = linker.filtees(subject.elf).iter();
        let own = needed.chain(filtees.map(|filtee| &filtee.name)).cloned();
        let asked: Vec<OsString> = preloads.chain(own).collect();
        let is_linker = |name: &&OsString| linker.interpreter.provides(name);
        let libraries = walk.nodes.iter().map(|node| &node.found.elf);
        let all = libraries.flat_map(|elf| elf.needed()).chain(&asked);
        let of_linker = all.filter(is_linker).cloned().collect();
        Self {
            unopened,
            of_linker,
            aliases: walk.aliases().collect(),
            asked,
            has_filtees,
            nodes: walk.nodes,
            more_missing: policy.known.len() - policy.missing.len(),
            missing: policy.missing,
            optional: policy.optional,
            unmet_versions,
            unversioned_relr,
        }
    }

    /// What the file with index `by` asks for, in order; `None` is the file itself.
    pub fn needs(&self, by: Option<usize>) -> Vec<Need<'_>> {
        let elf = by.map(|index| &self.nodes[index].found.elf);
        let own = self.asked.iter().filter(|_| elf.is_none());
        let needed = elf.into_iter().flat_map(|elf| elf.needed());
        let with_filtees = elf.filter(|_| self.has_filtees);
        let filtees = with_filtees.into_iter().flat_map(|elf| elf.filtees());
        let names = own.chain(needed).chain(filtees.map(|filtee| &filtee.name));
        let need = |name| Need {
            name,
            answer: self.answerer(name, by),
        };
        names.map(|name| need(name)).collect()
    }

    fn answerer(&self, name: &OsStr, by: Option<usize>) -> Answerer {
        // Another file may find a library that this one does not.
        let mut missing = self.missing.iter();
        if missing.any(|missing| missing.name == name && missing.by == by) {
            return Answerer::Missing;
        }
        let mut nodes = self.nodes.iter();
        let mut sonames = self.nodes.iter();
        let by_name = nodes.position(|node| node.name == name);
        let known = by_name.or_else(|| self.aliases.get(name).copied());
        if let Some(index) = known {
            return Answerer::Library(index);
        }
        if self.of_linker.contains(name) {
            return Answerer::Linker;
        }
        if self.missing.iter().any(|missing| missing.name == name) {
            return Answerer::Missing;
        }
        if self.optional.iter().any(|optional| optional.name == name) {
            return Answerer::Optional;
        }
        let is_called = |node: &Node| node.found.elf.soname().is_some_and(|own| own == name);
        let by_soname = sonames.position(is_called);
        by_soname.map_or(Answerer::Loaded, Answerer::Library)
    }

    /// The file whose DT_RPATH or DT_RUNPATH finds the library with this index: its own index, or `None` for the file itself. The outer
    /// `None` is for libraries that another rule finds, or the search path of the program that opens the file.
    pub fn searched_by(&self, index: usize) -> Option<Option<usize>> {
        let node = &self.nodes[index];
        if !matches!(node.found.rule, Rule::Rpath | Rule::Runpath) {
            return None;
        }
        let chain = successors(node.by, |by| self.nodes[*by].by);
        chain.map(Some).chain([None]).nth(node.found.list)
    }

    /// The path of the file with index `by`; `own` for the file itself.
    pub fn path_of<'a>(&'a self, by: Option<usize>, own: &'a Path) -> &'a Path {
        by.map_or(own, |index| &self.nodes[index].found.path)
    }

    /// The file with index `by`; `own` for the file itself.
    pub fn dependent<'a>(&'a self, by: Option<usize>, own: Dependent<'a>) -> Dependent<'a> {
        by.map_or(own, |index| {
            let found = &self.nodes[index].found;
            Dependent {
                path: &found.path,
                elf: &found.elf,
            }
        })
    }
}

/// A program that opens a library with dlopen.
#[derive(Clone, Debug, Default)]
pub struct Opener {
    /// Names and DT_SONAMEs of the libraries that the program has loaded before. ld.so does not search for these again.
    pub names: HashSet<OsString>,
    /// The search path of the program. The library inherits its DT_RPATH.
    pub search: SearchPath,
}

/// Finds each name where ld.so finds it now.
struct AsThingsAre<'o> {
    opener: Option<&'o Opener>,
    missing: Vec<MissingLibrary>,
    /// For each missing name: its index in `missing`, and its near misses, each once.
    known: HashMap<OsString, (usize, HashSet<NearMiss>)>,
    optional: Vec<OptionalLibrary>,
}

impl Policy for AsThingsAre<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let linker = walk.linker;
        if self
            .opener
            .is_some_and(|opener| opener.names.contains(request.name))
        {
            return None;
        }
        // glibc searches for a preloaded library on behalf of the program (elf/rtld.c, do_preload). musl uses no file's search path
        // (ldso/dynlink.c, load_preload).
        let is_without_path =
            linker.interpreter.libc == Libc::Musl && matches!(request.cause, Cause::Preload(_));
        let found = match is_without_path {
            true => linker.find(request.name, request.dependent, &[&linker.search_list([])]),
            false => linker.find(request.name, request.dependent, &[request.search_list]),
        };
        let by = request.by;
        match found {
            Ok(found) => return Some(Answer { found, by }),
            Err(_) if request.may_be_missing => self.optional.push(OptionalLibrary {
                name: request.name.to_owned(),
                by,
                cause: request.cause.clone(),
            }),
            Err(near_misses) => self.add_missing(request.name, by, &near_misses),
        }
        None
    }

    fn search_list(&self, walk: &Walk<'_>, by: Option<usize>) -> Arc<SearchList> {
        match self.opener {
            None => walk.search_list(by),
            Some(opener) => walk.search_list_of_opened(by, &opener.search),
        }
    }

    fn follows(&self, _: &Found) -> bool {
        true
    }
}

impl AsThingsAre<'_> {
    /// Several files may need `name`, each with a search of its own and its own near misses.
    fn add_missing(&mut self, name: &OsStr, by: Option<usize>, near_misses: &[NearMiss]) {
        let (index, known) = match self.known.get_mut(name) {
            Some(known) => known,
            None => {
                let new = (self.missing.len(), HashSet::new());
                if self.missing.len() < MAX_MISSING {
                    self.missing.push(MissingLibrary {
                        name: name.to_owned(),
                        by,
                        near_misses: Vec::new(),
                    });
                }
                self.known.entry(name.to_owned()).or_insert(new)
            }
        };
        if let Some(missing) = self.missing.get_mut(*index) {
            let more = near_misses
                .iter()
                .filter(|one| known.insert((*one).clone()));
            missing.near_misses.extend(more.cloned());
        }
    }
}
