//! The dynamic linkers and libraries that the ELF files of a bundle need, as ld.so finds them on this machine.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use globset::Glob;

use super::collect::Collect;
use super::contents::{Contents, Role, unreadable};
use super::data::{Table, User};
use super::layout::{Layout, library_directory, name};
use super::of_libc::{GCONV, OfLibc};
use super::original::Original;
use super::{Refusal, Selection};
use crate::system::sidecar_path::sidecar_of;
use elf_file::{Elf, Kind, Priority, Source};
use ldso::{Dependent, Interpreter, Libc, Linker, Opener, Policy, ProbeCache, Surroundings, Walk};

/// At most so many programs are tried for a library that does not find everything by itself.
const MAX_OPENERS: usize = 8;

/// A program of the bundle, which may open libraries.
struct Program {
    path: PathBuf,
    interpreter: Rc<Interpreter>,
    opener: Opener,
}

/// A library that a program opens.
struct Opened {
    path: PathBuf,
    role: Role,
    needed_by: PathBuf,
    /// The index of the program.
    program: usize,
}

pub(super) struct Closure<'s> {
    selection: &'s Selection,
    named: &'s [PathBuf],
    probe_cache: ProbeCache,
    surroundings: Surroundings,
    programs: Vec<Program>,
    queue: VecDeque<Opened>,
    /// Libraries of the queue, each once.
    queued: HashSet<PathBuf>,
}

