//! Plans edits in place: of a library that does not find its dependencies, or of a program with `--strategy inplace` or `auto`.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Error, Result, anyhow};
use object::elf;
use sidecar::{Edit, EditKind, Id, InPlaceDraft, Written};

use super::{
    FileEdit, Method, Plan, PlanOptions, added, check_trusted, is_sidecar_in_use, join, modified,
    needed, search, sidecar_owner, stale_cache, tool_version,
};
use crate::plan::classify::Subject;
use crate::plan::edits::{Changes, PatchSpace, Visibility, Wanted, outside};
use crate::plan::reason::{NoLinks, NoRoom};
use crate::plan::restore::{PendingSidecar, leftovers, links_there};
use crate::plan::search::{Entry, Relative, Resolution, search_path};
use crate::scan::TargetFile;
use crate::state::identity::identity_in_place;
use crate::state::prior::{self, PriorWrap};
use crate::state::settings::{Change, Settings};
use crate::system::directory::Directory;
use crate::system::privilege::Privilege;
use crate::system::relative::relative_file;
use crate::system::sidecar_path::{links_name, links_of, sidecar_of};
use elf_file::{Elf, Source};
use ldso::Root;

/// The part of a plan that only edits in place have.
#[derive(Clone, Debug)]
pub struct InPlacePlan {
    /// For a program: its own dynamic linker, and the new one.
    pub interpreter: Option<(OsString, PathBuf)>,
    /// A directory of links that replaces a search path that is too long.
    pub links: Option<Links>,
    /// Whether tools other than ld.so will not find a string that is added.
    pub hidden: bool,
    /// Links of an earlier run, and their directory, that are no longer used.
    pub unused_links: Vec<PathBuf>,
}

/// A directory next to a file, with a symbolic link to each library that the file needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    pub directory: PathBuf,
    /// Names and targets, sorted.
    pub links: Vec<(OsString, PathBuf)>,
}

impl Links {
    /// Whether the directory in `root` has these links.
    pub fn are_there(&self, root: &Root) -> bool {
        let Ok(directory) = Directory::open(&root.real_on_host(&self.directory)) else {
            return false;
        };
        let there = |(name, target): &(OsString, PathBuf)| {
            let found = directory.link_target(name);
            found.is_ok_and(|found| found == *target)
        };
        self.links.iter().all(there)
    }
}

