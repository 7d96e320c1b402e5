//! Launchers: a script, or a program that needs variables in its environment, moves from DIR/NAME to .DIR.launched/NAME, and a launcher
//! takes its place. There, it has the same name, `..` leads to the same directory as before, and links lead to the other files of DIR.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::contents::{Contents, Item, Kind, Role};
use super::launcher::{Settings, Variable, in_bundle};
use super::layout::{link_target, name};
use super::script::{self, Start, on_path};
use crate::system::sidecar_path::sidecar_of;
use elf_file::{Identity, Source, identify};
use sys::arch::ElfTarget;

/// Directories whose scripts are programs: some scripts elsewhere are read by other programs, too.
const OF_PROGRAMS: [&str; 4] = ["bin", "sbin", "libexec", "git-core"];

/// The end of the names of directories for the files that launchers start.
const ENDING: &str = ".launched";

/// At most so many links, or interpreters of interpreters, are followed.
const MAX_DEPTH: usize = 8;

/// Adds the launchers of scripts whose interpreter is in the bundle, and of the programs with `variables`, by their path in the bundle.
pub(super) fn add(contents: &mut Contents, variables: BTreeMap<PathBuf, Vec<Variable>>) {
    let mut scripts = BTreeSet::new();
    for (path, start) in starts(contents) {
        scripts.extend(launch_script(contents, &path, &start).then_some(path));
    }
    for (path, variables) in variables {
        launch_program(contents, &path, variables);
    }
    for (link, script) in links_to(contents, &scripts) {
        launch_link(contents, &link, &script);
    }
    complete(&mut contents.items);
}

/// The scripts that are programs, with their interpreters.
fn starts(contents: &Contents) -> Vec<(PathBuf, Start)> {
    let scripts = contents.items.iter().filter(|(path, item)| {
        item.kind == Kind::File && !item.is_elf && is_program(path, &contents.programs)
    });
    let start = |(path, item): (&PathBuf, &Item)| {
        let line = script::line(&contents.root, &item.source)?;
        Some((path.clone(), start_of(contents, &line)?))
    };
    scripts.filter_map(start).collect()
}

fn start_of(contents: &Contents, line: &str) -> Option<Start> {
    Start::of(line, |name| on_path(&contents.root, name))
}

/// Whether the file at `path` is a program, and not read by other ones.
fn is_program(path: &Path, named: &[PathBuf]) -> bool {
    let directory = path.parent().unwrap_or(Path::new(""));
    let is_usual = OF_PROGRAMS.iter().any(|name| directory.ends_with(name));
    let is_below = directory
        .parent()
        .is_some_and(|above| above.ends_with("libexec"));
    let is_read = path.extension().is_some_and(|end| end == "sh");
    named.iter().any(|one| one == path) || (is_usual || is_below) && !is_read
}

/// Puts a launcher in the place of a script. Returns false if its interpreter is not in the bundle.
fn launch_script(contents: &mut Contents, path: &Path, start: &Start) -> bool {
    let Some((interpreter, target)) = interpreter(contents, start) else {
        return false;
    };
    let script = moved(path);
    let arguments = start.arguments.iter().map(|one| one.clone().into_bytes());
    let settings = Settings {
        program: in_bundle(&interpreter),
        arguments: arguments.chain([in_bundle(&script)]).collect(),
        variables: Vec::new(),
    };
    put(contents, path, &settings, target, &script)
}

/// The path in the bundle of the interpreter, by the name with which it is called, and for which machine it is.
fn interpreter(contents: &mut Contents, start: &Start) -> Option<(PathBuf, ElfTarget)> {
    let called = start.name();
    let real = contents.root.existing(&start.interpreter).ok();
    let by_file = real.and_then(|real| contents.by_source.get(&real).cloned());
    let by_name = || {
        let mut programs = contents.programs.iter();
        programs.find(|path| name(path) == called).cloned()
    };
    let place = by_file.or_else(by_name)?;
    let target = target(contents, &place, 0)?;
    let named = unmoved(&place).with_file_name(&called);
    let to = unmoved(&place);
    contents.name(named.clone(), &to, Role::Program);
    Some((named, target))
}

impl Contents {
    /// For which machine the program at `path` is.
    pub fn target(&self, path: &Path) -> Option<ElfTarget> {
        target(self, path, 0)
    }
}

/// The machine of the program at `place`: of a script, that of its interpreter.
fn target(contents: &Contents, place: &Path, depth: usize) -> Option<ElfTarget> {
    let place = followed(contents, place)?;
    let item = contents.items.get(&place)?;
    if matches!(item.kind, Kind::Made { .. }) {
        return target(contents, &moved(&place), depth);
    }
    let source = contents.root.on_host(&item.source);
    match identify(&mut Source::open(&source).ok()?).ok()? {
        Identity::Elf { target, .. } => Some(target),
        Identity::Script(line) if depth < MAX_DEPTH => {
            let start = start_of(contents, &line)?;
            let real = contents.root.existing(&start.interpreter).ok()?;
            target(contents, contents.by_source.get(&real)?, depth + 1)
        }
        _ => None,
    }
}

fn launch_program(contents: &mut Contents, path: &Path, variables: Vec<Variable>) {
    let Some(target) = target(contents, path, 0) else {
        return;
    };
    let program = moved(path);
    let settings = Settings {
        program: in_bundle(&program),
        arguments: Vec::new(),
        variables,
    };
    put(contents, path, &settings, target, &program);
}

