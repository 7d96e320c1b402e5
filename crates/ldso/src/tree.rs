//! What a dynamic linker would load, as things are.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use crate::found::{Asker, Found, NearMiss, SearchList, SearchPath};
use crate::interpreter::Libc;
use crate::linker::Linker;
use crate::versions::{UnmetVersion, UnversionedRelr};
use crate::walk::{Answer, Cause, Node, Policy, Request, Walk};

/// Names that are told of one by one at most: each file of a tree may lack all that is lacking in the tree.
const MAX_MISSING: usize = 1000;

/// A library that would not be found, and that ld.so does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalLibrary {
    /// The name it is asked for by.
    pub name: OsString,
    /// Which library asks for it; none: the file itself.
    pub by: Option<usize>,
    /// By what.
    pub cause: Cause,
}

/// A library that would not be found.
#[derive(Clone, Debug)]
pub struct MissingLibrary {
    /// The name it is asked for by.
    pub name: OsString,
    /// Which library asks for it; none: the file itself.
    pub by: Option<usize>,
    /// Files that come close.
    pub near_misses: Vec<NearMiss>,
}

/// All that a file would have loaded.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// In the order of loading.
    pub nodes: Vec<Node>,
    /// What is missing, in the order of asking; each name once.
    pub missing: Vec<MissingLibrary>,
    /// How many names are missing beyond these.
    pub more_missing: usize,
    /// What is missing and does not matter.
    pub optional: Vec<OptionalLibrary>,
    /// Symbol versions that would not be found.
    pub unmet_versions: Vec<UnmetVersion>,
    /// Files that are refused for what they lack.
    pub unversioned_relr: Vec<UnversionedRelr>,
}

impl Tree {
    /// What `linker` would load for `subject`, by itself or by an `opener`.
    pub fn of(linker: &Linker<'_>, subject: Asker<'_>, opener: Option<&Opener>) -> Self {
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
        Self {
            nodes: walk.nodes,
            more_missing: policy.known.len() - policy.missing.len(),
            missing: policy.missing,
            optional: policy.optional,
            unmet_versions,
            unversioned_relr,
        }
    }

    /// The path of the file that the node `by` is, `own` for the file itself.
    pub fn path_of<'a>(&'a self, by: Option<usize>, own: &'a Path) -> &'a Path {
        by.map_or(own, |index| &self.nodes[index].found.path)
    }

    /// The file that the node `by` is, `own` for the file itself.
    pub fn asker<'a>(&'a self, by: Option<usize>, own: Asker<'a>) -> Asker<'a> {
        by.map_or(own, |index| {
            let found = &self.nodes[index].found;
            Asker {
                path: &found.path,
                elf: &found.elf,
            }
        })
    }
}

/// A program that opens a library, as far as the library's needs go.
#[derive(Clone, Debug, Default)]
pub struct Opener {
    /// Names and DT_SONAMEs of what it has loaded by then: ld.so looks for none of them again.
    pub names: HashSet<OsString>,
    /// Its search path. What it opens inherits a DT_RPATH.
    pub search: SearchPath,
}

/// Each name leads where ld.so finds it.
struct AsThingsAre<'o> {
    opener: Option<&'o Opener>,
    missing: Vec<MissingLibrary>,
    /// Which of `lost` a name is, and the files that come close, each once.
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
        // glibc looks for what is preloaded as the program would (elf/rtld.c, do_preload), musl as nobody in particular
        // (ldso/dynlink.c, load_preload).
        let is_nobodys =
            linker.interpreter.libc == Libc::Musl && matches!(request.cause, Cause::Preload(_));
        let found = match is_nobodys {
            true => linker.find(request.name, request.asker, &[&linker.search_list([])]),
            false => linker.find(request.name, request.asker, &[request.search_list]),
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
            Some(opener) => {
                let chain = walk.chain(by).chain([&walk.own, &opener.search]);
                walk.linker.search_list(chain)
            }
        }
    }

    fn follows(&self, _: &Found) -> bool {
        true
    }
}

impl AsThingsAre<'_> {
    /// Each file that needs it looks for itself.
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
