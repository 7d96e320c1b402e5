//! What to do about it: the call of wrap-buddy that makes a file find what it needs, planned as wrapping would.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::command::{Command, in_vain};
use super::diagnosis::{Next, Trouble};
use super::outcome::in_the_way;
use super::wanted::Wanted;
use super::{Desk, FileCheck, State};
use crate::plan::search::{Edited, Resolution, Resolver, Settings};
use ldso::{Fit, Interpreter, Libc};
use ldso::{Probe, Tree, Unmet, misfit};

/// Directories added to a call at most.
const MOST: usize = 24;

/// A dynamic linker for a file whose own is not there, or lacks the `unmet` versions.
pub fn interpreter(desk: &Desk<'_>, wanted: &Wanted<'_>, unmet: &[Unmet]) -> Option<Interpreter> {
    let elf = wanted.elf;
    let libc = match wanted.interpreter {
        Some(path) if !wanted.is_library => Some(Libc::of_program(elf, path)),
        _ => Libc::of_library(elf),
    };
    // Nobody else may know of the one in a tree that can be moved.
    if unmet.is_empty()
        && wanted.is_relocatable
        && let Some(own) = wanted.interpreter
        && let Ok(own) = Interpreter::open_in(&desk.root, &beside(desk, wanted, own))
        && libc == Some(own.libc)
    {
        return Some(own);
    }
    if unmet.is_empty()
        && let Fit::Fits(interpreter) = desk.interpreters.fitting(elf, libc)
    {
        return Some(interpreter.clone());
    }
    if unmet.is_empty()
        && wanted.is_library
        && let Some(interpreter) = desk.met(elf)
    {
        return Some(interpreter.clone());
    }
    let known = elf.target().arch()?.known_interpreters.iter();
    let own = wanted.interpreter.and_then(Path::file_name);
    let usual = known.filter_map(|path| Path::new(path).file_name());
    let names = own.into_iter().chain(usual);
    let mut candidates = names.flat_map(|name| {
        let name = name.to_string_lossy().into_owned();
        let directories = desk.library.with(&name, elf, wanted.inside);
        directories.into_iter().map(move |one| one.join(&name))
    });
    candidates.find_map(|path| {
        let found = Interpreter::open_in(&desk.root, &path).ok()?;
        let fits = libc.is_none_or(|libc| libc == found.libc);
        let directory = path.parent()?;
        let has_all = unmet.iter().all(|one| defines(desk, directory, one));
        (fits && has_all).then_some(found)
    })
}

/// Whether the library of that name in `directory` has the versions that another lacks.
fn defines(desk: &Desk<'_>, directory: &Path, unmet: &Unmet) -> bool {
    let name = unmet.library.file_name().unwrap_or_default();
    let Probe::Library(library) = desk.shelf.probe(&directory.join(name)) else {
        return false;
    };
    let defined = library.dynamic.as_ref().map_or(&[][..], |own| &own.defines);
    let mut versions = unmet.versions.iter();
    versions.all(|version| defined.iter().any(|own| own == version.as_str()))
}

/// What to do for a file that no dynamic linker is known for.
pub fn without_interpreter(wanted: &Wanted<'_>) -> Next {
    let name = wanted.elf.target().to_string();
    Next::told(format!(
        "no dynamic linker for {name} is known: check again with --interpreter PATH, or with --find-in and a directory \
         that has one"
    ))
}

/// A call of wrap-buddy in the making.
struct Call {
    libs: Vec<PathBuf>,
    interpreter: Interpreter,
    /// Whether it is to be named: without it, another would be taken.
    names_interpreter: bool,
}

/// What a call would leave open.
struct Rest {
    missing: Vec<String>,
    resolution: Resolution,
}

/// Whether a version is one that only the dynamic linker's own libc can have.
fn is_of_libc(unmet: &Unmet) -> bool {
    unmet
        .versions
        .iter()
        .any(|version| version.starts_with("GLIBC_"))
}

/// Plans the call that makes the file find what it needs, or as much of it as there is.
pub fn next(desk: &Desk<'_>, wanted: &Wanted<'_>, tree: &Tree, file: &FileCheck) -> Vec<Next> {
    let libc: Vec<Unmet> = tree
        .unmet
        .iter()
        .filter(|one| is_of_libc(one))
        .cloned()
        .collect();
    let Some(interpreter) = interpreter(desk, wanted, &libc) else {
        let text = match libc.is_empty() {
            true => return vec![without_interpreter(wanted)],
            false => {
                "a newer C library is needed: check again with --find-in and a directory that has one"
            }
        };
        return vec![Next::told(text)];
    };
    let names_interpreter = match desk.named_interpreters.is_empty() {
        true => !is_the_default(desk, wanted, &interpreter),
        false => true,
    };
    let mut call = Call {
        libs: desk.library.libs.clone(),
        interpreter,
        names_interpreter,
    };
    if wanted.state == State::Wrapped {
        call.libs.extend(earlier_directories(desk, wanted));
    }
    let rest = call.complete(desk, wanted);
    call.told(desk, wanted, file, &rest)
}

