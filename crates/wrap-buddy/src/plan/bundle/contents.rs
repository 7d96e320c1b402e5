//! The files of a bundle.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::layout::{Layout, link_target};
use elf_file::{FileId, io_reason, open_regular};
use ldso::Root;

/// Why a file is in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// You named it.
    Program,
    /// A program of the bundle asks for it.
    DynamicLinker,
    /// A file of the bundle loads it.
    Library,
    /// A file of the bundle opens it with dlopen (`.note.dlopen`).
    Opened,
    /// The C library opens it: for names of users and hosts, to convert texts, or to unwind the stack.
    OfLibc,
    /// A launcher, which starts a script with its interpreter, or a program with variables; or a link next to what it starts.
    Launcher,
    /// The `#!` line of a script that you named names it.
    Interpreter,
    /// `--include` names it.
    Included,
    /// It is in a prefix of a program, or in one that you named; or a program or library opens it, as a table says.
    Data,
}

impl Role {
    /// In words, for a report.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::DynamicLinker => "dynamic linker",
            Self::Library => "library",
            Self::Opened => "opened",
            Self::OfLibc => "opened by libc",
            Self::Launcher => "launcher",
            Self::Interpreter => "interpreter",
            Self::Included => "--include",
            Self::Data => "data",
        }
    }
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    /// A file that is made for the bundle, with its permission bits.
    Made {
        content: Vec<u8>,
        mode: u32,
    },
    /// A symbolic link with this target, relative to the directory of the link.
    Link(PathBuf),
}

/// A file of a bundle.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    /// The file in its root; of a link that exists for the bundle alone, the file that it leads to.
    pub source: PathBuf,
    /// Where that file is on this machine, if it is below another root.
    pub on_host: PathBuf,
    pub role: Role,
    /// The file that needs it.
    pub needed_by: Option<PathBuf>,
    /// The rule by which ld.so finds it there.
    pub rule: Option<String>,
    /// Length in bytes, of files.
    pub size: u64,
    /// The identity of a file with other names (hard links).
    pub id: Option<FileId>,
    pub is_elf: bool,
}

/// The files of a bundle, by their path below it.
#[derive(Debug, Default)]
pub struct Contents {
    pub(super) root: Root,
    pub items: BTreeMap<PathBuf, Item>,
    /// The path in the bundle of each file on this machine, which is free of symbolic links.
    pub by_source: HashMap<PathBuf, PathBuf>,
    /// ELF files, in the bundle's order.
    pub(super) elf: Vec<PathBuf>,
    /// Links of this machine, whose targets are not known yet.
    links: Vec<(PathBuf, PathBuf, Role)>,
    /// Programs that you named, by their path below the bundle.
    pub programs: Vec<PathBuf>,
    /// Sonames that stay the host's.
    pub left_to_host: BTreeSet<OsString>,
    /// Sonames that are missing, and may be.
    pub missing: BTreeSet<OsString>,
    pub notes: Vec<String>,
}

impl Contents {
    /// No files yet, of `root`.
    pub(super) fn of(root: &Root) -> Self {
        Self {
            root: root.clone(),
            ..Self::default()
        }
    }

    /// Adds the regular file `source`, free of symbolic links, at `path`. Returns false if that file is there already.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if another file is there.
    pub(super) fn file(
        &mut self,
        path: PathBuf,
        source: &Path,
        role: Role,
    ) -> Result<bool, Refusal> {
        let metadata = metadata(&self.root, source)?;
        if let Some(known) = self.items.get(&path) {
            if known.kind == Kind::File
                && (known.source == source || same(&self.root, &known.source, source)?)
            {
                self.by_source.insert(source.to_owned(), path);
                return Ok(false);
            }
            return Err(Refusal::Conflict {
                path,
                one: known.source.clone(),
                other: source.to_owned(),
            });
        }
        let is_elf = is_elf(&self.root, source)?;
        if is_elf {
            self.elf.push(source.to_owned());
        }
        self.by_source.insert(source.to_owned(), path.clone());
        self.items.insert(
            path,
            Item {
                is_elf,
                ..Item::copied(Kind::File, source, &metadata, role)
            },
        );
        Ok(true)
    }

    pub(super) fn directory(&mut self, path: PathBuf, source: &Path, role: Role) {
        if path != Path::new("") {
            self.items
                .entry(path)
                .or_insert_with(|| Item::new(Kind::Directory, source, role));
        }
    }

    /// Adds the symbolic link `source`. Its target is decided when all files are known.
    pub(super) fn link(&mut self, path: PathBuf, source: &Path, role: Role) {
        self.links.push((path, source.to_owned(), role));
    }