/// Why a file cannot be edited in place.
#[derive(Debug)]
pub enum NotEdited {
    NoRoom(NoRoom),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for NotEdited {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Plans the edits of `subject` at `path`, which is absolute and free of symbolic links. `may_link`: whether a library works through a
/// symbolic link in another directory.
///
/// If there is no room the subject is returned, so that another method can be tried.
///
/// # Errors
/// Why it cannot be edited.
pub fn in_place<'a>(
    path: &Path,
    mut subject: Subject<'a>,
    resolution: Resolution,
    plan_options: &PlanOptions<'_>,
    may_link: &dyn Fn(&Path) -> bool,
) -> Result<Plan, (NotEdited, Box<(Subject<'a>, Resolution)>)> {
    match Draft::new(path, &mut subject, &resolution, plan_options, may_link) {
        Ok(draft) => Ok(draft.finish(subject, resolution)),
        Err(refusal) => Err((refusal, Box::new((subject, resolution)))),
    }
}

/// The parts of a plan that need the file.
struct Draft {
    file: TargetFile,
    id: Id,
    sidecar_path: PathBuf,
    sidecar_owner: (u32, u32),
    sidecar: Vec<u8>,
    undo_first: Vec<FileEdit>,
    undo_legacy: bool,
    sidecar_in_use: bool,
    settle: Option<PendingSidecar>,
    leftovers: Vec<PathBuf>,
    settings_changed: Vec<Change>,
    edits: Vec<FileEdit>,
    search: Vec<OsString>,
    modified: SystemTime,
    settled: bool,
    notes: Vec<String>,
    plan: InPlacePlan,
}

impl Draft {
    fn new(
        path: &Path,
        subject: &mut Subject<'_>,
        resolution: &Resolution,
        plan_options: &PlanOptions<'_>,
        may_link: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, NotEdited> {
        let Subject {
            is_library,
            elf,
            source,
            arch,
            interpreter,
            prior,
            ..
        } = subject;
        let root = plan_options.root;
        let metadata = source.metadata().clone();
        let privilege = Privilege::of(source.file(), &metadata);
        let directory = path.parent().context("has no directory")?;
        let name = path.file_name().context("has no file name")?;
        // A library with an entry point may have a PT_INTERP, which stays.
        let interp = elf.interp.as_ref().filter(|_| !*is_library);
        if interp.is_some() && plan_options.relocatable {
            return Err(NotEdited::NoRoom(NoRoom::Relocatable));
        }
        let interpreter = interp.map(|interp| (interp.path.clone(), interpreter.path.clone()));
        let search = search(
            resolution,
            directory,
            plan_options.relocatable,
            privilege.is_some(),
        )?;
        if let Some(privilege) = &privilege {
            let files = interpreter.iter().map(|(_, path)| path.as_path());
            check_trusted(root, privilege, files, resolution, &search)?;
        }

        let patch_space = PatchSpace::new(elf, arch, source)?;
        let mut choice = Choice {
            path,
            name,
            resolution,
            plan_options,
            may_link,
            is_privileged: privilege.is_some(),
            interpreter: interpreter.as_ref().map(|(_, path)| path.as_os_str()),
            needed: needed(resolution, plan_options.relocatable.then_some(directory)),
            essential: match resolution.essential_changes {
                true => search.get(..resolution.essential).unwrap_or(&search),
                false => &[],
            },
            search: &search,
        };
        let mut made = choice.make(&patch_space);
        let is_frozen = !resolution.prepended.is_empty();
        let unfrozen = is_frozen && made.is_err() && (prior.is_some() || !plan_options.or_stub);
        if unfrozen {
            choice.needed = (added(resolution), false);
            made = choice.make(&patch_space);
        }
        let (changes, search_list, links) = made.map_err(NotEdited::NoRoom)?;
        let left_out = |entry: &&OsString| !search_list.contains(entry);
        let (dead, living): (Vec<&OsString>, Vec<&OsString>) = search
            .iter()
            .partition(|entry| is_dead(root, entry, directory));
        let dead: Vec<&OsString> = dead.into_iter().filter(left_out).collect();
        let is_short = living
            .into_iter()
            .filter(|entry| !choice.essential.contains(entry))
            .any(|entry| left_out(&entry));
        let mut edits = Vec::new();
        for change in changes.list {
            edits.push(FileEdit::new(
                change.kind,
                change.offset,
                change.after,
                source,
            )?);
        }
        let prior = prior.as_deref();
        let leftovers = leftovers(root, path);
        let mut unused = Vec::new();
        let mut undo_first = Vec::new();
        let undo_legacy = prior.is_some_and(|prior| prior.method == prior::Method::Legacy);
        if let Some(prior) = prior {
            if prior.rewritten {
                take_back(prior, &mut edits, source)?;
            }
            let there = links_there(root, path);
            let has_directory = there.is_some();
            let mut made = there.unwrap_or_default();
            let recorded = prior.links.iter().filter(|name| !made.contains(name));
            let recorded: Vec<OsString> = recorded.cloned().collect();
            made.extend(recorded);
            let links_directory = links_of(path);
            unused = unused_links(&made, &links_directory, links.as_ref());
            if links.is_none() && (has_directory || !unused.is_empty()) {
                unused.push(links_directory);
            }
        }
        // Strings first: they have no effect until an entry points to them.
        edits.sort_by_key(|edit| edit.kind != EditKind::Text);

        let id = identity_in_place(elf, source)?;
        let sidecar = sidecar(elf, id, &edits, links.as_ref())?;
        let same = prior.is_none_or(|prior| prior.sidecar == sidecar);
        if let Some(prior) = prior.filter(|prior| !same && !prior.rewritten) {
            undo_first = FileEdit::undo_all(prior, source)?;
            for edit in &mut edits {
                edit.before.clone_from(&edit.original);
            }
        }
        let settled = same
            && prior.is_some_and(is_sidecar_in_use)
            && edits.iter().all(|edit| !edit.is_due())
            && links.as_ref().is_none_or(|links| links.are_there(root))
            && unused.is_empty()
            && leftovers.is_empty();
        let own = elf.dynamic.as_ref();
        let settings = match search_list.is_empty() {
            true => own
                .and_then(|own| own.search_path())
                .cloned()
                .unwrap_or_default(),
            false => join(&search_list),
        };
        let settings = Settings::in_place(
            interpreter
                .as_ref()
                .map(|(_, path)| path.clone().into_os_string()),
            settings.as_bytes(),
            (interp.is_some() && resolution.inherited) || own.is_some_and(|own| own.is_inherited()),
            &choice.needed.0,
        );
        let settings_changed = prior.map_or(Vec::new(), |prior| prior.settings.changes(&settings));
        let mut notes = notes(prior);
        notes.extend(stale_cache(elf, &search_list));
        if unfrozen {
            notes.push(
                "has no room for the paths of all its libraries, so ld.so searches for them at each start".to_owned(),
            );
        }
        if let ([first, ..], false) = (&*dead, search_list.is_empty()) {
            notes.push(format!(
                "has no room for directories of its own search path that do not exist, such as {}",
                first.display()
            ));
        }
        if is_short {
            notes.push(
                "has no room for the directories of --libs that resolve nothing, so libraries that it opens with dlopen are not found there"
                    .to_owned(),
            );
        }
        if changes.hidden {
            notes.push(
                "there is no room after its string table: ld.so finds the new search path, but patchelf and readelf do not show it"
                    .to_owned(),
            );
        }
        Ok(Self {
            file: TargetFile::new(root, path, &metadata),
            id,
            sidecar_path: sidecar_of(path),
            sidecar_owner: sidecar_owner(privilege.as_ref(), &metadata),
            sidecar,
            undo_first,
            undo_legacy,
            sidecar_in_use: prior.is_some_and(is_sidecar_in_use),
            settle: prior.and_then(|prior| PendingSidecar::of(path, prior)),
            leftovers,
            settings_changed,
            edits,
            search: search_list,
            modified: modified(&metadata, prior)?,
            settled,
            notes,
            plan: InPlacePlan {
                interpreter,
                links,
                hidden: changes.hidden,
                unused_links: unused,
            },
        })
    }

    fn finish(self, subject: Subject<'_>, resolution: Resolution) -> Plan {
        let elf = subject.elf;
        Plan {
            file: self.file,
            arch: subject.arch,
            position_independent: elf.kind == elf::ET_DYN,
            id: self.id,
            sidecar_path: self.sidecar_path,
            sidecar_owner: self.sidecar_owner,
            sidecar: self.sidecar,
            modified: self.modified,
            undo_first: self.undo_first,
            undo_legacy: self.undo_legacy,
            sidecar_in_use: self.sidecar_in_use,
            settle: self.settle,
            leftovers: self.leftovers,
            settings_changed: self.settings_changed,
            edits: self.edits,
            settled: self.settled,
            search: self.search,
            resolution,
            notes: self.notes,
            method: Method::InPlace(self.plan),
        }
    }
}

/// The possible edits for a file, best first.
struct Choice<'a> {
    path: &'a Path,
    name: &'a OsStr,
    resolution: &'a Resolution,
    plan_options: &'a PlanOptions<'a>,
    may_link: &'a dyn Fn(&Path) -> bool,
    is_privileged: bool,
    interpreter: Option<&'a OsStr>,
    /// Additional DT_NEEDED, and whether they go before the file's own.
    needed: (Vec<OsString>, bool),
    search: &'a [OsString],
    /// The directories that resolve something.
    essential: &'a [OsString],
}

impl Choice<'_> {
    /// Tries to keep the file's own search path, and then without those of its directories that do not exist.
    fn make(
        &self,
        patch_space: &PatchSpace<'_>,
    ) -> Result<(Changes, Vec<OsString>, Option<Links>), NoRoom> {
        self.make_with(patch_space).or_else(|reason| {
            let origin = self.path.parent().unwrap_or(Path::new("/"));
            let living = |entries: &[OsString]| -> Vec<OsString> {
                let living = entries
                    .iter()
                    .filter(|entry| !is_dead(self.plan_options.root, entry, origin));
                living.cloned().collect()
            };
            let (search, essential) = (living(self.search), living(self.essential));
            if search.len() == self.search.len() {
                return Err(reason);
            }
            let shorter = Choice {
                search: &search,
                essential: &essential,
                needed: self.needed.clone(),
                ..*self
            };
            shorter.make_with(patch_space).map_err(|_| reason)
        })
    }

    /// Tries the whole search path, then only its essential directories, then a directory of links; each first where tools other than ld.so
    /// show it, and then elsewhere.
    fn make_with(
        &self,
        patch_space: &PatchSpace<'_>,
    ) -> Result<(Changes, Vec<OsString>, Option<Links>), NoRoom> {
        let levels = [Visibility::Listed, Visibility::Unlisted, Visibility::Hidden];
        let mut reason = NoRoom::Relocatable;
        if self.essential.len() < self.search.len() {
            for allowed in levels {
                match self.changes(patch_space, self.search, allowed) {
                    Ok(changes) => return Ok((changes, self.search.to_owned(), None)),
                    Err(why) => reason = why,
                }
            }
            // With nothing else to write, this would be an edit without changes.
            let has_more = !self.essential.is_empty() || !self.needed.0.is_empty();
            if self.interpreter.is_none() && !has_more {
                return Err(reason);
            }
        }
        let search = self.essential.to_owned();
        let links = match search.is_empty() {
            true => Err(None),
            false => self.links().map_err(Some),
        };
        let unconditional = self.unconditional();
        for allowed in levels {
            match self.changes(patch_space, &search, allowed) {
                Ok(changes) => return Ok((changes, search, None)),
                Err(why) => reason = why,
            }
            let Ok(links) = &links else {
                continue;
            };
            for short in self.short_searches(links, &unconditional) {
                if let Ok(changes) = self.changes(patch_space, &short, allowed) {
                    return Ok((changes, short, Some(links.clone())));
                }
            }
        }
        match links {
            Err(Some(no_links)) => Err(NoRoom::NorLinks {
                no_room: Box::new(reason),
                no_links,
            }),
            _ => Err(reason),
        }
    }

    /// The directories that are on the search path in any case, as ld.so reads them.
    fn unconditional(&self) -> Vec<OsString> {
        let directories = self.resolution.unconditional.iter().cloned();
        let entries: Vec<Entry> = directories.map(Entry::Directory).collect();
        let origin = self.path.parent().unwrap_or(Path::new("/"));
        let relative = match self.plan_options.relocatable {
            true => Relative::All,
            false => Relative::None,
        };
        search_path(&entries, origin, relative)
    }

    /// The search paths that use the links, best first. The links serve the present dependencies; the file's own entries and the
    /// `unconditional` ones serve libraries that it opens later.
    ///
    /// An entry with $ORIGIN stays valid if file and directory are moved together. The absolute path is for a file that is copied, or
    /// opened through a symbolic link in another directory.
    fn short_searches(&self, links: &Links, unconditional: &[OsString]) -> Vec<Vec<OsString>> {
        let entries = self.resolution.search.iter();
        let kept = entries.filter_map(|entry| match entry {
            Entry::Kept(text) if self.search.contains(text) => Some(text.clone()),
            Entry::Kept(_) | Entry::Directory(_) | Entry::Within(_) => None,
        });
        let by_origin = OsString::from_iter([OsStr::new("$ORIGIN/"), &links_name(self.name)]);
        let short: Vec<OsString> = kept.chain([by_origin]).collect();
        let by_path = links.directory.as_os_str();
        let has_path = !self.plan_options.relocatable && !by_path.as_bytes().contains(&b':');
        let longer = has_path.then(|| [&short[..], &[by_path.to_owned()]].concat());
        let all = longer.into_iter().chain([short]);
        all.map(|short| [&short[..], unconditional].concat())
            .collect()
    }

    fn changes(
        &self,
        patch_space: &PatchSpace<'_>,
        search: &[OsString],
        allowed: Visibility,
    ) -> Result<Changes, NoRoom> {
        let search = join(search);
        let (needed, in_front) = &self.needed;
        let needed: Vec<&[u8]> = needed.iter().map(|name| name.as_bytes()).collect();
        let wanted = Wanted {
            interpreter: self.interpreter.map(OsStr::as_bytes),
            search: search.as_bytes(),
            needed: &needed,
            in_front: *in_front,
            inherited: self.resolution.inherited,
        };
        patch_space.changes(&wanted, allowed)
    }

    /// Links to all libraries that were found.
    fn links(&self) -> Result<Links, NoLinks> {
        if self.is_privileged {
            return Err(NoLinks::Privileged);
        }
        let directory = links_of(self.path);
        let mut links = Vec::new();
        for (name, target) in &self.resolution.found {
            if name.as_bytes().contains(&b'/') {
                continue;
            }
            if !(self.may_link)(target) {
                return Err(NoLinks::Relative(target.clone()));
            }
            let target = match self.plan_options.relocatable {
                true => relative_file(target, &directory),
                false => target.clone(),
            };
            links.push((name.clone(), target));
        }
        if links.is_empty() {
            return Err(NoLinks::NoLibrary);
        }
        links.sort();
        Ok(Links { directory, links })
    }
}

/// Whether an entry of a search path is a directory relative to the file, which is in `origin`, and does not exist.
fn is_dead(root: &Root, entry: &OsStr, origin: &Path) -> bool {
    let text = entry.as_bytes();
    let relative = ["$ORIGIN/", "${ORIGIN}/"]
        .iter()
        .find_map(|token| text.strip_prefix(token.as_bytes()));
    // With another token, it is unknown which directory ld.so will use.
    relative.is_some_and(|relative| {
        !relative.contains(&b'$')
            && !root
                .on_host(&origin.join(OsStr::from_bytes(relative)))
                .is_dir()
    })
}

/// The links of earlier runs in `directory` that are not in `links`.
fn unused_links(made: &[OsString], directory: &Path, links: Option<&Links>) -> Vec<PathBuf> {
    let kept = |name: &OsStr| {
        let links = links.iter().flat_map(|links| &links.links);
        links.into_iter().any(|(kept, _)| kept == name)
    };
    let unused: Vec<PathBuf> = made
        .iter()
        // Only names: the sidecar may be forged.
        .filter(|name| !kept(name) && Path::new(name).file_name() == Some(name))
        .map(|name| directory.join(name))
        .collect();
    unused
}

/// Adds edits that undo those of an earlier run which are still in the file and are not made again. The file was rewritten since.
fn take_back(prior: &PriorWrap, edits: &mut Vec<FileEdit>, source: &mut Source) -> Result<()> {
    let mut covered: Vec<Range<u64>> = edits.iter().map(range).collect();
    for edit in &prior.edits {
        let range = edit.offset..edit.offset + edit.original.len() as u64;
        if range.end > source.file_len() {
            continue;
        }
        for left in outside(range, &covered) {
            let original = source.read(left.start, left.end - left.start)?;
            let taken_back = FileEdit::new(edit.kind, left.start, original, source)?;
            if taken_back.is_due() {
                edits.push(taken_back);
                covered.push(left);
            }
        }
    }
    Ok(())
}

fn range(edit: &FileEdit) -> Range<u64> {
    edit.offset..edit.offset + edit.after.len() as u64
}

fn sidecar(elf: &Elf, id: Id, edits: &[FileEdit], links: Option<&Links>) -> Result<Vec<u8>> {
    let edits: Vec<Written<'_>> = edits
        .iter()
        .map(|edit| Written {
            edit: Edit {
                kind: edit.kind,
                offset: edit.offset,
                original: &edit.original,
            },
            written: &edit.after,
        })
        .collect();
    let links: Vec<&[u8]> = links
        .iter()
        .flat_map(|links| &links.links)
        .map(|(name, _)| name.as_bytes())
        .collect();
    let draft = InPlaceDraft {
        machine: elf.machine,
        class: elf.class,
        id,
        tool: tool_version(),
        edits: &edits,
        links: &links,
    };
    let mut bytes = vec![0; draft.encoded_len()];
    draft
        .encode(&mut bytes)
        .map_err(|error| anyhow!("the sidecar {error}"))?;
    Ok(bytes)
}

fn notes(prior: Option<&PriorWrap>) -> Vec<String> {
    let mut notes = Vec::new();
    if prior.is_some_and(|prior| prior.rewritten) {
        notes.push(
            "was rewritten by strip or a similar tool, which lost earlier edits; run wrap-buddy last"
                .to_owned(),
        );
    }
    notes
}
