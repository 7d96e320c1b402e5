//! Plans a library: its search path, or why it needs none or has no room for one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::plan::classify::{Class, Subject, classify};
use crate::plan::outcome::FileReport;
use crate::plan::planner::{Inspection, Planner, directories_of, relative};
use crate::plan::reason::{NoRoom, Refusal, SkipReason};
use crate::plan::search::Resolution;
use crate::plan::unpatched::{UnpatchedLibrary, joined};
use crate::plan::{self, NotEdited, Plan};
use crate::scan::Target;
use crate::state::prior::Method;
use elf_file::{Dynamic, has_appended_data, imports};
use ldso::Libc;

/// The functions that open a library by name for their caller.
const DLOPEN: [&str; 3] = ["dlopen", "dlmopen", "__libc_dlopen_mode"];

impl<'a> Planner<'a> {
    /// Plans a library. If it calls dlopen, its search path gets the directories for that, if there is room.
    pub(super) fn library(
        &self,
        target: &Target,
        mut subject: Subject<'a>,
        may_link: &dyn Fn(&Path) -> bool,
    ) -> Inspection {
        let opens = self.serves_opened
            && self
                .resolver
                .serves_opened(&subject.elf, &subject.interpreter)
            && !imports(&subject.elf, &mut subject.source, &DLOPEN).is_empty();
        let for_opened = opens.then(|| self.resolve_library(target, &subject, true));
        let for_opened = for_opened.filter(|one| one.search_changes && one.missing.is_empty());
        let (subject, no_room) = match for_opened {
            None => (subject, None),
            Some(resolution) => {
                let planned_so = plan::in_place(
                    &target.path,
                    subject,
                    resolution,
                    &self.plan_options,
                    may_link,
                );
                match planned_so {
                    Ok(plan) => {
                        return Inspection::Library {
                            report: self.planned(target.shown.clone(), plan, None),
                            unpatched: None,
                        };
                    }
                    Err((NotEdited::Failed(error), _)) => {
                        let reason = Refusal::from(error);
                        return Inspection::Report(FileReport::failed(
                            target.shown.clone(),
                            reason,
                        ));
                    }
                    Err((NotEdited::NoRoom(no_room), parts)) => (parts.0, Some(no_room)),
                }
            }
        };
        let runpath = subject
            .elf
            .dynamic
            .as_ref()
            .and_then(|own| own.runpath.as_ref());
        let is_given = !self.runtime_dependencies.is_empty();
        let note = no_room.map(|no_room| no_room_for_opened(&no_room, is_given, runpath.is_some()));
        let mut inspection = self.library_with_needs(target, subject, may_link);
        if let Inspection::Library { report, .. } = &mut inspection {
            report.notes.extend(note);
        }
        inspection
    }

    fn resolve_library(&self, target: &Target, subject: &Subject<'_>, opens: bool) -> Resolution {
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        self.resolver.library(&target.path, elf, interpreter, opens)
    }

