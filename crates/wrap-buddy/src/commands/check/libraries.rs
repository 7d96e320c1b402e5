//! Checks the dynamic linker, the loader and the libraries of a file.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::{Path, PathBuf};

use super::diagnosis::{Diagnosis, Next, Note, Problem, Trouble};
use super::noexec::noexec;
use super::solve;
use super::subject::Subject;
use super::wanted::Wanted;
use super::{Checker, FileCheck, State, kernel};
use crate::commands::status::{loader_problem, own_loader_problem};
use crate::plan::alignment;
use crate::system::privilege::Privilege;
use crate::system::shell::quoted;
use elf_file::{Kind, Opened, Priority};
use ldso::{
    Cause, Dependent, Incompatible, Linker, MissingLibrary, OptionalLibrary, Tree, incompatibility,
};
use ldso::{Fit, Interpreter, Libc};

pub(super) struct LibraryCheck<'l, 'd> {
    pub checker: &'l Checker<'d>,
    pub subject: &'l Subject,
    /// The path of the file inside the root.
    pub inside: &'l Path,
    /// Receives the findings.
    pub file: &'l mut FileCheck,
}

impl LibraryCheck<'_, '_> {
    /// Checks the dynamic linker, the loader and the libraries of the file, which has the permission bits `mode`.
    pub fn at_libraries(&mut self, mode: u32) {
        let is_unusable = |problem: &Problem| problem.trouble == Trouble::Sidecar;
        if self.file.problems.iter().any(is_unusable) {
            return;
        }
        let given = self.given_interpreter();
        self.at_loader();
        let wanted = Wanted {
            elf: &self.subject.elf,
            inside: self.inside,
            is_library: self.file.kind == Kind::Library,
            state: self.subject.state,
            interpreter: self.subject.interpreter.as_deref(),
            flag: self.subject.flag,
            is_relocatable: self.subject.is_relocatable,
        };
        self.file.interpreter = given.as_ref().map(|given| given.path.clone());
        let checker = self.checker;
        let known = given.or_else(|| solve::interpreter(checker, &wanted, &[]));
        let chosen = match known {
            Some(interpreter) => interpreter,
            None => match self.presumed_interpreter(&wanted) {
                Some(interpreter) => interpreter,
                None => {
                    // Without DT_NEEDED, any dynamic linker will do.
                    if !self.subject.elf.needed().is_empty() {
                        self.file.next.push(solve::without_interpreter(&wanted));
                    }
                    return;
                }
            },
        };
        let Some(linker) = Linker::new(&chosen, &checker.probe_cache, &checker.surroundings) else {
            return;
        };
        let elf = &self.subject.elf;
        self.file.target = Some(elf.target());
        self.file.search = linker.search_path(self.inside, elf);
        let mut tree = Tree::of(
            &linker,
            Dependent {
                path: self.inside,
                elf,
            },
            None,
        );
        if self.file.kind == Kind::Library {
            // A program that opens the library has already loaded these.
            tree.missing
                .retain(|missing| !chosen.is_always_loaded(&missing.name));
            tree = self.opened(tree, &linker);
        }
        self.at_tree(&tree, &linker);
        self.at_optional(&mem::take(&mut tree.optional), &tree);
        self.at_mounts(&tree);
        self.at_reach(&tree, mode);
        self.at_opened(&mem::take(&mut tree.unopened));
        self.at_cache();
        if !self.file.is_well() && self.can_be_wrapped() {
            let next = solve::next(checker, &wanted, &tree, self.file);
            self.file.next.extend(next);
        }
        self.at_guard(&tree);
        self.at_alignment();
        self.file.tree = tree;
    }

