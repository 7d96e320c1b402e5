//! Programs that are checked along with libraries: what a library that one of them opens finds then.
//!
//! A library that is opened by dlopen finds what its program has loaded by then (glibc elf/dl-load.c, _dl_map_object, looks
//! among the loaded first), and inherits the DT_RPATH of the program unless it has a DT_RUNPATH.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::FileCheck;
use crate::plan::openers;
use elf_file::{Elf, ElfTarget, Kind};
use ldso::Libc;
use ldso::Root;
use ldso::{Asker, Linker, Opener, Tree};

/// A program that may open libraries.
#[derive(Debug)]
struct Program {
    /// As the user named it.
    shown: PathBuf,
    /// Its path inside the root.
    inside: PathBuf,
    /// Its dynamic linker; none where that is missing.
    interpreter: Option<PathBuf>,
    /// `e_machine` and EI_CLASS.
    machine: ElfTarget,
    /// What a library that it opens finds.
    opener: Opener,
    /// Its own file and those of its libraries, inside the root.
    files: Vec<PathBuf>,
    /// Names that it does not find itself.
    missing: HashSet<OsString>,
}

/// The programs that were checked, and which file names their files mention.
pub struct Openers {
    root: Root,
    programs: Vec<Program>,
    /// File names of libraries that do not find everything by themselves, and of what they do not find where a file of that
    /// name was checked.
    names: BTreeMap<OsString, usize>,
    /// Who mentions these.
    mentions: openers::Openers,
}

/// How a library comes to what it does not find by itself.
pub struct Opening {
    /// The program that opens it, as the user named it.
    pub program: PathBuf,
    /// Whether that is known: it loads the library, or one of its files mentions it.
    pub is_known: bool,
    /// What it would have loaded.
    pub tree: Tree,
    /// Names that the program has loaded by then.
    pub loaded: Vec<OsString>,
    /// Names that are found by the program's search path.
    pub inherited: Vec<OsString>,
}

impl Openers {
    /// Those among `checked`, each with its path inside the root; `present` are file names that are there besides.
    pub fn new<'f>(
        root: &Root,
        checked: impl Iterator<Item = (PathBuf, &'f FileCheck)>,
        mut present: HashSet<OsString>,
    ) -> Self {
        let mut programs = Vec::new();
        let mut failing = BTreeSet::new();
        let mut missing = BTreeSet::new();
        for (inside, file) in checked {
            match file.kind {
                Kind::Program => programs.extend(Program::new(inside, file)),
                Kind::Library => {
                    let name = inside.file_name().unwrap_or_default().to_owned();
                    if !file.tree.missing.is_empty() {
                        failing.insert(name.clone());
                        missing
                            .extend(file.tree.missing.iter().map(|missing| missing.name.clone()));
                    }
                    present.insert(name);
                }
                _ => {}
            }
        }
        let missing = missing.into_iter().filter(|name| present.contains(name));
        failing.extend(missing);
        let names: BTreeMap<OsString, usize> = failing.into_iter().zip(0..).collect();
        Self {
            root: root.clone(),
            mentions: openers::Openers::new(names.keys().map(|name| (Path::new(name), None))),
            programs,
            names,
        }
    }

    /// How the library `elf` at `inside` is opened so that it finds most; `alone` is what it finds by itself. None where no
    /// program makes a difference.
    ///
    /// Programs that are known to open it decide: those that load it, and those of which a file mentions its name. Where none
    /// is known, any program may be the one.
    pub fn opening(
        &self,
        linker: &Linker<'_>,
        inside: &Path,
        elf: &Elf,
        alone: &Tree,
    ) -> Option<Opening> {
        let mut programs: Vec<&Program> = self
            .programs
            .iter()
            .filter(|program| program.machine == elf.target())
            .filter(|program| {
                let own = program.interpreter.as_ref();
                own.is_none_or(|path| Libc::of_interpreter(path) == linker.interpreter.libc)
            })
            .collect();
        programs.sort_by_key(|program| std::cmp::Reverse(common(&program.inside, inside)));
        let name = inside.file_name().unwrap_or_default();
        let opens = |program: &&&Program| {
            program.files[1..].iter().any(|file| file == inside) || self.mentions(program, name)
        };
        let known: Vec<&Program> = programs.iter().filter(opens).copied().collect();
        let is_known = !known.is_empty();
        let possible = if is_known { known } else { programs };
        let mut best: Option<Opening> = None;
        for program in possible {
            let mut tree = Tree::of(linker, Asker { path: inside, elf }, Some(&program.opener));
            let is_loaded = |name: &OsStr| {
                linker.interpreter.is_always_loaded(name)
                    || (self.mentions(program, name) && !program.missing.contains(name))
            };
            tree.missing.retain(|missing| !is_loaded(&missing.name));
            let least = best.as_ref().map_or(alone, |best| &best.tree);
            if tree.missing.len() >= least.missing.len() {
                continue;
            }
            let missing = alone.missing.iter().map(|missing| &missing.name);
            let still: HashSet<&OsString> =
                tree.missing.iter().map(|missing| &missing.name).collect();
            let found = missing.filter(|name| !still.contains(name));
            let (loaded, inherited) = found.cloned().partition(|name| {
                program.opener.names.contains(name) || self.mentions(program, name)
            });
            let is_all = tree.missing.is_empty() && tree.more_missing == 0;
            best = Some(Opening {
                program: program.shown.clone(),
                is_known,
                loaded,
                inherited,
                tree,
            });
            if is_all {
                break;
            }
        }
        best
    }

    /// Whether a file of the program mentions the file name `name`, as what opens a library by its path does.
    fn mentions(&self, program: &Program, name: &OsStr) -> bool {
        let Some(index) = self.names.get(name) else {
            return false;
        };
        let mut files = program.files.iter();
        files.any(|file| {
            let file = self.root.on_host(file);
            self.mentions.named_in(&file).contains(index)
        })
    }
}

/// How many components two paths have in common.
fn common(one: &Path, other: &Path) -> usize {
    let pairs = one.components().zip(other.components());
    pairs.take_while(|(one, other)| one == other).count()
}

impl Program {
    fn new(inside: PathBuf, file: &FileCheck) -> Option<Self> {
        let nodes = &file.tree.nodes;
        let mut names: HashSet<OsString> = HashSet::new();
        for node in nodes {
            names.insert(node.name.clone());
            names.extend(node.found.elf.soname().cloned());
        }
        let libraries = nodes.iter().map(|node| node.found.path.clone());
        Some(Self {
            shown: file.path.clone(),
            interpreter: file.interpreter.clone(),
            machine: file.target?,
            files: std::iter::once(inside.clone()).chain(libraries).collect(),
            missing: file
                .tree
                .missing
                .iter()
                .map(|missing| missing.name.clone())
                .collect(),
            opener: Opener {
                names,
                search: file.search.clone(),
            },
            inside,
        })
    }
}