impl<'s> Closure<'s> {
    /// The programs `named` have to start; of the others, notes say what they lack.
    pub fn new(selection: &'s Selection, named: &'s [PathBuf]) -> Self {
        Self {
            selection,
            named,
            probe_cache: ProbeCache::new(selection.root.clone(), Vec::new()),
            surroundings: Surroundings::default(),
            programs: Vec::new(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
        }
    }

    /// Adds the needs of all ELF files in `contents`, and the data that these need by `table`. Returns the programs.
    pub fn add(
        mut self,
        sonames: &[String],
        table: &mut Table,
        layout: &Layout,
        contents: &mut Contents,
    ) -> Result<Vec<User>, Refusal> {
        self.files(0, sonames, contents)?;
        loop {
            let known = contents.elf.len();
            if !table.add(layout, contents)? {
                break;
            }
            contents.resolve_links(layout)?;
            self.files(known, &[], contents)?;
        }
        let with_gconv = self.selection.include.iter().any(|name| name == GCONV);
        let users = self.programs.into_iter().filter_map(|program| {
            let gconv = library_directory(&program.interpreter).join(GCONV);
            let gconv = Some(gconv).filter(|path| with_gconv && contents.items.contains_key(path));
            Some(User {
                place: contents.by_source.get(&program.path)?.clone(),
                loads: program.opener.names,
                gconv,
            })
        });
        Ok(users.collect())
    }

    /// Adds the needs of the ELF files from `first` on, and of the libraries that match `sonames`.
    fn files(
        &mut self,
        first: usize,
        sonames: &[String],
        contents: &mut Contents,
    ) -> Result<(), Refusal> {
        let mut libraries = Vec::new();
        let new = contents.elf[first..].to_vec();
        for path in new {
            let mut source = self.source(&path)?;
            let Ok(elf) = Elf::read(&mut source) else {
                continue;
            };
            let original = match Original::read(&self.selection.root, &path, elf, source) {
                Ok(original) => original,
                Err(error) if self.named.contains(&path) => return Err(error),
                Err(error) => {
                    contents.notes.push(error.to_string());
                    continue;
                }
            };
            if let Some(sidecar) = &original.sidecar
                && let Some(place) = contents.by_source.get(&path)
            {
                contents.file(sidecar_of(place), sidecar, Role::Data)?;
            }
            let elf = original.elf;
            match Kind::of(&elf, false) {
                Kind::Program => {
                    let asked_for = original.interpreter.unwrap_or_default();
                    let is_named = self.named.contains(&path);
                    self.program((&path, &elf), &asked_for, is_named, contents)?;
                }
                Kind::Library => libraries.push((path, elf)),
                _ => {}
            }
        }
        for pattern in sonames {
            self.soname(pattern)?;
        }
        for (path, elf) in libraries {
            self.library(&path, &elf, contents)?;
        }
        while let Some(next) = self.queue.pop_front() {
            self.opened(&next, contents)?;
        }
        Ok(())
    }

    /// Adds the needs of a program, whose dynamic linker is `asked_for`.
    fn program(
        &mut self,
        (path, elf): (&Path, &Elf),
        asked_for: &Path,
        is_named: bool,
        contents: &mut Contents,
    ) -> Result<(), Refusal> {
        let opened = self.interpreter(asked_for).and_then(|found| {
            match found.elf.target() == elf.target() {
                true => Ok(found),
                false => Err(anyhow::anyhow!("it is for {}", found.elf.target())),
            }
        });
        let interpreter = match opened {
            Ok(interpreter) => interpreter,
            Err(why) if is_named => {
                return Err(Refusal::NoLinker {
                    program: path.to_owned(),
                    interpreter: asked_for.to_owned(),
                    why: format!("{why:#}"),
                });
            }
            Err(_) => {
                let place = place(contents, path);
                contents.notes.push(format!(
                    "{place}: its dynamic linker {} does not exist",
                    asked_for.display()
                ));
                return Ok(());
            }
        };
        let directory = library_directory(&interpreter);
        let real = self
            .selection
            .root
            .existing(&interpreter.path)
            .map_err(|error| unreadable(&interpreter.path, &error))?;
        let at = directory.join(name(&interpreter.path));
        if contents.file(at.clone(), &real, Role::DynamicLinker)? {
            contents.because(&at, path, None);
        }
        let index = self.programs.len();
        self.programs.push(Program {
            path: path.to_owned(),
            interpreter: interpreter.clone(),
            opener: Opener::default(),
        });
        let missing = self.load(Dependent { path, elf }, index, None, contents)?;
        if missing.is_empty() {
            return Ok(());
        }
        if is_named {
            return Err(Refusal::Missing {
                program: path.to_owned(),
                missing,
            });
        }
        lacks(contents, path, &missing);
        Ok(())
    }

    /// The needs of a library that a program may open.
    fn library(&mut self, path: &Path, elf: &Elf, contents: &mut Contents) -> Result<(), Refusal> {
        let libc = Libc::of_library(elf);
        let fitting = |(_, program): &(usize, &Program)| {
            let own = &program.interpreter;
            own.elf.target() == elf.target() && libc.is_none_or(|libc| libc == own.libc)
        };
        let fitting = self.programs.iter().enumerate().filter(fitting);
        let fitting: Vec<usize> = fitting.map(|(index, _)| index).take(MAX_OPENERS).collect();
        let subject = Dependent { path, elf };
        let mut best: Option<(usize, usize)> = None;
        for index in fitting {
            let count = self.missing(subject, index).len();
            if best.is_none_or(|(least, _)| count < least) {
                best = Some((count, index));
            }
            if count == 0 {
                break;
            }
        }
        let Some((_, index)) = best else {
            return Ok(());
        };
        let missing = self.load(subject, index, Some(index), contents)?;
        if !missing.is_empty() {
            lacks(contents, path, &missing);
        }
        Ok(())
    }

    fn opened(&mut self, opened: &Opened, contents: &mut Contents) -> Result<(), Refusal> {
        let interpreter = self.programs[opened.program].interpreter.clone();
        self.put(
            &opened.path,
            opened.role,
            &opened.needed_by,
            None,
            &interpreter,
            contents,
        )?;
        let mut source = self.source(&opened.path)?;
        let Ok(elf) = Elf::read(&mut source) else {
            return Ok(());
        };
        let subject = Dependent {
            path: &opened.path,
            elf: &elf,
        };
        let missing = self.load(subject, opened.program, Some(opened.program), contents)?;
        if !missing.is_empty() {
            lacks(contents, &opened.path, &missing);
        }
        Ok(())
    }

    /// The libraries that match the soname `pattern`, as a program of the bundle finds them.
    fn soname(&mut self, pattern: &str) -> Result<(), Refusal> {
        let glob = Glob::new(pattern).map_err(|error| Refusal::BadPattern {
            pattern: pattern.to_owned(),
            why: error.to_string(),
        })?;
        let glob = glob.compile_matcher();
        let mut found = Vec::new();
        for (index, program) in self.programs.iter().enumerate() {
            let Some(linker) =
                Linker::new(&program.interpreter, &self.probe_cache, &self.surroundings)
            else {
                continue;
            };
            let defaults = program.interpreter.built_in().default.iter();
            let directories = program.opener.search.directories.iter().chain(defaults);
            let root = &self.selection.root;
            let entries = directories.flat_map(|one| {
                fs::read_dir(root.on_host(one))
                    .into_iter()
                    .flatten()
                    .flatten()
            });
            let names = entries
                .map(|entry| entry.file_name())
                .filter(|name| glob.is_match(name));
            // A name without a wildcard may be in ld.so.cache.
            let mut names: Vec<OsString> = names.chain([OsString::from(pattern)]).collect();
            names.sort_unstable();
            names.dedup();
            let elf = &program.interpreter.elf;
            let dependent = Dependent {
                path: &program.path,
                elf,
            };
            let search_list = linker.search_list([&program.opener.search]);
            let each = names
                .iter()
                .filter_map(|name| linker.find(name, dependent, &[&search_list]).ok());
            found.extend(each.map(|one| (one.path, index)));
        }
        if found.is_empty() {
            return Err(Refusal::NothingIncluded(pattern.to_owned()));
        }
        for (path, program) in found {
            let needed_by = self.programs[program].path.clone();
            self.enqueue(path, Role::Included, needed_by, program);
        }
        Ok(())
    }

    fn enqueue(&mut self, path: PathBuf, role: Role, needed_by: PathBuf, program: usize) {
        if self.queued.insert(path.clone()) {
            self.queue.push_back(Opened {
                path,
                role,
                needed_by,
                program,
            });
        }
    }

    /// The dynamic linker at `path`, read once.
    fn interpreter(&self, path: &Path) -> anyhow::Result<Rc<Interpreter>> {
        let known = self.programs.iter().map(|program| &program.interpreter);
        match known.clone().find(|known| known.path == path) {
            Some(known) => Ok(known.clone()),
            None => Interpreter::open_in(&self.selection.root, path).map(Rc::new),
        }
    }

    fn source(&self, path: &Path) -> Result<Source, Refusal> {
        let source = Source::open(&self.selection.root.on_host(path));
        source.map_err(|error| unreadable(path, &error))
    }

    /// The names that `subject` does not find when the program opens it.
    fn missing(&self, subject: Dependent<'_>, program: usize) -> Vec<OsString> {
        let program = &self.programs[program];
        let Some(linker) = Linker::new(&program.interpreter, &self.probe_cache, &self.surroundings)
        else {
            return Vec::new();
        };
        let mut policy = Collect::new(self.selection, Some(&program.opener));
        let own = linker.search_path(subject.path, subject.elf);
        Walk::new(&linker, subject, own, &[], &mut policy);
        policy.missing
    }

    /// Adds everything that the program loads for `subject`: itself, or a library that it opens as `opener`. Returns the names that are
    /// missing.
    fn load(
        &mut self,
        subject: Dependent<'_>,
        program: usize,
        opener: Option<usize>,
        contents: &mut Contents,
    ) -> Result<Vec<OsString>, Refusal> {
        let interpreter = self.programs[program].interpreter.clone();
        let opener_of = opener.map(|index| self.programs[index].opener.clone());
        let mut later: Vec<(PathBuf, Role, PathBuf)> = Vec::new();
        let mut names = HashSet::new();
        let (missing, own) = {
            let Some(linker) = Linker::new(&interpreter, &self.probe_cache, &self.surroundings)
            else {
                return Ok(Vec::new());
            };
            let own = linker.search_path(subject.path, subject.elf);
            let mut policy = Collect::new(self.selection, opener_of.as_ref());
            let walk = Walk::new(&linker, subject, own.clone(), &[], &mut policy);
            for node in &walk.nodes {
                let by = walk.dependent(node.by).path;
                let rule = node.found.rule.to_string();
                self.put(
                    &node.found.path,
                    Role::Library,
                    by,
                    Some(rule),
                    &interpreter,
                    contents,
                )?;
                names.insert(node.name.clone());
                names.extend(node.found.elf.soname().cloned());
            }
            for by in iter::once(None).chain((0..walk.nodes.len()).map(Some)) {
                self.add_names(&walk, by, &interpreter, contents);
                let dependent = walk.dependent(by);
                let search_list = policy.search_list(&walk, by);
                for opened in &dependent.elf.opened {
                    let mut all = opened.soname.iter().map(OsStr::new);
                    if opened.priority == Priority::Suggested
                        || all
                            .clone()
                            .any(|name| self.selection.exclude.is_match(name))
                    {
                        continue;
                    }
                    let found =
                        all.find_map(|name| linker.find(name, dependent, &[&search_list]).ok());
                    later.extend(
                        found.map(|found| (found.path, Role::Opened, dependent.path.to_owned())),
                    );
                }
            }
            let of_libc = OfLibc {
                selection: self.selection,
                probe_cache: &self.probe_cache,
            };
            of_libc.add(&walk, &policy, contents, &mut later)?;
            contents.left_to_host.extend(policy.excluded);
            contents.missing.extend(policy.ignored);
            (policy.missing, own)
        };
        for (path, role, needed_by) in later {
            self.enqueue(path, role, needed_by, program);
        }
        if opener.is_none() {
            self.programs[program].opener = Opener { names, search: own };
        }
        Ok(missing)
    }

    /// Adds links for names by which files ask for a library that has another file name.
    fn add_names(
        &self,
        walk: &Walk<'_>,
        by: Option<usize>,
        interpreter: &Interpreter,
        contents: &mut Contents,
    ) {
        for needed in walk.dependent(by).elf.needed() {
            let Some(node) = walk.node(needed).map(|index| &walk.nodes[index]) else {
                continue;
            };
            if name(&node.found.path) == needed || needed.to_string_lossy().contains('/') {
                continue;
            }
            let real = self.probe_cache.real(&node.found.path);
            if let Some(place) = contents.by_source.get(&real).cloned() {
                contents.name(
                    library_directory(interpreter).join(needed),
                    &place,
                    Role::Library,
                );
            }
        }
    }

    /// Adds the library at `path`, and its variants for some processors.
    fn put(
        &self,
        path: &Path,
        role: Role,
        needed_by: &Path,
        rule: Option<String>,
        interpreter: &Interpreter,
        contents: &mut Contents,
    ) -> Result<(), Refusal> {
        let directory = library_directory(interpreter);
        let root = &self.selection.root;
        let real = root
            .existing(path)
            .map_err(|error| unreadable(path, &error))?;
        let above = path.parent().unwrap_or(Path::new("/"));
        let by_name = self.probe_cache.real(above).join(name(path));
        if contents.by_source.contains_key(&by_name) {
            return Ok(());
        }
        if let Some(place) = contents.by_source.get(&real).cloned() {
            if name(&place) != name(path) {
                contents.name(directory.join(name(path)), &place, role);
            }
            return Ok(());
        }
        let place = directory.join(name(path));
        if contents.file(place.clone(), &real, role)? {
            contents.because(&place, needed_by, rule);
        }
        let hwcaps = above.join("glibc-hwcaps");
        let levels = fs::read_dir(root.on_host(&hwcaps))
            .into_iter()
            .flatten()
            .flatten();
        for level in levels {
            let variant = hwcaps.join(level.file_name()).join(name(path));
            let Ok(real) = root.existing(&variant) else {
                continue;
            };
            let place = directory
                .join("glibc-hwcaps")
                .join(level.file_name())
                .join(name(path));
            if contents.file(place.clone(), &real, role)? {
                contents.because(&place, needed_by, None);
            }
        }
        Ok(())
    }
}

fn lacks(contents: &mut Contents, path: &Path, missing: &[OsString]) {
    let names: Vec<String> = missing
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let place = place(contents, path);
    contents
        .notes
        .push(format!("{place}: missing {}", names.join(", ")));
}

/// The path in the bundle of a file, for a message.
fn place(contents: &Contents, path: &Path) -> String {
    let place = contents.by_source.get(path);
    place.map_or(path, PathBuf::as_path).display().to_string()
}
