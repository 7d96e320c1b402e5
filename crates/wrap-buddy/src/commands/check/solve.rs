//! Finds the wrap-buddy command that resolves all dependencies of a file, with the planner of `wrap`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::command::{Command, no_effect};
use super::diagnosis::{Next, Trouble};
use super::outcome::in_the_way;
use super::wanted::Wanted;
use super::{Checker, FileCheck, State};
use crate::plan::search::{Edited, Resolution, Resolver, Settings};
use crate::system::shell::quoted;
use ldso::{Fit, Interpreter, Libc};
use ldso::{Probe, Tree, UnmetVersion, incompatibility};

/// Most directories to add to a command.
const MOST: usize = 24;

/// A dynamic linker for a file whose own is missing, or lacks the versions `unmet_versions`.
pub fn interpreter(
    checker: &Checker<'_>,
    wanted: &Wanted<'_>,
    unmet_versions: &[UnmetVersion],
) -> Option<Interpreter> {
    let elf = wanted.elf;
    let libc = match wanted.interpreter {
        Some(path) if !wanted.is_library => Some(Libc::of_program(elf, path)),
        _ => Libc::of_library(elf),
    };
    // A tree that can be moved has its own, which nothing else may know of.
    if unmet_versions.is_empty()
        && wanted.is_relocatable
        && let Some(own) = wanted.interpreter
        && let Ok(own) =
            Interpreter::open_in(&checker.root, &in_own_directory(checker, wanted, own))
        && libc == Some(own.libc)
    {
        return Some(own);
    }
    if unmet_versions.is_empty()
        && let Fit::Fits(interpreter) = checker.interpreters.fitting(elf, libc)
    {
        return Some(interpreter.clone());
    }
    if unmet_versions.is_empty()
        && wanted.is_library
        && let Some(interpreter) = checker.interpreter_of_programs(elf)
    {
        return Some(interpreter.clone());
    }
    let known = elf.target().arch()?.known_interpreters.iter();
    let own = wanted.interpreter.and_then(Path::file_name);
    let usual = known.filter_map(|path| Path::new(path).file_name());
    let names = own.into_iter().chain(usual);
    let mut candidates = names.flat_map(|name| {
        let name = name.to_string_lossy().into_owned();
        let directories = checker.library.with(&name, elf, wanted.inside);
        directories.into_iter().map(move |one| one.join(&name))
    });
    candidates.find_map(|path| {
        let found = Interpreter::open_in(&checker.root, &path).ok()?;
        let fits = libc.is_none_or(|libc| libc == found.libc);
        let directory = path.parent()?;
        let has_all = unmet_versions
            .iter()
            .all(|one| defines(checker, directory, one));
        (fits && has_all).then_some(found)
    })
}

/// Whether the library of that name in `directory` defines the versions.
fn defines(checker: &Checker<'_>, directory: &Path, unmet_versions: &UnmetVersion) -> bool {
    let name = unmet_versions.library.file_name().unwrap_or_default();
    let Probe::Library(library) = checker.probe_cache.probe(&directory.join(name)) else {
        return false;
    };
    let defined = library.dynamic.as_ref().map_or(&[][..], |own| &own.defines);
    let mut versions = unmet_versions.versions.iter();
    versions.all(|version| defined.iter().any(|own| own == version.as_str()))
}

pub fn without_interpreter(wanted: &Wanted<'_>) -> Next {
    let name = wanted.elf.target().to_string();
    Next::advice(format!(
        "no dynamic linker for {name} found; check again with --interpreter PATH, or with --find-in and a directory \
         that has one"
    ))
}

/// Commands that make links for libraries that are there under another file name: one for each name.
fn links(checker: &Checker<'_>, wanted: &Wanted<'_>, missing: &[&str]) -> Vec<Next> {
    let named = missing.iter().filter(|name| !name.contains('/'));
    let commands = named.filter_map(|name| {
        let path = checker
            .library
            .called_differently(name, wanted.elf.target())?;
        let link = checker.root.on_host(&path.with_file_name(name));
        let words = ["ln", "-s"].map(OsStr::new);
        let words = words
            .into_iter()
            .chain([path.file_name()?, link.as_os_str()]);
        let text = "makes the link that ld.so searches for; then check again";
        Some(Next::typed(quoted(words), text))
    });
    commands.collect()
}

