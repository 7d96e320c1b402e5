//! The files that you named: programs, prefixes and patterns.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use walkdir::WalkDir;

use super::contents::{metadata, unreadable};
use super::layout::{Layout, name};
use super::of_libc::GCONV;
use super::original::Original;
use super::script::{Start, on_path};
use super::{Contents, Refusal, Role, Selection};
use crate::system::privilege::Privilege;
use crate::system::sidecar_path::{is_links_name, is_own_file_name};
use elf_file::{Elf, Identity, Kind, Source, identify, io_reason};
use ldso::Root;

/// Adds the named programs, and the interpreters of scripts. Returns their paths, free of symbolic links.
pub(super) fn programs(
    selection: &Selection,
    layout: &mut Layout,
    contents: &mut Contents,
) -> Result<Vec<PathBuf>, Refusal> {
    let mut all: Vec<(PathBuf, PathBuf, Option<PathBuf>)> = Vec::new();
    let named = selection.programs.iter();
    let mut waiting: VecDeque<(PathBuf, Option<PathBuf>)> =
        named.map(|path| (path.clone(), None)).collect();
    while let Some((shown, script)) = waiting.pop_front() {
        let root = &selection.root;
        let real = match script {
            None => root.locate(&shown),
            Some(_) => root.existing(&shown),
        };
        let real = real.map_err(|error| match &script {
            None => unreadable(&shown, &error),
            Some(script) => Refusal::NoInterpreter {
                script: script.clone(),
                interpreter: shown.clone(),
                why: io_reason(&error),
            },
        })?;
        if script.is_some() && all.iter().any(|(known, ..)| *known == shown) {
            continue;
        }
        if let Some(start) = checked(root, &shown, &real)? {
            waiting.push_back((start.interpreter, Some(real.clone())));
        }
        if script.is_none() {
            layout.add_prefix_of(&real);
        }
        all.push((shown, real, script));
    }
    for (shown, real, script) in &all {
        let place = layout.place_program(real);
        let role = match script {
            Some(_) => Role::Interpreter,
            None => Role::Program,
        };
        contents.file(place.clone(), real, role)?;
        if let Some(item) = contents
            .items
            .get_mut(&place)
            .filter(|item| item.role == role)
        {
            item.needed_by = item.needed_by.take().or(script.clone());
        }
        let mut places = vec![place.clone()];
        // A name that is a link, such as python3, and one for a program that is in a directory of its own.
        let link = Path::new("bin").join(name(shown));
        if name(shown) != name(&place) || place.starts_with("lib") {
            contents.name(link.clone(), &place, role);
            places.push(link);
        }
        if script.is_none() {
            contents.programs.extend(places);
        }
    }
    Ok(all.into_iter().map(|(_, real, _)| real).collect())
}

/// Refuses what cannot be a program of a bundle. Returns how a script is started.
fn checked(root: &Root, shown: &Path, real: &Path) -> Result<Option<Start>, Refusal> {
    let metadata = metadata(root, real)?;
    if metadata.is_dir() {
        return Err(Refusal::Directory(shown.to_owned()));
    }
    let malformed = |error: anyhow::Error| Refusal::Unreadable {
        path: shown.to_owned(),
        why: format!("{error:#}"),
    };
    let is_executable = metadata.permissions().mode() & 0o111 != 0;
    let mut source =
        Source::open(&root.real_on_host(real)).map_err(|error| unreadable(shown, &error))?;
    match identify(&mut source).map_err(malformed)? {
        Identity::Elf { .. } => {}
        Identity::Script(_) if !is_executable => {
            return Err(Refusal::NotExecutable(shown.to_owned()));
        }
        Identity::Script(line) => {
            let start = Start::of(&line, |name| on_path(root, name));
            return start.map(Some).ok_or_else(|| Refusal::Script {
                path: shown.to_owned(),
                interpreter: line.trim().to_owned(),
            });
        }
        Identity::Malformed(why) => {
            return Err(Refusal::Unreadable {
                path: shown.to_owned(),
                why,
            });
        }
        Identity::Other => return Err(Refusal::NoProgram(shown.to_owned())),
    }
    if Privilege::of(source.file(), source.metadata()).is_some() {
        return Err(Refusal::Privileged(shown.to_owned()));
    }
    let elf = Elf::read(&mut source).map_err(malformed)?;
    let elf = Original::read(root, real, elf, source)?.elf;
    match Kind::of(&elf, false) {
        Kind::Program | Kind::StaticProgram | Kind::StaticPie => {}
        _ => return Err(Refusal::NoProgram(shown.to_owned())),
    }
    match is_executable {
        false => Err(Refusal::NotExecutable(shown.to_owned())),
        true => Ok(None),
    }
}

/// Adds the files of the prefixes.
pub(super) fn prefixes(layout: &Layout, contents: &mut Contents) -> Result<(), Refusal> {
    for prefix in &layout.copied {
        directory(prefix, Role::Data, layout, contents)?;
    }
    Ok(())
}