fn is_the_default(desk: &Desk<'_>, wanted: &Wanted<'_>, interpreter: &Interpreter) -> bool {
    let fit = desk
        .interpreters
        .fitting(wanted.elf, Some(interpreter.libc));
    matches!(fit, Fit::Fits(default) if default.path == interpreter.path)
}

/// Directories that the file was wrapped with.
fn earlier_directories(desk: &Desk<'_>, wanted: &Wanted<'_>) -> Vec<PathBuf> {
    let dynamic = wanted.elf.dynamic.as_ref();
    let path = dynamic.and_then(|dynamic| dynamic.search_path());
    let entries = path.iter().flat_map(|path| std::env::split_paths(path));
    let absolute = entries.filter_map(|entry| match entry.strip_prefix("$ORIGIN") {
        Ok(relative) if wanted.is_relocatable => Some(beside(desk, wanted, relative)),
        _ => entry.is_absolute().then_some(entry),
    });
    let new = absolute.filter(|entry| !desk.library.libs.contains(entry));
    new.filter(|entry| desk.shelf.is_directory(entry)).collect()
}

/// What is at `relative` to the directory of the file.
fn beside(desk: &Desk<'_>, wanted: &Wanted<'_>, relative: &Path) -> PathBuf {
    let directory = wanted.inside.parent().unwrap_or(Path::new("/"));
    desk.shelf.real(&directory.join(relative))
}