/// A command in the making.
struct Call {
    libs: Vec<PathBuf>,
    interpreter: Interpreter,
    /// Whether `--interpreter` is needed because the default is another one.
    names_interpreter: bool,
}

/// What a command leaves unresolved.
struct Rest {
    missing: Vec<String>,
    resolution: Resolution,
}

/// Whether only the C library of the dynamic linker can have the version.
fn is_of_libc(unmet_versions: &UnmetVersion) -> bool {
    unmet_versions
        .versions
        .iter()
        .any(|version| version.starts_with("GLIBC_"))
}

/// Plans the command that resolves all dependencies of the file, or as many as possible.
pub fn next(
    checker: &Checker<'_>,
    wanted: &Wanted<'_>,
    tree: &Tree,
    file: &FileCheck,
) -> Vec<Next> {
    let libc: Vec<UnmetVersion> = tree
        .unmet_versions
        .iter()
        .filter(|one| is_of_libc(one))
        .cloned()
        .collect();
    let Some(interpreter) = interpreter(checker, wanted, &libc) else {
        let text = match libc.is_empty() {
            true => return vec![without_interpreter(wanted)],
            false => {
                "it needs a newer C library; check again with --find-in and a directory that has one"
            }
        };
        return vec![Next::advice(text)];
    };
    let names_interpreter = match checker.named_interpreters.is_empty() {
        true => !is_the_default(checker, wanted, &interpreter),
        false => true,
    };
    let mut call = Call {
        libs: checker.library.libs.clone(),
        interpreter,
        names_interpreter,
    };
    if wanted.state == State::Wrapped {
        call.libs.extend(earlier_directories(checker, wanted));
    }
    let rest = call.complete(checker, wanted);
    call.advice(checker, wanted, file, &rest)
}

fn is_the_default(checker: &Checker<'_>, wanted: &Wanted<'_>, interpreter: &Interpreter) -> bool {
    let fit = checker
        .interpreters
        .fitting(wanted.elf, Some(interpreter.libc));
    matches!(fit, Fit::Fits(default) if default.path == interpreter.path)
}

/// Directories of the search path that the file was wrapped with.
fn earlier_directories(checker: &Checker<'_>, wanted: &Wanted<'_>) -> Vec<PathBuf> {
    let dynamic = wanted.elf.dynamic.as_ref();
    let path = dynamic.and_then(|dynamic| dynamic.search_path());
    let entries = path.iter().flat_map(|path| std::env::split_paths(path));
    let absolute = entries.filter_map(|entry| match entry.strip_prefix("$ORIGIN") {
        Ok(relative) if wanted.is_relocatable => Some(in_own_directory(checker, wanted, relative)),
        _ => entry.is_absolute().then_some(entry),
    });
    let new = absolute.filter(|entry| !checker.library.libs.contains(entry));
    new.filter(|entry| checker.probe_cache.is_directory(entry))
        .collect()
}

/// The path `relative` to the directory of the file.
fn in_own_directory(checker: &Checker<'_>, wanted: &Wanted<'_>, relative: &Path) -> PathBuf {
    let directory = wanted.inside.parent().unwrap_or(Path::new("/"));
    checker.probe_cache.real(&directory.join(relative))
}

impl Call {
    fn planned(&self, checker: &Checker<'_>, wanted: &Wanted<'_>) -> Resolution {
        let resolver = Resolver::with_probe_cache(
            Arc::clone(&checker.probe_cache),
            Settings {
                libraries: self.libs.clone(),
                ..Settings::default()
            },
        );
        match wanted.is_library {
            true => resolver.library(wanted.inside, wanted.elf, &self.interpreter, false),
            false => {
                let edited = Edited::new();
                resolver.program(wanted.inside, wanted.elf, &self.interpreter, &edited, &[])
            }
        }
    }

