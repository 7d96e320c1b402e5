//! The libraries that a dynamic linker lists, and those that the tool expects.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use e2e::Output;
use elf_file::{Dynamic, Elf, Source};
use ldso::{Cause, Dependent, Linker, ProbeCache, Rule, Surroundings, Tree};
use ldso::{Interpreter, Libc};

/// The loaded libraries, as name and path, and the names that were not found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub found: BTreeSet<(String, String)>,
    pub missing: BTreeSet<String>,
    /// ld.so calls files without a DT_NEEDED static and lists nothing, not even their filtees (glibc elf/rtld.c, dl_main).
    pub is_silent: bool,
    /// A file that makes the dynamic linker fail.
    pub fatal: Option<String>,
}

impl Listed {
    /// Parses the output of `ld.so --list`.
    pub fn parse(output: &Output, interpreter: &Interpreter) -> Listed {
        let mut listed = Listed::default();
        for line in output.stdout.lines().map(str::trim) {
            listed.is_silent |= line == "statically linked";
            let (name, rest) = line.split_once(" => ").unwrap_or((line, line));
            if rest == "not found" {
                listed.missing.insert(name.into());
                continue;
            }
            let path = rest.rsplit_once(" (0x").map_or(rest, |(path, _)| path);
            let name = name.rsplit_once(" (0x").map_or(name, |(name, _)| name);
            // ld.so has the name of PT_INTERP, which may be any.
            let own = [name, path].iter().any(|one| {
                let name = Path::new(one).file_name();
                name.is_some_and(|name| interpreter.provides(name))
            });
            if !own && !name.starts_with("linux-") && path.contains('/') {
                listed.found.insert((name.into(), path.into()));
            }
        }
        let glibc = "error while loading shared libraries: ";
        for line in output.stderr.lines() {
            if let Some((_, what)) = line.split_once(glibc) {
                listed.fatal = what.split(": ").next().map(str::to_owned);
            }
            if let Some(rest) = line.strip_prefix("Error loading shared library ") {
                let name = rest.split(": ").next().unwrap_or_default();
                listed.missing.insert(name.to_owned());
            }
        }
        listed
    }

    /// Parses the tree of a program, as `check --tree` prints it.
    pub fn of_tree<'t>(lines: impl Iterator<Item = &'t str>, interpreter: &Interpreter) -> Listed {
        let mut listed = Listed::default();
        for line in lines {
            let Some((name, rest)) = line.trim().split_once(" => ") else {
                continue;
            };
            if rest.starts_with("not found") {
                listed.missing.insert(name.into());
                continue;
            }
            let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
            let file_name = Path::new(path).file_name().unwrap_or_default();
            if !interpreter.provides(name.as_ref()) && !interpreter.provides(file_name) {
                listed.found.insert((name.into(), path.into()));
            }
        }
        listed
    }

    /// The same without the names by which libraries are loaded: a tree may show another name first.
    pub fn paths(&self) -> BTreeSet<&str> {
        self.found.iter().map(|(_, path)| path.as_str()).collect()
    }

    /// The libraries that the tool expects `interpreter` to load for the file at `path`, inside its root, and the files that would
    /// make it fail.
    pub fn modelled(
        interpreter: &Interpreter,
        probe_cache: &ProbeCache,
        surroundings: &Surroundings,
        path: &Path,
    ) -> (Listed, Vec<String>) {
        let mut source =
            Source::open(&probe_cache.root().on_host(path)).expect("a file to look at");
        let elf = Elf::read(&mut source).expect("an ELF file");
        let linker =
            Linker::new(interpreter, probe_cache, surroundings).expect("a known architecture");
        let tree = Tree::of(&linker, Dependent { path, elf: &elf }, None);
        let text = |path: &Path| path.display().to_string();
        let found = tree.nodes.iter().map(|node| {
            let at = text(&node.found.path);
            // ld.so prints a path with its tokens expanded as the name.
            let is_path = node.found.rule == Rule::Path;
            let name = node.name.display().to_string();
            (if is_path { at.clone() } else { name }, at)
        });
        let missing = tree.missing.iter().map(|missing| &missing.name);
        // ld.so lists those too, but not libraries that it could not preload.
        let auxiliary = tree.optional.iter();
        let auxiliary = auxiliary.filter(|one| one.cause == Cause::Filtee);
        let missing = missing.chain(auxiliary.map(|one| &one.name));
        let missing = missing.map(|name| name.display().to_string());
        let near_misses = tree.missing.iter().flat_map(|missing| &missing.near_misses);
        let near_misses = near_misses.map(|near_misses| text(&near_misses.path));
        let libraries = tree.nodes.iter().map(|node| &node.found);
        let libraries = libraries.map(|found| (found.path.as_path(), &*found.elf));
        let files = std::iter::once((path, &elf)).chain(libraries);
        let refused = files.filter(|(_, elf)| {
            let own = elf.dynamic.as_ref();
            own.is_some_and(Dynamic::lacks_relr_version)
        });
        let listed = Listed {
            found: found.collect(),
            missing: missing.collect(),
            is_silent: false,
            fatal: None,
        };
        let refused = refused.map(|(path, _)| text(path));
        (listed, near_misses.chain(refused).collect())
    }
}

/// The difference between two lists, if there is one.
pub fn difference(
    interpreter: &Interpreter,
    path: &Path,
    says: &Listed,
    (model, near_misses): &(Listed, Vec<String>),
) -> Option<String> {
    if let Some(fatal) = &says.fatal {
        // ld.so stops at the first failure and lists nothing.
        let foreseen = near_misses.contains(fatal) || model.missing.contains(fatal);
        return (!foreseen).then(|| format!("{}: ld.so fails over {fatal}", path.display()));
    }
    // musl's list does not end at a failure, but has no reason for it.
    if says.is_silent || (says.found == model.found && says.missing == model.missing) {
        return None;
    }
    let mut text = format!("{} ({}):", path.display(), interpreter.path.display());
    for (name, at) in says.found.difference(&model.found) {
        let _ = write!(text, "\n  ld.so has {name} => {at}");
    }
    for (name, at) in model.found.difference(&says.found) {
        let _ = write!(text, "\n  the tool has {name} => {at}");
    }
    for name in says.missing.symmetric_difference(&model.missing) {
        let side = if says.missing.contains(name) {
            "ld.so"
        } else {
            "the tool"
        };
        let _ = write!(text, "\n  not found by {side} alone: {name}");
    }
    Some(text)
}

/// Whether this dynamic linker would load the file, and it is not for another libc.
pub fn is_for(interpreter: &Interpreter, path: &Path) -> bool {
    let Ok(mut source) = Source::open(path) else {
        return false;
    };
    let Ok(elf) = Elf::read(&mut source) else {
        return false;
    };
    let fits = (elf.machine, elf.class) == (interpreter.elf.machine, interpreter.elf.class);
    let asked_for = elf.interp.as_ref().map(|interp| Path::new(&interp.path));
    let libc = asked_for
        .map(Libc::of_interpreter)
        .or_else(|| Libc::of_library(&elf));
    fits && elf.dynamic.is_some() && libc.is_none_or(|libc| libc == interpreter.libc)
}
