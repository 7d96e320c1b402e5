//! What a dynamic linker would load, as things are.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::found::{Found, Near, SearchPath};
use super::linker::Linker;
use super::versions::{Unmet, UnversionedRelr};
use super::walk::{Answer, Asker, Cause, Node, Policy, Request, Walk};
use crate::interpreter::Libc;

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
    /// Files that are refused for what they lack.
    pub unversioned_relr: Vec<UnversionedRelr>,
}

impl Tree {
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

    /// What the node at `index` has loaded, or needs and did not have to.
    pub fn children(&self, index: Option<usize>) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| node.by == index)
            .map(|(child, _)| child)
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

/// What `linker` would load for `subject`, by itself or by an `opener`.
pub(super) fn tree(linker: &Linker<'_>, subject: Asker<'_>, opener: Option<&Opener>) -> Tree {
    let own = linker.search_path(subject.path, subject.elf);
    let preloads = linker.preloads().into_iter();
    let preloads: Vec<(OsString, Cause)> = preloads
        .map(|(name, from)| (name, Cause::Preload(from)))
        .collect();
    let mut policy = AsThingsAre {
        opener,
        lost: Vec::new(),
        dispensable: Vec::new(),
    };
    let walk = Walk::new(linker, subject, own, &preloads, &mut policy);
    let unmet = walk.unmet(|_| true);
    let unversioned_relr = walk.unversioned_relr(|_| true);
    Tree {
        nodes: walk.nodes,
        lost: policy.lost,
        dispensable: policy.dispensable,
        unmet,
        unversioned_relr,
    }
}

/// Each name leads where ld.so finds it.
struct AsThingsAre<'o> {
    opener: Option<&'o Opener>,
    lost: Vec<Lost>,
    dispensable: Vec<Dispensable>,
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
        let opened = self.opener.map(|opener| {
            let chain = walk.chain(request.by).chain([&walk.own, &opener.search]);
            linker.told(chain)
        });
        let told = opened.as_deref().unwrap_or(request.told);
        // glibc looks for what is preloaded as the program would (elf/rtld.c, do_preload), musl as nobody in particular
        // (ldso/dynlink.c, load_preload).
        let is_nobodys =
            linker.interpreter.libc == Libc::Musl && matches!(request.cause, Cause::Preload(_));
        let found = match is_nobodys {
            true => linker.find(request.name, request.asker, &linker.told([])),
            false => linker.find(request.name, request.asker, told),
        };
        let by = request.by;
        match found {
            Ok(found) => return Some(Answer { found, by }),
            Err(_) if request.may_be_missing => self.dispensable.push(Dispensable {
                name: request.name.to_owned(),
                by,
                cause: request.cause.clone(),
            }),
            Err(near) => self.lose(request.name, by, near),
        }
        None
    }

    fn follows(&self, _: &Found) -> bool {
        true
    }
}

impl AsThingsAre<'_> {
    /// Each file that needs it looks for itself.
    fn lose(&mut self, name: &OsStr, by: Option<usize>, near: Vec<Near>) {
        match self.lost.iter_mut().find(|lost| lost.name == name) {
            Some(known) => {
                let more = near.into_iter().filter(|one| !known.near.contains(one));
                let more: Vec<Near> = more.collect();
                known.near.extend(more);
            }
            None => self.lost.push(Lost {
                name: name.to_owned(),
                by,
                near,
            }),
        }
    }
}