    /// Adds directories until nothing is missing, or no further directory helps.
    fn complete(&mut self, checker: &Checker<'_>, wanted: &Wanted<'_>) -> Rest {
        loop {
            let resolution = self.planned(checker, wanted);
            let missing = resolution.missing.iter();
            let missing = missing.map(|one| one.soname.display().to_string());
            let rest = Rest {
                missing: missing.collect(),
                resolution,
            };
            if self.libs.len() >= checker.library.libs.len() + MOST {
                return rest;
            }
            if let Some(directory) = self.best(checker, wanted, &rest.missing) {
                self.libs.push(directory);
                continue;
            }
            // Before the directory with the library that lacks the version.
            match self.with_versions(checker, wanted, &rest.resolution.unmet_versions) {
                Some(directory) => self.libs.insert(0, directory),
                None => return rest,
            }
        }
    }

    /// The directory with most of the `missing` libraries. A directory with another C library comes last: C library and dynamic linker have
    /// to match.
    fn best(
        &self,
        checker: &Checker<'_>,
        wanted: &Wanted<'_>,
        missing: &[String],
    ) -> Option<PathBuf> {
        let elf = wanted.elf;
        let mut counts: Vec<(&Path, usize)> = Vec::new();
        let mut known: HashMap<&Path, usize> = HashMap::new();
        for name in missing {
            for directory in checker.library.with(name, elf, wanted.inside) {
                if !self.suits(checker, &directory.join(name)) {
                    continue;
                }
                let index = *known.entry(directory).or_insert(counts.len());
                match counts.get_mut(index) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((directory, 1)),
                }
            }
        }
        counts.retain(|(directory, _)| !self.libs.iter().any(|known| known == directory));
        let has_libc =
            |directory: &Path| checker.root.on_host(&directory.join("libc.so.6")).exists();
        // Of equal ones the first is wanted, and max_by_key returns the last.
        let best = counts.iter().rev().max_by_key(|(directory, count)| {
            let own = self.interpreter.path.parent() == Some(*directory);
            (own || !has_libc(directory), *count)
        });
        best.map(|(directory, _)| directory.to_path_buf())
    }

    fn suits(&self, checker: &Checker<'_>, path: &Path) -> bool {
        let Probe::Library(library) = checker.probe_cache.probe(path) else {
            return false;
        };
        incompatibility(&self.interpreter.elf, self.interpreter.libc, &library).is_none()
    }

    fn with_versions(
        &self,
        checker: &Checker<'_>,
        wanted: &Wanted<'_>,
        unmet_versions: &[UnmetVersion],
    ) -> Option<PathBuf> {
        let elf = wanted.elf;
        unmet_versions.iter().find_map(|unmet_versions| {
            let name = unmet_versions.library.file_name()?.to_string_lossy();
            let directories = checker.library.with(&name, elf, wanted.inside);
            let mut new = directories
                .into_iter()
                .filter(|directory| !self.libs.iter().any(|known| known == directory));
            let found = new.find(|directory| defines(checker, directory, unmet_versions))?;
            Some(found.to_owned())
        })
    }

    fn advice(
        &self,
        checker: &Checker<'_>,
        wanted: &Wanted<'_>,
        file: &FileCheck,
        rest: &Rest,
    ) -> Vec<Next> {
        let mut left: Vec<&str> = rest.missing.iter().map(String::as_str).collect();
        // With musl, the program's search path decides what dlopen finds: editing the library does not help.
        let is_unserved = wanted.is_library && self.interpreter.libc == Libc::Musl;
        let opened = file
            .problems
            .iter()
            .filter(|one| is_unserved && one.trouble == Trouble::Opened);
        left.extend(opened.filter_map(|problem| problem.soname.as_deref()));
        let elsewhere = "check again with --find-in and a directory that has it, or install it";
        match (left.as_slice(), rest.resolution.unmet_versions.as_slice()) {
            ([], []) => match in_the_way(checker, wanted, &self.interpreter, &rest.resolution) {
                Some(path) => vec![Next::advice(format!(
                    "wrapping does not help: the search paths in the files find {} first; replace or remove it",
                    path.display()
                ))],
                None => vec![self.proposed(checker, wanted, file)],
            },
            ([], [unmet_versions, ..]) => {
                vec![self.without_version(checker, wanted, unmet_versions)]
            }
            (left, _) => {
                let links = links(checker, wanted, left);
                if !links.is_empty() {
                    return links;
                }
                // The problem itself has the directory of these.
                let (there, nowhere): (Vec<&str>, Vec<&str>) = left.iter().partition(|name| {
                    let mut problems = file.problems.iter();
                    problems
                        .any(|one| one.soname.as_deref() == Some(**name) && !one.help.is_empty())
                });
                let all = file.problems.iter().filter_map(|one| one.soname.as_deref());
                let all: BTreeSet<&str> = all.collect();
                let solved: Vec<&str> = all.into_iter().filter(|one| !left.contains(one)).collect();
                let solved = match solved.as_slice() {
                    [] => String::new(),
                    solved => format!("wrapping would resolve {}; ", solved.join(", ")),
                };
                let rest = match (there.as_slice(), nowhere.as_slice()) {
                    (there, []) => format!(
                        "wrapping does not resolve {}, although {} there; pass --libs with the directory that should \
                         come first, or replace the file that is found instead",
                        there.join(", "),
                        if there.len() == 1 {
                            "it is"
                        } else {
                            "they are"
                        },
                    ),
                    (_, [one]) => format!("{one} is in no searched directory; {elsewhere}"),
                    (_, several) => format!(
                        "{} are in no searched directory; {elsewhere}",
                        several.join(", ")
                    ),
                };
                vec![Next::advice(format!("{solved}{rest}"))]
            }
        }
    }

    /// The command, if it would change the file.
    fn proposed(&self, checker: &Checker<'_>, wanted: &Wanted<'_>, file: &FileCheck) -> Next {
        let command = self.command(checker, wanted, file);
        match no_effect(&command.rehearsed(checker.stages)) {
            Some(_) if wanted.is_library => Next::advice(
                "wrapping it does not help: a library that it loads lacks a dependency. If a program has loaded that before, check it \
                 together with the program: wrap-buddy check PROGRAM LIBRARY",
            ),
            Some(reason) => Next::advice(format!("wrapping does not help: {reason}")),
            None => Next {
                call: Some(Box::new(command.clone())),
                ..Next::typed(command.written(), "resolves all dependencies")
            },
        }
    }

    /// Advice for a version that wrapping cannot provide.
    fn without_version(
        &self,
        checker: &Checker<'_>,
        wanted: &Wanted<'_>,
        unmet_versions: &UnmetVersion,
    ) -> Next {
        let name = unmet_versions.library.file_name().unwrap_or_default();
        let (name, versions) = (name.to_string_lossy(), unmet_versions.versions.join(", "));
        let elf = wanted.elf;
        let mut directories = checker.library.with(&name, elf, wanted.inside).into_iter();
        let text = match directories.find(|directory| defines(checker, directory, unmet_versions)) {
            Some(directory) => format!(
                "{} has {versions}, but the search paths in the files find {} first; replace that",
                directory.join(&*name).display(),
                unmet_versions.library.display()
            ),
            None => format!(
                "no searched directory has a {name} with {versions}; check again with --find-in and one that has"
            ),
        };
        Next::advice(text)
    }

    fn command(&self, checker: &Checker<'_>, wanted: &Wanted<'_>, file: &FileCheck) -> Command {
        let root = &checker.root;
        let linkers = vec![root.unmistakable(&self.interpreter.path)];
        let libs = self.libs.iter().map(|path| root.unmistakable(path));
        Command {
            root: root.clone(),
            paths: vec![file.path.clone()],
            libs: libs.collect(),
            interpreters: match self.names_interpreter {
                true => linkers.clone(),
                false => Vec::new(),
            },
            linkers,
            flag: wanted.flag,
        }
    }
}