impl Call {
    fn planned(&self, desk: &Desk<'_>, wanted: &Wanted<'_>) -> Resolution {
        let resolver = Resolver::with_shelf(
            Arc::clone(&desk.shelf),
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

    /// Adds directories until nothing is missing, or nothing more is found.
    fn complete(&mut self, desk: &Desk<'_>, wanted: &Wanted<'_>) -> Rest {
        loop {
            let resolution = self.planned(desk, wanted);
            let missing = resolution.missing.iter();
            let missing = missing.map(|one| one.soname.display().to_string());
            let rest = Rest {
                missing: missing.collect(),
                resolution,
            };
            if self.libs.len() >= desk.library.libs.len() + MOST {
                return rest;
            }
            if let Some(directory) = self.best(desk, wanted, &rest.missing) {
                self.libs.push(directory);
                continue;
            }
            // In front of the directory with the library that lacks the version.
            match self.with_versions(desk, wanted, &rest.resolution.unmet) {
                Some(directory) => self.libs.insert(0, directory),
                None => return rest,
            }
        }
    }

    /// The directory with most of the `missing` libraries; one with a C library of its own only if there is no other: that
    /// and the dynamic linker have to be of one kind.
    fn best(&self, desk: &Desk<'_>, wanted: &Wanted<'_>, missing: &[String]) -> Option<PathBuf> {
        let elf = wanted.elf;
        let mut counts: Vec<(&Path, usize)> = Vec::new();
        let mut known: HashMap<&Path, usize> = HashMap::new();
        for name in missing {
            for directory in desk.library.with(name, elf, wanted.inside) {
                if !self.suits(desk, &directory.join(name)) {
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
        let has_libc = |directory: &Path| desk.root.on_host(&directory.join("libc.so.6")).exists();
        // The first of equals is wanted, so the last of the reverse.
        let best = counts.iter().rev().max_by_key(|(directory, count)| {
            let own = self.interpreter.path.parent() == Some(*directory);
            (own || !has_libc(directory), *count)
        });
        best.map(|(directory, _)| directory.to_path_buf())
    }

    fn suits(&self, desk: &Desk<'_>, path: &Path) -> bool {
        let Probe::Library(library) = desk.shelf.probe(path) else {
            return false;
        };
        misfit(&self.interpreter.elf, self.interpreter.libc, &library).is_none()
    }

    fn with_versions(
        &self,
        desk: &Desk<'_>,
        wanted: &Wanted<'_>,
        unmet: &[Unmet],
    ) -> Option<PathBuf> {
        let elf = wanted.elf;
        unmet.iter().find_map(|unmet| {
            let name = unmet.library.file_name()?.to_string_lossy();
            let directories = desk.library.with(&name, elf, wanted.inside);
            let mut new = directories
                .into_iter()
                .filter(|directory| !self.libs.iter().any(|known| known == directory));
            let found = new.find(|directory| defines(desk, directory, unmet))?;
            Some(found.to_owned())
        })
    }

    fn told(
        &self,
        desk: &Desk<'_>,
        wanted: &Wanted<'_>,
        file: &FileCheck,
        rest: &Rest,
    ) -> Vec<Next> {
        let mut left: Vec<&str> = rest.missing.iter().map(String::as_str).collect();
        // musl looks for what a library opens on behalf of the program: to edit the library does not help.
        let is_unserved = wanted.is_library && self.interpreter.libc == Libc::Musl;
        let opened = file
            .problems
            .iter()
            .filter(|one| is_unserved && one.trouble == Trouble::Opened);
        left.extend(opened.filter_map(|problem| problem.soname.as_deref()));
        let comes_to = match desk.root.is_own() {
            true => "makes it find all it needs",
            false => "inside the root, makes it find all it needs",
        };
        let elsewhere =
            "check again with --find-in and a directory that has what is missing, or install it";
        match (left.as_slice(), rest.resolution.unmet.as_slice()) {
            ([], []) => match in_the_way(desk, wanted, &self.interpreter, &rest.resolution) {
                Some(path) => vec![Next::told(format!(
                    "wrapping does not help: {} is still found first, by what the files themselves say: replace or remove it",
                    path.display()
                ))],
                None => vec![self.proposed(desk, wanted, file, comes_to)],
            },
            ([], [unmet, ..]) => vec![self.without_version(desk, wanted, unmet)],
            (left, _) => {
                // It is said with the problem where these are.
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
                    solved => format!("wrapping would solve {}; ", solved.join(", ")),
                };
                let rest = match (there.as_slice(), nowhere.as_slice()) {
                    (there, []) => format!(
                        "wrapping does not get it {}, although {} there: pass --libs to it with the directory that is to \
                         come first, or replace what is found instead",
                        there.join(", "),
                        if there.len() == 1 {
                            "it is"
                        } else {
                            "they are"
                        },
                    ),
                    (_, [one]) => format!("{one} is nowhere: {elsewhere}"),
                    (_, several) => format!("{} are nowhere: {elsewhere}", several.join(", ")),
                };
                vec![Next::told(format!("{solved}{rest}"))]
            }
        }
    }

    /// The call, if it would change the file; a tree elsewhere is wrapped from inside, where nothing is known of it.
    fn proposed(
        &self,
        desk: &Desk<'_>,
        wanted: &Wanted<'_>,
        file: &FileCheck,
        comes_to: &str,
    ) -> Next {
        let command = self.command(desk, wanted, file);
        let in_vain = match desk.root.is_own() {
            true => in_vain(&command.rehearsed(desk.stages)),
            false => None,
        };
        match in_vain {
            Some(_) if wanted.is_library => Next::told(
                "wrapping it does not help: what it has loaded lacks something. If a program has loaded that by then, check it \
                 together with the program: wrap-buddy check PROGRAM LIBRARY",
            ),
            Some(reason) => Next::told(format!("wrapping does not help: {reason}")),
            None => Next {
                call: Some(Box::new(command.clone())),
                ..Next::typed(command.written(), comes_to)
            },
        }
    }

    /// What no call of the tool helps against.
    fn without_version(&self, desk: &Desk<'_>, wanted: &Wanted<'_>, unmet: &Unmet) -> Next {
        let name = unmet.library.file_name().unwrap_or_default();
        let (name, versions) = (name.to_string_lossy(), unmet.versions.join(", "));
        let elf = wanted.elf;
        let mut directories = desk.library.with(&name, elf, wanted.inside).into_iter();
        let text = match directories.find(|directory| defines(desk, directory, unmet)) {
            Some(directory) => format!(
                "{} has {versions}, but by what the files themselves say {} is found first: replace that",
                directory.join(&*name).display(),
                unmet.library.display()
            ),
            None => format!(
                "no directory searched has a {name} with {versions}: check again with --find-in and one that has"
            ),
        };
        Next::told(text)
    }

    /// The call.
    fn command(&self, desk: &Desk<'_>, wanted: &Wanted<'_>, file: &FileCheck) -> Command {
        let shown = match desk.root.is_own() {
            true => file.path.clone(),
            false => wanted.inside.to_owned(),
        };
        let interpreter = Some(self.interpreter.path.clone());
        Command {
            paths: vec![shown],
            libs: self.libs.clone(),
            interpreters: interpreter
                .filter(|_| self.names_interpreter)
                .into_iter()
                .collect(),
            flag: wanted.flag,
        }
    }
}