/// Moves the file at `path` to `to`, and puts a launcher in its place.
fn put(
    contents: &mut Contents,
    path: &Path,
    settings: &Settings,
    target: ElfTarget,
    to: &Path,
) -> bool {
    let Some(content) = settings.launcher(target, path) else {
        contents.notes.push(format!(
            "{}: no launcher can be made for it: its settings are too long, or this build is without {target}",
            path.display()
        ));
        return false;
    };
    let Some(item) = contents.items.remove(path) else {
        return false;
    };
    let made = Item::made(content, 0o755, &item.source, Role::Launcher);
    contents.items.insert(to.to_owned(), item);
    contents.items.insert(path.to_owned(), made);
    if let Some(sidecar) = contents.items.remove(&sidecar_of(path)) {
        contents.items.insert(sidecar_of(to), sidecar);
    }
    for place in contents.by_source.values_mut().filter(|one| *one == path) {
        *place = to.to_owned();
    }
    true
}

/// The links that lead to `scripts`, each with its target. A script may use the name by which it was started.
fn links_to(contents: &Contents, scripts: &BTreeSet<PathBuf>) -> Vec<(PathBuf, PathBuf)> {
    let links = contents
        .items
        .iter()
        .filter(|(_, item)| matches!(item.kind, Kind::Link(_)));
    let ends = links.filter_map(|(path, _)| Some((path.clone(), followed(contents, path)?)));
    ends.filter(|(_, end)| scripts.contains(end)).collect()
}

/// Puts a launcher in the place of the link at `path` to the script whose launcher is at `script`.
fn launch_link(contents: &mut Contents, path: &Path, script: &Path) {
    let line = contents
        .items
        .get(&moved(script))
        .and_then(|item| script::line(&contents.root, &item.source));
    let Some(start) = line.and_then(|line| start_of(contents, &line)) else {
        return;
    };
    if launch_script(contents, path, &start)
        && let Some(item) = contents.items.get_mut(&moved(path))
    {
        item.kind = Kind::Link(link_target(&moved(path), &moved(script)));
    }
}

/// Adds links to each directory of launched files, for the other files of the directory that they were in. Returns the paths of new links.
pub fn complete(items: &mut BTreeMap<PathBuf, Item>) -> Vec<PathBuf> {
    let directories: BTreeSet<PathBuf> = items
        .keys()
        .filter_map(|path| path.parent())
        .filter(|directory| name(directory).to_string_lossy().ends_with(ENDING))
        .map(Path::to_owned)
        .collect();
    let mut added = Vec::new();
    for directory in directories {
        let of = unmoved(&directory.join("x"));
        let of = of.parent().unwrap_or(Path::new(""));
        let below = items.keys().filter_map(|path| path.strip_prefix(of).ok());
        let names: BTreeSet<OsString> = below
            .filter_map(|rest| rest.iter().next().map(OsString::from))
            .filter(|name| !name.to_string_lossy().ends_with(ENDING))
            .collect();
        for name in names {
            let link = directory.join(&name);
            if !items.contains_key(&link) {
                let target = of.join(&name);
                let kind = Kind::Link(link_target(&link, &target));
                let of = items.get(&target);
                let source = of.map_or(&target, |item| &item.source);
                let item = Item {
                    on_host: of.map_or(&target, |item| &item.on_host).clone(),
                    ..Item::new(kind, source, Role::Launcher)
                };
                items.insert(link.clone(), item);
                added.push(link);
            }
        }
    }
    added
}

/// The path to which the file at `path` moves.
fn moved(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut own = OsString::from(if directory == Path::new("") { "" } else { "." });
    own.push(name(directory));
    own.push(ENDING);
    directory
        .parent()
        .unwrap_or(Path::new(""))
        .join(own)
        .join(name(path))
}

/// The path of which `path` is the [`moved`] one, or `path` itself.
fn unmoved(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new(""));
    let own = name(directory).to_string_lossy();
    match own
        .strip_suffix(ENDING)
        .map(|own| own.trim_start_matches('.'))
    {
        Some(own) => directory.with_file_name("").join(own).join(name(path)),
        None => path.to_owned(),
    }
}

/// Whether the file at `path` is started by a launcher.
pub fn is_launched(path: &Path) -> bool {
    unmoved(path) != path
}

/// The end of the links at `path`, if it is in the bundle.
fn followed(contents: &Contents, path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_DEPTH {
        match &contents.items.get(&path)?.kind {
            Kind::Link(target) => {
                path = normal(&path.parent().unwrap_or(Path::new("")).join(target))
            }
            _ => return Some(path),
        }
    }
    None
}

/// `path` without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            _ => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_files_keep_their_name_and_the_directory_above() {
        for (path, expected) in [
            ("bin/x", ".bin.launched/x"),
            ("lib/git-core/x", "lib/.git-core.launched/x"),
            ("x", ".launched/x"),
        ] {
            assert_eq!(moved(Path::new(path)), Path::new(expected));
            assert_eq!(unmoved(Path::new(expected)), Path::new(path));
            assert!(is_launched(Path::new(expected)) && !is_launched(Path::new(path)));
        }
    }
}
