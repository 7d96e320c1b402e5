//! Directories that nobody named, for what is found nowhere else: those of the tree that a file is in, and those where the
//! libraries found look for what they need themselves.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::needs::Inputs;
use super::{Resolution, freeze};
use ldso::Asker;
use ldso::Linker;

/// What a search with some directories came to.
#[derive(Default)]
pub(super) struct Attempt {
    pub result: Resolution,
    /// Where the libraries found have ld.so look themselves.
    pub searched: Vec<PathBuf>,
}

/// Has `attempt` search for what `subject` needs with more and more directories, until nothing is missing or nothing more is
/// found.
pub(super) fn search(
    inputs: Inputs<'_>,
    subject: Asker<'_>,
    linker: &Linker<'_>,
    attempt: impl Fn(&[PathBuf]) -> Attempt,
) -> Resolution {
    let mut further = Further {
        inputs,
        linker,
        origin: subject.path.parent().unwrap_or(Path::new("/")),
        of_libc: Vec::new(),
        within: Vec::new(),
        friends: Vec::new(),
    };
    loop {
        let mut done = attempt(&further.all());
        if !further.grow(&done) {
            let notes = further.ambiguities(&done.result);
            done.result.notes.extend(notes);
            return done.result;
        }
    }
}

struct Further<'a> {
    inputs: Inputs<'a>,
    linker: &'a Linker<'a>,
    /// The directory of the file that is to find something.
    origin: &'a Path,
    /// Where the C library is, in front of trees that bring another one.
    of_libc: Vec<PathBuf>,
    /// Directories of the trees that are worked on.
    within: Vec<PathBuf>,
    /// Search paths of libraries.
    friends: Vec<PathBuf>,
}

impl Further<'_> {
    /// In the order in which they are searched.
    fn all(&self) -> Vec<PathBuf> {
        [&*self.of_libc, &self.within, &self.friends].concat()
    }

    /// Adds directories with what is missing. Says whether there are any.
    fn grow(&mut self, Attempt { result, searched }: &Attempt) -> bool {
        let before = self.all().len();
        let given = &self.inputs.settings.given;
        let missing = result.missing.iter();
        let missing = missing.map(|one| (&one.soname, one.needed_by.first()));
        let ignored = result.ignored.iter().map(|name| (name, None));
        for (name, by) in missing.chain(ignored) {
            let has = |directory: &&Path| self.linker.has(directory, name);
            // What a library of the tree needs is there for that library.
            let by = by.map(|by| self.inputs.probe_cache.real(by));
            let by = by.as_deref().and_then(Path::parent);
            let by = by.filter(|by| given.joins(by, by));
            let mut within = given.with(name, by.unwrap_or(self.origin)).into_iter();
            if let Some(directory) = within.find(has) {
                let directory = self.home(name, directory);
                if !self.within.contains(&directory) {
                    self.keep_libc(result, &directory);
                    self.within.push(directory);
                }
                continue;
            }
            let mut friends = searched.iter().map(PathBuf::as_path);
            if let Some(directory) = friends.find(has) {
                let directory = directory.to_owned();
                if !self.friends.contains(&directory) {
                    self.friends.push(directory);
                }
            }
        }
        let origin = self.origin;
        self.within
            .sort_by_cached_key(|one| (super::steps(origin, one), one.clone()));
        self.all().len() > before
    }

    /// The directory of the same tree that a link in `directory` to the library `name` leads to, if it is called so there too; else
    /// `directory`. ld.so takes $ORIGIN from the path that it opened, and the library may look for its own needs relative to itself.
    fn home(&self, name: &OsStr, directory: &Path) -> PathBuf {
        let real = self.inputs.probe_cache.real(&directory.join(name));
        let same_name = real.file_name() == Some(name);
        let home = real.parent().filter(|home| {
            let given = &self.inputs.settings.given;
            same_name && given.joins(home, directory) && self.linker.has(home, name)
        });
        home.unwrap_or(directory).to_owned()
    }

    /// What belongs to the C library is found where it is found now, whatever is in `directory`.
    fn keep_libc(&mut self, result: &Resolution, directory: &Path) {
        for (name, path) in &result.found {
            if !freeze::is_of_family(name) || !self.linker.has(directory, name) {
                continue;
            }
            let home = path.parent().unwrap_or(Path::new("/")).to_owned();
            if home != directory && !self.of_libc.contains(&home) {
                self.of_libc.push(home);
            }
        }
    }

    /// What to say of libraries that were found in a tree which has others of the same name.
    fn ambiguities(&self, result: &Resolution) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, path) in &result.found {
            let directory = path.parent().unwrap_or(Path::new("/"));
            if !self.within.iter().any(|within| within == directory) {
                continue;
            }
            let given = &self.inputs.settings.given;
            let others = given.with(name, self.origin).into_iter();
            let others = others.filter(|other| {
                self.linker.has(other, name) && !self.is_same(&other.join(name), path)
            });
            let others: Vec<String> = others.map(|other| other.display().to_string()).collect();
            if !others.is_empty() {
                notes.push(format!(
                    "{} is taken from {}, which is the nearest; there is another in {}: --libs says which to take",
                    name.display(),
                    directory.display(),
                    others.join(", ")
                ));
            }
        }
        notes
    }

    /// Whether it makes no difference which of two libraries is loaded.
    fn is_same(&self, one: &Path, other: &Path) -> bool {
        let len = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).ok();
        self.inputs.probe_cache.real(one) == self.inputs.probe_cache.real(other)
            || (len(one) == len(other) && fs::read(one).ok() == fs::read(other).ok())
    }
}