    /// Plans a library by its dependencies alone.
    fn library_with_needs(
        &self,
        target: &Target,
        subject: Subject<'a>,
        may_link: &dyn Fn(&Path) -> bool,
    ) -> Inspection {
        let mut resolution = self.resolve_library(target, &subject, false);
        let shown = target.shown.clone();
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let mut missing = std::mem::take(&mut resolution.missing);
        self.hint(&mut missing, elf, interpreter);
        let failed = target.named && !missing.is_empty();
        let prior = subject.prior.as_ref().map(|prior| prior.method);
        let is_edited = prior == Some(Method::InPlace);
        let with_missing = |report: FileReport| Inspection::Library {
            report: FileReport {
                missing: missing.clone(),
                ..report
            },
            unpatched: None,
        };
        if failed {
            return with_missing(FileReport::failed(shown, Refusal::LibrariesMissing(prior)));
        }
        if !resolution.search_changes {
            let reason = match (missing.is_empty(), is_edited) {
                (true, false) => SkipReason::LibraryFindsAll,
                (false, false) => SkipReason::LibraryLacks,
                (true, true) => SkipReason::EditedInVain,
                (false, true) => {
                    // In its present state it finds them.
                    let names: Vec<&OsString> = missing.iter().map(|one| &one.soname).collect();
                    let names = joined(&names, ", ");
                    let reason = Refusal::LibrariesMissing(prior);
                    let note = format!("{reason}: {names}");
                    let mut report = FileReport::skipped(shown, reason);
                    report.notes.push(note);
                    return Inspection::Library {
                        report,
                        unpatched: None,
                    };
                }
            };
            return with_missing(FileReport::skipped(shown, reason));
        }
        let needs: Vec<OsString> = resolution
            .found
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let directories = directories_of(&resolution);
        let inherits = interpreter.libc == Libc::Musl
            || elf
                .dynamic
                .as_ref()
                .is_none_or(|dynamic| dynamic.runpath.is_none());
        let kind = elf.target();
        let soname = elf.soname().cloned();
        match plan::in_place(
            &target.path,
            subject,
            resolution,
            &self.plan_options,
            may_link,
        ) {
            Ok(plan) => with_missing(self.planned(shown, plan, None)),
            Err((NotEdited::Failed(error), _)) => {
                with_missing(FileReport::failed(shown, Refusal::from(error)))
            }
            Err((NotEdited::NoRoom(no_room), parts)) => {
                let (mut subject, resolution) = *parts;
                let origin = target.path.parent().unwrap_or(Path::new("/"));
                let relocatable = self.plan_options.relocatable;
                let search = plan::search(&resolution, origin, relocatable, false);
                let reason = SkipReason::NoSearchPath {
                    no_room: no_room.clone(),
                    advice: Vec::new(),
                };
                let unpatched = UnpatchedLibrary {
                    path: target.path.clone(),
                    needs,
                    directories,
                    inherits,
                    kind,
                    soname,
                    named: target.named,
                    no_room,
                    search: search.unwrap_or_default(),
                    is_inherited: subject
                        .elf
                        .dynamic
                        .as_ref()
                        .is_some_and(Dynamic::is_inherited),
                    has_appended_data: has_appended_data(&subject.elf, &mut subject.source)
                        .unwrap_or(true),
                };
                Inspection::Library {
                    report: FileReport {
                        missing,
                        ..FileReport::skipped(shown, reason)
                    },
                    unpatched: Some(unpatched),
                }
            }
        }
    }

    /// Plans libraries again without links if a link leads to a library that will search relative to the path at which it is opened.
    pub(super) fn without_misleading_links(&self, inspections: &mut [Inspection]) {
        let relative = relative(inspections);
        if relative.is_empty() {
            return;
        }
        let misled = |plan: &Plan| {
            let links = plan.links().into_iter().flat_map(|links| &links.links);
            let found = &plan.resolution.found;
            links.into_iter().any(|(name, _)| {
                let mut targets = found.iter().filter(|(known, _)| known == name);
                targets.any(|(_, target)| self.is_among(target, &relative))
            })
        };
        for (target, inspection) in self.targets.iter().zip(inspections) {
            if inspection.plan().is_some_and(misled)
                && let Class::Library(subject) = classify(target, &self.available)
            {
                *inspection = self.library(target, *subject, &|_| false);
            }
        }
    }

    /// Whether `library` works through a symbolic link in another directory. The libraries `relative` will search relative to the path at
    /// which they are opened.
    pub(super) fn may_link(&self, library: &Path, relative: &HashSet<PathBuf>) -> bool {
        !self.resolver.depends_on_its_place(library) && !self.is_among(library, relative)
    }

    fn is_among(&self, library: &Path, libraries: &HashSet<PathBuf>) -> bool {
        !libraries.is_empty() && libraries.contains(&self.resolver.real(library))
    }
}

/// The note for a library that calls dlopen, but has no room for the directories. If only `--libs` names them, the text is the same for all
/// such libraries, because there may be many that never need these directories.
fn no_room_for_opened(no_room: &NoRoom, is_given: bool, has_runpath: bool) -> String {
    let advice = match has_runpath {
        true => {
            "wrap the programs that open it with --needed and the names of the libraries that it opens"
        }
        false => "wrap the programs that open it with --search rpath",
    };
    let (flag, reason) = match is_given {
        true => ("--runtime-dependencies", format!(": {no_room}")),
        false => ("--libs", String::new()),
    };
    format!(
        "it opens libraries with dlopen, but will not find them in the directories of {flag}: there is no room for a longer search path{reason}; {advice}"
    )
}