fn directory(
    top: &Path,
    role: Role,
    layout: &Layout,
    contents: &mut Contents,
) -> Result<(), Refusal> {
    let root = contents.root.clone();
    let walk = WalkDir::new(root.real_on_host(top)).sort_by_file_name();
    let inside = |entry: &walkdir::DirEntry| root.of_host(entry.path());
    let is_data = |entry: &walkdir::DirEntry| Some(inside(entry)) != layout.output;
    for entry in walk.into_iter().filter_entry(is_data) {
        let entry = entry.map_err(|error| Refusal::Unreadable {
            path: error.path().unwrap_or(top).to_owned(),
            why: error.to_string(),
        })?;
        add(&inside(&entry), role, layout, contents)?;
    }
    Ok(())
}

/// Adds the file or directory at `path`, which is free of symbolic links.
pub(super) fn add_any(
    path: &Path,
    role: Role,
    layout: &Layout,
    contents: &mut Contents,
) -> Result<(), Refusal> {
    match contents.root.real_on_host(path).is_dir() {
        true => directory(path, role, layout, contents),
        false => add(path, role, layout, contents),
    }
}

/// Adds the file at `path`, whose directory is free of symbolic links.
fn add(path: &Path, role: Role, layout: &Layout, contents: &mut Contents) -> Result<(), Refusal> {
    let found = contents.root.real_on_host(path);
    let found = found
        .symlink_metadata()
        .map_err(|error| unreadable(path, &error))?;
    let kind = found.file_type();
    let place = layout.place(path);
    if contents.by_source.contains_key(path) {
        return Ok(());
    }
    if kind.is_dir() {
        contents.directory(place, path, role);
    } else if kind.is_symlink() {
        contents.link(place, path, role);
    } else if kind.is_file() {
        if found.permissions().mode() & 0o6000 != 0 {
            contents
                .notes
                .push(format!("{} is set-id; its copy is not", path.display()));
        }
        contents.file(place, path, role)?;
    } else {
        contents.notes.push(format!(
            "{} is not a regular file; it is left out",
            path.display()
        ));
    }
    Ok(())
}

/// Adds the files that `--include` names. Returns the patterns of sonames.
pub(super) fn included(
    selection: &Selection,
    layout: &Layout,
    contents: &mut Contents,
) -> Result<Vec<String>, Refusal> {
    let (paths, sonames): (Vec<_>, Vec<_>) = selection
        .include
        .iter()
        .filter(|pattern| *pattern != GCONV)
        .cloned()
        .partition(|pattern| pattern.contains('/'));
    for pattern in paths {
        let bad = |why: String| Refusal::BadPattern {
            pattern: pattern.clone(),
            why,
        };
        let root = &selection.root;
        let absolute = root
            .inside(Path::new(&pattern))
            .map_err(|error| bad(error.to_string()))?;
        let before = contents.items.len() + contents.by_source.len();
        let base = literal(&absolute);
        let Ok(real) = root.existing(&base) else {
            return Err(Refusal::NothingIncluded(pattern));
        };
        if base == absolute {
            match root.real_on_host(&real).is_dir() {
                true => directory(&real, Role::Included, layout, contents)?,
                // A link keeps its name.
                false => {
                    let above = base.parent().and_then(|above| root.existing(above).ok());
                    let path = above.unwrap_or_default().join(name(&base));
                    add(&real, Role::Included, layout, contents)?;
                    add(&path, Role::Included, layout, contents)?;
                }
            }
            continue;
        }
        let rest = absolute.strip_prefix(&base).unwrap_or(Path::new("**"));
        let glob = GlobBuilder::new(&rest.to_string_lossy())
            .literal_separator(true)
            .build();
        let glob = glob
            .map_err(|error| bad(error.to_string()))?
            .compile_matcher();
        let mut matches = 0;
        for entry in WalkDir::new(root.real_on_host(&real)).sort_by_file_name() {
            let Ok(entry) = entry else { continue };
            let path = root.of_host(entry.path());
            let below = path.strip_prefix(&real).unwrap_or(Path::new(""));
            if glob.is_match(below) && !is_own(entry.file_name()) {
                matches += 1;
                add(&path, Role::Included, layout, contents)?;
            }
        }
        if matches == 0 && before == contents.items.len() + contents.by_source.len() {
            return Err(Refusal::NothingIncluded(pattern));
        }
    }
    Ok(sonames)
}

/// The directories of `pattern` before the first part with a wildcard.
fn literal(pattern: &Path) -> PathBuf {
    let has_wildcard = |part: &OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
    let parts = pattern.components();
    parts
        .take_while(|part| !has_wildcard(part.as_os_str()))
        .collect()
}

/// Whether the tool made a file of this name.
fn is_own(name: &OsStr) -> bool {
    is_own_file_name(name) || is_links_name(name)
}