    /// Adds a link at `path` to the file `to` of the bundle, unless something is there.
    pub(super) fn name(&mut self, path: PathBuf, to: &Path, role: Role) {
        let Some(item) = self.items.get(to) else {
            return;
        };
        let target = link_target(&path, to);
        let item = Item {
            needed_by: item.needed_by.clone(),
            ..Item::new(Kind::Link(target), &item.source, role)
        };
        self.items.entry(path).or_insert(item);
    }

    /// Records what needs the file at `place`, and how it is found.
    pub(super) fn because(&mut self, place: &Path, needed_by: &Path, rule: Option<String>) {
        if let Some(item) = self.items.get_mut(place) {
            item.needed_by = Some(needed_by.to_owned());
            item.rule = rule;
        }
    }

    /// Decides what each link becomes: a link, if its target is in the bundle, or else a copy of the file that it leads to.
    pub(super) fn resolve_links(&mut self, layout: &Layout) -> Result<(), Refusal> {
        for (path, source, role) in std::mem::take(&mut self.links) {
            self.by_source
                .entry(source.clone())
                .or_insert_with(|| path.clone());
            if self.items.contains_key(&path) {
                continue;
            }
            let target = fs::read_link(self.root.entry_on_host(&source))
                .map_err(|error| unreadable(&source, &error))?;
            let Ok(real) = self.root.existing(&source) else {
                self.notes.push(format!(
                    "{}: the link leads to {}, which does not exist",
                    path.display(),
                    target.display()
                ));
                self.items
                    .insert(path, Item::new(Kind::Link(target), &source, role));
                continue;
            };
            let placed = self.by_source.get(&real).cloned().or_else(|| {
                let placed = layout.place(&real);
                let known = self.items.get(&placed);
                known
                    .is_some_and(|known| known.source == real)
                    .then_some(placed)
            });
            match placed {
                Some(placed) => {
                    let target = link_target(&path, &placed);
                    self.items
                        .insert(path, Item::new(Kind::Link(target), &source, role));
                }
                None if self.root.real_on_host(&real).is_file() => {
                    self.file(path, &real, role)?;
                }
                None => {
                    self.notes.push(format!(
                        "{}: the link leads to {}, which is not in the bundle; add it with --include",
                        path.display(),
                        real.display()
                    ));
                    self.items
                        .insert(path, Item::new(Kind::Link(target), &source, role));
                }
            }
        }
        Ok(())
    }

    /// The sum of all sizes, in bytes. Names of one file count once, as they are written.
    pub fn size(&self) -> u64 {
        let mut known = HashSet::new();
        let items = self.items.iter().filter(|(path, item)| {
            // A program finds its sidecar in its own directory.
            let directory = item.is_elf.then(|| path.parent());
            item.id.is_none_or(|id| known.insert((id, directory)))
        });
        items.map(|(_, item)| item.size).sum()
    }
}

impl Item {
    /// A file of an earlier bundle, with its `metadata`.
    pub fn copied(kind: Kind, source: &Path, metadata: &Metadata, role: Role) -> Self {
        let is_file = kind == Kind::File;
        Self {
            size: if is_file { metadata.len() } else { 0 },
            id: (is_file && metadata.nlink() > 1).then(|| FileId::from(metadata)),
            ..Self::new(kind, source, role)
        }
    }

    /// A file that is made because of `source`.
    pub(super) fn made(content: Vec<u8>, mode: u32, source: &Path, role: Role) -> Self {
        Self {
            size: content.len() as u64,
            ..Self::new(Kind::Made { content, mode }, source, role)
        }
    }

    pub(super) fn new(kind: Kind, source: &Path, role: Role) -> Self {
        Self {
            kind,
            source: source.to_owned(),
            on_host: source.to_owned(),
            role,
            needed_by: None,
            rule: None,
            size: 0,
            id: None,
            is_elf: false,
        }
    }
}

pub(super) fn metadata(root: &Root, path: &Path) -> Result<Metadata, Refusal> {
    fs::metadata(root.on_host(path)).map_err(|error| unreadable(path, &error))
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::Unreadable {
        path: path.to_owned(),
        why: io_reason(error),
    }
}

fn is_elf(root: &Root, path: &Path) -> Result<bool, Refusal> {
    let mut head = Vec::new();
    let file = open_regular(&root.on_host(path)).map_err(|error| unreadable(path, &error))?;
    file.take(4)
        .read_to_end(&mut head)
        .map_err(|error| unreadable(path, &error))?;
    Ok(head == object::elf::ELFMAG)
}

/// Whether two files have the same content.
fn same(root: &Root, one: &Path, other: &Path) -> Result<bool, Refusal> {
    let content = |path: &Path| {
        let content = fs::read(root.on_host(path));
        content.map_err(|error| unreadable(path, &error))
    };
    let len = |path: &Path| metadata(root, path).map(|found| found.len());
    Ok(len(one)? == len(other)? && content(one)? == content(other)?)
}
