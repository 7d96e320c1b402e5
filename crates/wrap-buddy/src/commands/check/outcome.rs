//! Checks the result of a plan with ld.so's search rules.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Checker;
use super::wanted::Wanted;
use crate::plan::search::{Entry, Resolution};
use ldso::Interpreter;
use ldso::{Dependent, Linker, Tree, incompatibility};

/// A file that does not work but that the dynamic linker would still find first. Planning leaves out such files among the directories that
/// it can choose, but the search paths in the files themselves come first.
pub fn in_the_way(
    checker: &Checker<'_>,
    wanted: &Wanted<'_>,
    interpreter: &Interpreter,
    resolution: &Resolution,
) -> Option<PathBuf> {
    let mut elf = wanted.elf.clone();
    if let Some(dynamic) = &mut elf.dynamic {
        if resolution.search_changes {
            dynamic.rpath = None;
            dynamic.runpath = Some(joined(&resolution.search));
        }
        let added = resolution.added.iter();
        let added: Vec<OsString> = added.map(|one| one.soname.clone()).collect();
        dynamic.needed.splice(0..0, added);
    }
    let linker = Linker::new(interpreter, &checker.probe_cache, &checker.surroundings)?;
    let tree = Tree::of(
        &linker,
        Dependent {
            path: wanted.inside,
            elf: &elf,
        },
        None,
    );
    let unfit = tree.nodes.iter().find(|node| {
        let library = &node.found.elf;
        incompatibility(&interpreter.elf, interpreter.libc, library).is_some()
    });
    let stops = tree.missing.iter().flat_map(|missing| &missing.near_misses);
    let taken = unfit.map(|node| node.found.path.clone());
    taken.or_else(|| stops.map(|near_misses| near_misses.path.clone()).next())
}

fn joined(search: &[Entry]) -> OsString {
    let texts = search.iter().map(|entry| match entry {
        Entry::Kept(text) => text.clone(),
        Entry::Directory(path) | Entry::Within(path) => path.clone().into_os_string(),
    });
    let texts: Vec<OsString> = texts.collect();
    texts.join(std::ffi::OsStr::new(":"))
}
