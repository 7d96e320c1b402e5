//! The state of resolving one file: its search path as it grows, the missing libraries, and the result.

use super::search_path::{self, OwnEntry, compose, own_entries};
use super::{Missing, Resolution, Settings, Unopened, freeze};
use elf_file::Priority;
use globset::GlobSet;
use ldso::{Cause, Dependent, Request, Walk};
use ldso::{Found, NearMiss, Rule, SearchList, SearchPath, Step};
use ldso::{Linker, libc_opens};
use ldso::{Probe, ProbeCache};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The inputs of every walk.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub settings: &'a Settings,
    /// Libraries that were read before.
    pub probe_cache: &'a ProbeCache,
}

/// The state of resolving one file.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) probe_cache: &'a ProbeCache,
    pub(super) linker: &'a Linker<'a>,
    pub(super) subject: Dependent<'a>,
    /// The entries of its own search path.
    pub(super) own: Vec<OwnEntry>,
    pub(super) kept: Vec<OwnEntry>,
    /// The directories that [`Rule::Offered`] counts, followed by the dynamic linker's directory and its defaults.
    pub(super) offered: Arc<SearchList>,
    /// Index of the first one that was not named.
    pub(super) further: usize,
    pub(super) used: BTreeSet<usize>,
    /// Index in `result.missing` of each missing name; `None` if it may be missing.
    pub(super) missing: HashMap<OsString, Option<usize>>,
    pub(super) result: Resolution,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        Inputs {
            settings,
            probe_cache,
        }: Inputs<'a>,
        subject: Dependent<'a>,
        linker: &'a Linker<'a>,
        always: &[PathBuf],
        further: &[PathBuf],
    ) -> Self {
        let origin = subject.path.parent().unwrap_or(Path::new("/"));
        let dynamic = subject.elf.dynamic.as_ref();
        let text = dynamic.and_then(|dynamic| dynamic.search_path());
        let own = text
            .map(|text| own_entries(text, origin, &linker.tokens(text.as_bytes())))
            .unwrap_or_default();
        let is_kept = |one: &&OwnEntry| match &settings.within {
            None => one.is_kept(|directory| probe_cache.is_directory(directory)),
            Some(within) => one.directories.iter().any(|directory| {
                let real = probe_cache.real(directory);
                real.starts_with(within) && probe_cache.is_directory(&real)
            }),
        };
        let offered = [&settings.libraries, always, further];
        let offered = offered.into_iter().flatten().enumerate();
        let offered = offered.map(|(index, directory)| Step {
            directory: directory.clone(),
            rule: Rule::Offered(index),
            list: 0,
        });
        Self {
            settings,
            probe_cache,
            linker,
            subject,
            kept: own.iter().filter(is_kept).cloned().collect(),
            own,
            offered: linker.list(offered.collect()),
            further: settings.libraries.len() + always.len(),
            used: BTreeSet::new(),
            missing: HashMap::new(),
            result: Resolution::default(),
        }
    }

    /// The search path of the entries that are kept.
    pub(super) fn search_path(&self, is_inherited: bool) -> SearchPath {
        let entries = self.kept.iter();
        SearchPath {
            directories: entries
                .flat_map(|entry| entry.directories.iter().cloned())
                .collect(),
            is_runpath: !is_inherited,
        }
    }

    /// The directory of the dynamic linker and, for a file that excludes them, the default directories: they may be added to the search
    /// path. Determining them means reading the dynamic linker.
    pub(super) fn next_to_linker(&self, dependent: Dependent<'_>) -> Arc<SearchList> {
        let built_in = self.linker.interpreter.built_in();
        let has_defaults = self.linker.has_defaults(dependent.elf);
        let default = built_in.default.iter().filter(|_| !has_defaults);
        let directories = built_in.own.iter().chain(default).zip(self.offered.len()..);
        let steps = directories.map(|(directory, index)| Step {
            directory: directory.clone(),
            rule: Rule::Offered(index),
            list: 0,
        });
        self.linker.list(steps.collect())
    }

    /// The directory of `Rule::Offered(index)`.
    pub(super) fn directory(&self, index: usize) -> Option<&PathBuf> {
        let built_in = || self.linker.interpreter.built_in();
        match index.checked_sub(self.offered.len()) {
            None => Some(&self.offered[index].directory),
            Some(rest) => built_in().own.iter().chain(&built_in().default).nth(rest),
        }
    }

    /// Searches for `name` on behalf of `dependent`: in its search list, in the directories that may be added to the search path, and in the
    /// defaults.
    pub(super) fn offer(
        &self,
        name: &OsStr,
        dependent: Dependent<'_>,
        search_list: &SearchList,
    ) -> Result<Found, Arc<[NearMiss]>> {
        let found = self
            .linker
            .find(name, dependent, &[search_list, &self.offered]);
        // Libraries next to the dynamic linker match it better than those in the defaults, but only if no other directory has the library.
        if found.as_ref().is_ok_and(|found| !is_of_system(found)) || name.as_bytes().contains(&b'/')
        {
            return found;
        }
        let extra = self.next_to_linker(dependent);
        match extra.is_empty() {
            true => found,
            false => self
                .linker
                .find(name, dependent, &[search_list, &self.offered, &extra]),
        }
    }

    /// Adds a library to the result.
    pub(super) fn take(&mut self, name: &OsStr, found: &Found) {
        if let Rule::Offered(index) = found.rule {
            self.used.insert(index);
        }
        self.result
            .found
            .push((name.to_owned(), found.path.clone()));
    }

    pub(super) fn miss(&mut self, request: &Request<'_>, nears: &[NearMiss]) {
        if request.may_be_missing {
            return;
        }
        let needed_by = request.dependent.path.to_owned();
        if let Some(known) = self.missing.get(request.name) {
            if let Some(index) = *known {
                self.result.missing[index].needed_by.push(needed_by);
            }
            return;
        }
        let soname = request.name.to_owned();
        let may_be = self.settings.may_be_missing.is_match(&soname);
        let index = (!may_be).then_some(self.result.missing.len());
        self.missing.insert(soname.clone(), index);
        if may_be {
            return self.result.ignored.push(soname);
        }
        let mut hints: Vec<String> = nears.iter().map(NearMiss::to_string).collect();
        let has_soname = |path: &PathBuf| {
            let probe = self.probe_cache.probe(path);
            matches!(probe, Probe::Library(elf) if elf.soname() == Some(&soname))
        };
        let mut called_differently = self.probe_cache.with_soname(&soname).to_vec();
        let in_tree = self.settings.given.with_longer_name(&soname).into_iter();
        called_differently.extend(in_tree.filter(has_soname));
        called_differently.dedup();
        for path in called_differently {
            hints.push(format!(
                "{} has this DT_SONAME, but ld.so searches by file name; make a symbolic link {} to it",
                path.display(),
                soname.display()
            ));
        }
        self.result.missing.push(Missing {
            soname,
            needed_by: vec![needed_by],
            hints,
        });
    }

    /// Resolves the libraries that the file `by` declares to open with dlopen. If it is served by the search path made here, the
    /// directories of required and recommended ones are added.
    pub(super) fn open(&mut self, walk: &Walk<'_>, by: Option<usize>) {
        let dependent = walk.dependent(by);
        if dependent.elf.opened.is_empty()
            || by.is_some_and(|node| is_of_system(&walk.nodes[node].found))
        {
            return;
        }
        let search_list = walk.search_list(by);
        let is_served = by.is_none() || walk.inherits(by);
        for opened in walk.unopened(by, &search_list) {
            let names = || opened.soname.iter().map(OsStr::new);
            let is_wanted = is_served && opened.priority != Priority::Suggested;
            let found = is_wanted.then(|| {
                names()
                    .find_map(|name| Some((name, self.offer(name, dependent, &search_list).ok()?)))
            });
            if let Some((name, found)) = found.flatten() {
                self.take(name, &found);
            } else if let Some(first) = names().next()
                && is_served
                && opened.priority == Priority::Required
            {
                let request = Request {
                    name: first,
                    by,
                    dependent,
                    search_list: &search_list,
                    cause: Cause::Needed,
                    may_be_missing: false,
                };
                self.miss(&request, &[]);
                let hint = format!("opened with dlopen{}", opened.purpose());
                let missing = self.result.missing.iter_mut();
                let missing = missing.filter(|missing| missing.soname == *first);
                missing.for_each(|missing| missing.hints.push(hint.clone()));
            } else if !names().any(|name| self.settings.may_be_missing.is_match(name)) {
                self.result.unopened.push(Unopened {
                    by: dependent.path.to_owned(),
                    opened: opened.clone(),
                });
            }
        }
    }

    pub(super) fn freeze(&mut self, walk: &Walk<'_>, except: &GlobSet) {
        let added = self.result.added.iter();
        let libc = OsStr::new(libc_opens::LIBC);
        let is_libc = |path: &PathBuf| path.file_name() == Some(libc);
        // libc opens it without a DT_NEEDED.
        let asked_for = added.clone();
        let asked_for = asked_for.filter(|added| added.needed_by.as_ref().is_none_or(is_libc));
        let asked_for = asked_for.map(|added| &added.soname);
        let subject = freeze::Subject {
            walk,
            needed: asked_for
                .chain(self.subject.elf.needed())
                .map(OsString::as_os_str)
                .collect(),
            added: added.map(|added| added.soname.as_os_str()).collect(),
            except,
        };
        let prepended = subject.prepended();
        self.result.redundant = subject.redundant(&prepended);
        self.result.unstable_paths =
            freeze::unstable_paths(&prepended, &self.settings.bundle, |path| {
                self.probe_cache.real(path)
            });
        self.result.prepended = prepended;
    }

    /// Composes the search path: the file's own entries that are kept, the directories that resolve something or are in `always`, then
    /// those of `spare` that have libraries for the file.
    pub(super) fn finish(
        mut self,
        always: Range<usize>,
        spare: impl IntoIterator<Item = usize>,
    ) -> Resolution {
        let unconditional = always.clone().filter_map(|index| self.directory(index));
        let unconditional = unconditional.cloned().collect();
        let chosen: BTreeSet<usize> = self.used.iter().copied().chain(always).collect();
        let origin = self.subject.path.parent().unwrap_or(Path::new("/"));
        let interpreter = self.linker.interpreter;
        let (linker, libc) = (&interpreter.elf, interpreter.libc);
        let spare: Vec<usize> = spare
            .into_iter()
            .filter(|index| !chosen.contains(index))
            .filter(|&index| {
                let directory = &self.offered[index].directory;
                self.probe_cache.has_libraries(directory, linker, libc)
            })
            .collect();
        let entry = |&index: &usize| {
            let directory = self.directory(index)?;
            let is_further = (self.further..self.offered.len()).contains(&index);
            let entry = match is_further && self.settings.given.joins(directory, origin) {
                true => search_path::Entry::Within,
                false => search_path::Entry::Directory,
            };
            Some(entry(directory.clone()))
        };
        let compose = |entries: &mut dyn Iterator<Item = search_path::Entry>| {
            compose(&self.kept, entries, |directory| {
                self.probe_cache.real(directory)
            })
        };
        let essential = compose(&mut chosen.iter().filter_map(entry));
        let search = compose(&mut chosen.iter().chain(&spare).filter_map(entry));
        let own = self.own.iter();
        let unchanged = own.map(|entry| search_path::Entry::Kept(entry.text.clone()));
        let unchanged: Vec<search_path::Entry> = unchanged.collect();
        self.result.essential = essential.len();
        self.result.essential_changes = essential != unchanged;
        self.result.search_changes = search != unchanged;
        self.result.search = search;
        self.result.unconditional = unconditional;
        self.result
    }
}

/// Libraries that were found in the defaults belong to the system. They are not checked.
pub(super) fn is_of_system(found: &Found) -> bool {
    matches!(found.rule, Rule::Default | Rule::Cache)
}