    /// The tree of a library that does not find all of its dependencies (`alone`), as opened by a program.
    fn opened(&mut self, alone: Tree, linker: &Linker<'_>) -> Tree {
        let openers = self
            .checker
            .openers
            .get()
            .filter(|_| !alone.missing.is_empty());
        let opening = openers
            .and_then(|openers| openers.opening(linker, self.inside, &self.subject.elf, &alone));
        let Some(opening) = opening else {
            return alone;
        };
        let mut reasons = Vec::new();
        if !opening.loaded.is_empty() {
            let names = joined(opening.loaded.iter());
            reasons.push(format!("has already loaded {names}"));
        }
        if !opening.inherited.is_empty() {
            let names = joined(opening.inherited.iter());
            reasons.push(format!("its search path finds {names}"));
        }
        let (program, reasons) = (opening.program.display(), reasons.join(" and "));
        let text = match opening.is_known {
            true => format!("it does not load on its own, but {program} opens it and {reasons}"),
            false => {
                format!(
                    "it does not load on its own; if {program} opens it, that program {reasons}"
                )
            }
        };
        let general =
            "it does not load on its own, but finds its libraries when a program opens it";
        self.file.notes.push(Note {
            general: Some(general.to_owned()),
            ..Note::new(Diagnosis::LoadedByProgram, text)
        });
        opening.tree
    }

    /// Proposes to update ld.so.cache if it lacks a library.
    fn at_cache(&mut self) {
        let mut problems = self.file.problems.iter();
        if !problems.any(|problem| problem.diagnosis == Diagnosis::LibraryUncached) {
            return;
        }
        let root = self.checker.root.on_host(Path::new("/"));
        let words = match self.checker.root.is_own() {
            true => vec![OsStr::new("ldconfig")],
            false => vec!["ldconfig".as_ref(), "-r".as_ref(), root.as_os_str()],
        };
        let text = "updates ld.so.cache; run it as root";
        self.file.next.push(Next::typed(quoted(words), text));
    }

    /// Whether the file has problems that wrapping can solve.
    fn can_be_wrapped(&self) -> bool {
        let problems = self.file.problems.iter();
        let mut others = problems.filter(|one| {
            let by_others = [Diagnosis::LibraryUncached, Diagnosis::RelrWithoutVersion];
            !by_others.contains(&one.diagnosis)
        });
        others.any(|problem| {
            matches!(
                problem.trouble,
                Trouble::Interpreter
                    | Trouble::Library
                    | Trouble::Unfit
                    | Trouble::Version
                    | Trouble::Opened
                    | Trouble::Loader
            )
        })
    }

    /// The dynamic linker of the file, if it exists and matches.
    fn given_interpreter(&mut self) -> Option<Interpreter> {
        let root = &self.checker.root;
        let elf = &self.subject.elf;
        if self.file.kind == Kind::Library {
            return match self
                .checker
                .interpreters
                .fitting(elf, Libc::of_library(elf))
            {
                Fit::Fits(interpreter) => Some(interpreter.clone()),
                _ => self.checker.interpreter_of_programs(elf).cloned(),
            };
        }
        let asked_for = self.subject.interpreter.as_deref()?;
        let directory = self.inside.parent().unwrap_or(Path::new("/"));
        let path = directory.join(asked_for);
        if !path.is_absolute() || !root.on_host(&path).exists() {
            let text = format!("its dynamic linker {} does not exist", path.display());
            self.problem(Diagnosis::LinkerGone, text);
            return None;
        }
        match Interpreter::open_in(root, &path) {
            Ok(found) if found.elf.target() != elf.target() => {
                let name = found.elf.target().to_string();
                let text = format!("its dynamic linker {} is for {name}", path.display());
                self.problem(Diagnosis::LinkerOfOtherMachine, text);
                None
            }
            Ok(found) => {
                let linked_to = Libc::of_program(elf, &path);
                if found.libc == linked_to {
                    return Some(found);
                }
                let text = format!(
                    "its dynamic linker {} belongs to {}, but the file is linked to {}",
                    path.display(),
                    found.libc.name(),
                    linked_to.name()
                );
                self.problem(Diagnosis::LinkerOfOtherLibc, text);
                None
            }
            Err(error) => {
                self.problem(
                    Diagnosis::LinkerUnusable,
                    format!("its dynamic linker {error:#}"),
                );
                None
            }
        }
    }

    /// A dynamic linker with the usual rules of the file's libc, if none is available.
    fn presumed_interpreter(&mut self, wanted: &Wanted<'_>) -> Option<Interpreter> {
        let elf = wanted.elf;
        let libc = match wanted.interpreter {
            Some(path) => Some(Libc::of_program(elf, path)),
            None => Libc::of_library(elf),
        };
        let libc = libc?;
        let root = &self.checker.root;
        let presumed = Interpreter::presumed(root, wanted.interpreter, libc, elf)?;
        let text = format!(
            "its dynamic linker is not available; its libraries are searched for by the usual rules of {}",
            libc.name()
        );
        self.file.note(Diagnosis::UsualRules, text);
        Some(presumed)
    }

