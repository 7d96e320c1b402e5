//! Libraries that need a search path and have no room for one: which programs load their dependencies for them.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::plan::openers::Openers;
use crate::plan::outcome::{FileReport, NoSearchPath, Status};
use crate::plan::reason::{NoRoom, Reason, SkipReason};
use elf_file::ElfTarget;

/// Most programs to name that serve a library.
const MAX_HELPERS: usize = 3;

/// A library that needs a search path but has no room for one.
pub(super) struct UnpatchedLibrary {
    /// Free of symbolic links.
    pub(super) path: PathBuf,
    /// The dependencies that it does not find.
    pub(super) needs: Vec<OsString>,
    /// Their directories, in search order.
    pub(super) directories: Vec<PathBuf>,
    /// Whether it inherits the DT_RPATH of a program that opens it.
    pub(super) inherits: bool,
    pub(super) kind: ElfTarget,
    pub(super) soname: Option<OsString>,
    pub(super) named: bool,
    pub(super) no_room: NoRoom,
    /// The search path that it needs.
    pub(super) search: Vec<OsString>,
    /// Whether that has to be a DT_RPATH.
    pub(super) is_inherited: bool,
    pub(super) has_appended_data: bool,
}

/// All libraries without room for a search path.
pub(super) struct UnpatchedLibraries<'l> {
    pub(super) libraries: Vec<&'l UnpatchedLibrary>,
    pub(super) openers: Openers,
}

/// Completes the reports of libraries without room (`unpatched_libraries` has their index in `files`): which programs serve them, and
/// otherwise how to wrap the programs that open them, or may open them. A program that opens one of them often opens all, so the advice for
/// all has the same directories, in the order of `libs`.
pub(super) fn report_helpers(
    files: &mut [FileReport],
    unpatched_libraries: &[(usize, UnpatchedLibrary)],
    helped: &HashMap<PathBuf, Vec<PathBuf>>,
    failing: &HashMap<PathBuf, Vec<PathBuf>>,
    libs: &[PathBuf],
) {
    let alone = unpatched_libraries.iter().map(|(_, unpatched)| unpatched);
    let alone = alone.filter(|unpatched| {
        let is_served =
            helped.contains_key(&unpatched.path) && !failing.contains_key(&unpatched.path);
        unpatched.inherits && !is_served
    });
    let wanted: BTreeSet<&PathBuf> = alone.flat_map(|unpatched| &unpatched.directories).collect();
    let named = libs.iter().filter(|one| wanted.contains(one));
    let others = wanted.iter().copied().filter(|one| !libs.contains(one));
    let lacking: Vec<PathBuf> = named.chain(others).cloned().collect();
    for (index, unpatched) in unpatched_libraries {
        let programs = |of: &HashMap<PathBuf, Vec<PathBuf>>| of.get(&unpatched.path).cloned();
        let (helpers, failing) = (programs(helped), programs(failing));
        let (helpers, failing) = (helpers.unwrap_or_default(), failing.unwrap_or_default());
        unpatched.report(&mut files[*index], &helpers, &failing, &lacking);
    }
}

impl UnpatchedLibrary {
    /// Whether it finds its dependencies if a program that opens it has the directories `offered` on its DT_RPATH.
    pub(super) fn inherits_from(&self, offered: &[PathBuf]) -> bool {
        self.inherits && self.directories.iter().all(|one| offered.contains(one))
    }

    /// Completes the report. `helpers`: programs with which the library finds its dependencies. `failing`: programs that open it without
    /// that. The advice is a DT_RPATH with the directories `lacking` for these, or for all programs. Loading the dependencies in the
    /// program is the last resort, because all libraries that it opens later then bind to them.
    fn report(
        &self,
        file: &mut FileReport,
        helpers: &[PathBuf],
        failing: &[PathBuf],
        lacking: &[PathBuf],
    ) {
        let helped = (!helpers.is_empty()).then(|| {
            format!(
                "it finds its dependencies when {} opens it",
                listed(helpers)
            )
        });
        let to_do = (helpers.is_empty() || !failing.is_empty()).then(|| {
            let flags = match self.inherits {
                true => format!(
                    "--search rpath --runtime-dependencies {}",
                    joined(lacking, " ")
                ),
                false => format!("--needed {}", joined(&self.needs, " ")),
            };
            match failing {
                [] => format!("wrap the programs that open it with {flags}"),
                [_] => format!("{} opens it; wrap that with {flags}", listed(failing)),
                _ => format!("{} open it; wrap them with {flags}", listed(failing)),
            }
        });
        let is_served = to_do.is_none();
        file.no_room = Some(Box::new(NoSearchPath {
            path: self.path.clone(),
            search: self.search.clone(),
            is_inherited: self.is_inherited,
            has_appended_data: self.has_appended_data,
            served_by: helpers.to_owned(),
            opened_by: failing.to_owned(),
        }));
        let reason = SkipReason::NoSearchPath {
            no_room: self.no_room.clone(),
            advice: [helped, to_do].into_iter().flatten().collect(),
        };
        if !is_served && self.named {
            file.status = Status::Failed;
        } else if !is_served {
            file.notes.push(reason.to_string());
        }
        file.reason = Some(Reason::Skip(reason));
    }
}

/// The first few of `programs`, and the number of the others.
fn listed(programs: &[PathBuf]) -> String {
    let (first, others) = programs.split_at(programs.len().min(MAX_HELPERS));
    let first = joined(first, ", ");
    match others.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(super) fn joined(words: &[impl AsRef<OsStr>], separator: &str) -> String {
    let words = words.iter().map(|word| word.as_ref().to_string_lossy());
    words.collect::<Vec<_>>().join(separator)
}
