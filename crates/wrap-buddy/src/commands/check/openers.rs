//! Programs that are checked along with libraries, and may open them with dlopen.
//!
//! A library opened with dlopen finds the libraries that its program has loaded (glibc elf/dl-load.c, _dl_map_object, searches the loaded
//! ones first), and inherits the DT_RPATH of the program unless it has a DT_RUNPATH.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::FileCheck;
use crate::plan::openers;
use elf_file::{Elf, ElfTarget, Kind};
use ldso::Libc;
use ldso::Root;
use ldso::{Dependent, Linker, Opener, Tree};

/// A program that may open libraries.
#[derive(Debug)]
struct Program {
    /// Whether it is checked, and not only near a library.
    is_checked: bool,
    /// As the user named it.
    shown: PathBuf,
    /// Its path inside the root.
    inside: PathBuf,
    /// Its dynamic linker; `None` if it is missing.
    interpreter: Option<PathBuf>,
    machine: ElfTarget,
    /// What it adds to the search for a library that it opens.
    opener: Opener,
    /// The program and its libraries, as paths inside the root.
    files: Vec<PathBuf>,
    /// Names of libraries that the program does not find.
    missing: HashSet<OsString>,
}

/// The programs checked, and the file names that occur in their files.
pub struct Openers {
    root: Root,
    programs: Vec<Program>,
    /// File names to search for: libraries with problems, and dependencies that they do not find if a file of that name was checked.
    names: BTreeMap<OsString, usize>,
    /// The files in which these names occur.
    mentions: openers::Openers,
}

/// How a library finds its dependencies when a program opens it.
pub struct Opening {
    /// The program, as the user named it.
    pub program: PathBuf,
    /// Whether it is known to open the library: it loads it, or the name occurs in one of its files.
    pub is_known: bool,
    /// The libraries that are then loaded.
    pub tree: Tree,
    /// Dependencies that the program has loaded already.
    pub loaded: Vec<OsString>,
    /// Dependencies found by the program's search path.
    pub inherited: Vec<OsString>,
}

impl Openers {
    /// Collects the programs among the files that are `checked` or `near`, which come with their path inside the root. `present`: other
    /// file names that exist.
    pub fn new<'f>(
        root: &Root,
        checked: impl Iterator<Item = (PathBuf, &'f FileCheck)>,
        near: impl Iterator<Item = (PathBuf, &'f FileCheck)>,
        mut present: HashSet<OsString>,
    ) -> Self {
        let mut programs = Vec::new();
        let mut failing = BTreeSet::new();
        let mut missing = BTreeSet::new();
        let checked = checked.map(|(inside, file)| (inside, file, true));
        let near = near.map(|(inside, file)| (inside, file, false));
        for (inside, file, is_checked) in checked.chain(near) {
            match file.kind {
                Kind::Program => programs.extend(Program::new(inside, file, is_checked)),
                Kind::Library => {
                    let name = inside.file_name().unwrap_or_default().to_owned();
                    if !file.tree.missing.is_empty() || !file.is_well() {
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

    /// The program with which the library `elf` at `inside` finds most; `alone` is its tree without a program. `None` if no program makes a
    /// difference.
    ///
    /// Programs that are known to open the library take precedence: those that load it, and those in whose files its name occurs. If there
    /// are none, any program may be the one.
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
            let mut tree = Tree::of(
                linker,
                Dependent { path: inside, elf },
                Some(&program.opener),
            );
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

    /// Whether a checked program has the name of the library `file`, which is at `path`, among the strings of its files. It may open it.
    pub fn is_named(&self, file: &FileCheck, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        let mut programs = self.programs.iter();
        programs.any(|program| {
            program.is_checked
                && file.target.is_none_or(|target| target == program.machine)
                && self.mentions(program, name)
        })
    }

    /// Whether `name` occurs in a file of the program. Programs that open a library by path contain its name.
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

/// Number of leading components that two paths have in common.
fn common(one: &Path, other: &Path) -> usize {
    let pairs = one.components().zip(other.components());
    pairs.take_while(|(one, other)| one == other).count()
}

impl Program {
    fn new(inside: PathBuf, file: &FileCheck, is_checked: bool) -> Option<Self> {
        let nodes = &file.tree.nodes;
        let mut names: HashSet<OsString> = HashSet::new();
        for node in nodes {
            names.insert(node.name.clone());
            names.extend(node.found.elf.soname().cloned());
        }
        let libraries = nodes.iter().map(|node| node.found.path.clone());
        Some(Self {
            is_checked,
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