    /// The file itself as the one that needs a library.
    fn itself(&self) -> Dependent<'_> {
        Dependent {
            path: self.inside,
            elf: &self.subject.elf,
        }
    }

    fn problem(&mut self, diagnosis: Diagnosis, text: String) {
        self.file.problems.push(Problem::new(diagnosis, text));
    }

    fn at_loader(&mut self) {
        let subject = self.subject;
        let own = subject.own_sidecar.as_ref();
        let own = own.map(|(path, id)| (path, Some(*id)));
        let shared = subject.loader.as_ref().map(|path| (path, None));
        let Some((path, id)) = own.or(shared) else {
            return;
        };
        let directory = self.inside.parent().unwrap_or(Path::new("/"));
        let path = directory.join(path);
        let on_host = self.checker.root.on_host(&path);
        let why = match id {
            Some(id) => own_loader_problem(&self.checker.root, &path, id, self.inside),
            None => loader_problem(&self.checker.root, &path, subject.elf.machine, subject.abi),
        };
        if let Some(why) = why {
            let diagnosis = match on_host.exists() {
                true => Diagnosis::LoaderUnfit,
                false => Diagnosis::LoaderGone,
            };
            self.problem(diagnosis, why);
        }
    }

    /// Reports files that users without the program's rights can change. With `--root`, owners may be different later, so it is skipped.
    fn at_guard(&mut self, tree: &Tree) {
        let privilege = self
            .subject
            .privilege
            .filter(|_| self.checker.root.is_own());
        let Some(privilege) = privilege else {
            return;
        };
        let own = self.subject.sidecar.iter().chain(&self.subject.loader);
        let files = own.chain(&self.file.interpreter);
        let files = files.chain(tree.nodes.iter().map(|node| &node.found.path));
        let trusted = files.chain(&self.file.search.directories);
        let mut parts = Vec::new();
        for path in trusted.filter(|path| path.is_absolute()) {
            let Some(part) = privilege
                .weak_part(&self.checker.root, path)
                .filter(|part| !parts.contains(part))
            else {
                continue;
            };
            let text = Privilege::complaint(path, &part);
            let help = "let only root (or the owner of a set-user-ID program) write there, or wrap it with other directories";
            let problem = Problem::new(Diagnosis::Unguarded, text).help(help);
            self.file.problems.push(problem);
            parts.push(part);
        }
    }

    /// Reports files that users who can execute the program cannot read.
    fn at_reach(&mut self, tree: &Tree, mode: u32) {
        if self.file.kind != Kind::Program {
            return;
        }
        let directory = self.inside.parent().unwrap_or(Path::new("/"));
        let loader = self.subject.loader.as_ref();
        let loader = loader.map(|loader| directory.join(loader));
        let sidecar = self.subject.sidecar.as_deref();
        let libraries = tree.nodes.iter().map(|node| &node.found.path);
        let files = loader.iter().chain(&self.file.interpreter).chain(libraries);
        let files = sidecar.into_iter().chain(files.map(PathBuf::as_path));
        for one in self.checker.reach.out_of_reach(mode, directory, files) {
            self.file.next.push(Next::typed(
                one.barrier.remedy(),
                "lets other users open it; or move it to where they can",
            ));
            self.problem(Diagnosis::OutOfReach, one.to_string());
        }
    }

    /// Reports noexec mounts: neither the dynamic linker nor a library can be mapped from there.
    fn at_mounts(&mut self, tree: &Tree) {
        let interpreter = self.file.interpreter.clone();
        let libraries = tree.nodes.iter().map(|node| &node.found.path);
        let mut seen = HashSet::new();
        for path in interpreter.iter().chain(libraries) {
            let on_host = self.checker.root.on_host(path);
            let directory = on_host.parent().map(Path::to_owned);
            if seen.insert(directory) && kernel::is_noexec(&on_host) {
                noexec(&on_host, path, self.file);
                return;
            }
        }
    }

    fn at_tree(&mut self, tree: &Tree, linker: &Linker<'_>) {
        let interpreter = linker.interpreter;
        for missing in &tree.missing {
            // If the library itself is for another libc, that is the problem, not its dependencies.
            let of_other = missing
                .by
                .is_some_and(|by| unfit(tree, by, interpreter).is_some());
            if !of_other {
                let problem = self.missing(missing, tree, linker);
                self.file.problems.push(problem);
            }
        }
        if tree.more_missing > 0 {
            let text = format!("{} more libraries are not found", tree.more_missing);
            self.problem(Diagnosis::LibraryMissing, text);
        }
        for (index, node) in tree.nodes.iter().enumerate() {
            if let Some(why) = unfit(tree, index, interpreter) {
                let by = tree.path_of(node.by, self.inside);
                let (diagnosis, instead) = match why {
                    Incompatible::Libc(_) => (
                        Diagnosis::LibraryOfOtherLibc,
                        format!("not to {}", interpreter.libc.name()),
                    ),
                    _ => (
                        Diagnosis::LibraryOfOtherMachine,
                        format!("not for {}", linker.arch.name),
                    ),
                };
                let text = format!(
                    "{}, which {} finds by {}, {why}, {instead}",
                    node.found.path.display(),
                    by.display(),
                    node.found.rule,
                );
                let path = node.found.path.display();
                let general = format!("{path} {why}, {instead}");
                let problem = Problem::new(diagnosis, text).general(general);
                let soname = node.name.display().to_string();
                self.file.problems.push(problem.of(soname));
            }
        }
        for refused in &tree.unversioned_relr {
            let problem = Problem::new(Diagnosis::RelrWithoutVersion, refused.to_string());
            self.file.problems.push(problem);
        }
        for unmet_versions in &tree.unmet_versions {
            let newest = unmet_versions.newest.as_ref();
            let newest = newest.map(|newest| format!(" has up to {newest}"));
            let versions = unmet_versions.versions.join(", ");
            let has = format!(
                "{}{}",
                unmet_versions.library.display(),
                newest.unwrap_or_else(|| " has none like it".to_owned())
            );
            let text = format!(
                "{versions} wanted by {}, {has}",
                unmet_versions.wanted_by.display(),
            );
            let general = format!("{versions} wanted, {has}");
            let problem = Problem::new(Diagnosis::VersionMissing, text).general(general);
            let name = unmet_versions.library.file_name().unwrap_or_default();
            let soname = name.display().to_string();
            self.file.problems.push(problem.of(soname));
        }
    }

    /// Notes the libraries that ld.so continues without.
    fn at_optional(&mut self, optional: &[OptionalLibrary], tree: &Tree) {
        // The libraries of one file are consecutive.
        let same_file = |one: &OptionalLibrary, other: &OptionalLibrary| {
            (one.by, &one.cause) == (other.by, &other.cause) && one.cause == Cause::Filtee
        };
        for all in optional.chunk_by(same_file) {
            let one = &all[0];
            let name = match all.len() {
                1 => one.name.display().to_string(),
                count => format!("{} and {} more", one.name.display(), count - 1),
            };
            let by = tree.path_of(one.by, self.inside).display();
            let (diagnosis, text) = match &one.cause {
                Cause::Preload(from) => (
                    Diagnosis::PreloadMissing,
                    format!(
                        "{name}, which {} preloads into every program, is not found; ld.so reports that at each start and continues",
                        from.display()
                    ),
                ),
                Cause::Filtee | Cause::Needed => (
                    Diagnosis::AuxiliaryMissing,
                    match all.len() {
                        1 => format!(
                            "{name}, an auxiliary filtee of {by}, is not found; ld.so continues without it"
                        ),
                        _ => format!(
                            "{name}, auxiliary filtees of {by}, are not found; ld.so continues without them"
                        ),
                    },
                ),
            };
            self.file.notes.push(Note {
                is_detail: diagnosis == Diagnosis::AuxiliaryMissing,
                ..Note::new(diagnosis, text)
            });
        }
    }

    fn missing(&self, missing: &MissingLibrary, tree: &Tree, linker: &Linker<'_>) -> Problem {
        let dependent = tree.dependent(missing.by, self.itself());
        let name = missing.name.display().to_string();
        let for_whom = match missing.by {
            None => String::new(),
            Some(_) => format!(", which {} needs", dependent.path.display()),
        };
        if let Some(directory) = linker.forbidden(&missing.name, dependent) {
            let text = format!(
                "{name}{for_whom} is not found: it is in the default directory {}, but {} excludes default directories (DF_1_NODEFLIB)",
                directory.display(),
                dependent.path.display()
            );
            return Problem::new(Diagnosis::LibraryMissing, text).of(name);
        }
        if let Some(uncached) = linker.uncached(&missing.name, dependent) {
            let reason = format!(
                " is not found: it is in {}, which {} lists, but not in {}",
                uncached.directory.display(),
                uncached.conf.display(),
                uncached.cache.display()
            );
            let text = format!("{name}{for_whom}{reason}");
            let problem = Problem::new(Diagnosis::LibraryUncached, text);
            return problem.general(format!("{name}{reason}")).of(name);
        }
        let (diagnosis, reason) = match missing.near_misses.as_slice() {
            [] => (Diagnosis::LibraryMissing, " is not found".to_owned()),
            nears => {
                let nears: Vec<String> = nears.iter().map(ToString::to_string).collect();
                let reason = format!(" is not found, but {}", nears.join(", "));
                (Diagnosis::LibraryPassedOver, reason)
            }
        };
        let problem = Problem::new(diagnosis, format!("{name}{for_whom}{reason}"));
        let mut problem = problem.general(format!("{name}{reason}"));
        problem.help = self.help(&name);
        problem.of(name)
    }

    /// Directories and packages that have the library.
    fn help(&self, name: &str) -> Vec<String> {
        let elf = &self.subject.elf;
        let directories = self.checker.library.with(name, elf, self.inside);
        let first = directories.first();
        let there = first.map(|directory| format!("it is in {}", directory.display()));
        if let Some(there) = there {
            return vec![there];
        }
        let library = &self.checker.library;
        if let Some(path) = library.called_differently(name, elf.target()) {
            let path = path.display();
            return vec![format!(
                "{path} has this DT_SONAME; make a symbolic link {name} to it"
            )];
        }
        let packages = self.checker.packages.with(name).into_iter();
        packages
            .map(|one| format!("the nixpkgs package {one} has it"))
            .collect()
    }

    /// Reports missing libraries that the file declares to open with dlopen (`.note.dlopen`).
    fn at_opened(&mut self, unopened: &[Opened]) {
        for opened in unopened {
            let Some(first) = opened.soname.first() else {
                continue;
            };
            let what = opened.purpose();
            let text = format!("{first}, which it opens with dlopen{what}, is not found");
            match opened.priority {
                Priority::Required => {
                    let mut problem = Problem::new(Diagnosis::OpenedRequired, text);
                    problem.help = self.help(first);
                    self.file.problems.push(problem.of(first));
                }
                Priority::Recommended => {
                    let text = format!("{text} (recommended)");
                    self.file.note(Diagnosis::OpenedRecommended, text);
                }
                Priority::Suggested => {
                    let text = format!("{text} (suggested)");
                    self.file.note(Diagnosis::OpenedSuggested, text);
                }
            }
        }
    }

    fn at_alignment(&mut self) {
        let by_command = || self.file.next.iter().any(|next| next.command.is_some());
        let is_stub = match self.file.state {
            State::Wrapped => true,
            State::Original => self.file.kind == Kind::Program && by_command(),
            State::InPlace => false,
        };
        let elf = &self.subject.elf;
        let arch = elf.target().arch().filter(|_| is_stub);
        if let Some(text) = arch.and_then(|arch| alignment::warning(elf, arch)) {
            self.file.notes.push(Note {
                is_detail: self.checker.root.is_own() && alignment::is_honoured_here(),
                ..Note::new(Diagnosis::SegmentAlignment, text)
            });
        }
    }
}

fn joined<'n>(names: impl Iterator<Item = &'n OsString>) -> String {
    let names: Vec<String> = names.map(|name| name.display().to_string()).collect();
    names.join(", ")
}

/// Why a library that ld.so loads does not work.
fn unfit(tree: &Tree, index: usize, interpreter: &Interpreter) -> Option<Incompatible> {
    incompatibility(
        &interpreter.elf,
        interpreter.libc,
        &tree.nodes[index].found.elf,
    )
}
