//! Directories that were not named, for libraries found nowhere else: those of the tree of the file, and the search paths of the libraries
//! found.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::needs::Inputs;
use super::{Resolution, freeze};
use elf_file::{io_reason, open_regular};
use ldso::Dependent;
use ldso::Linker;

/// Most attempts for one file. Each may find a library whose search path has the directory of the next.
const MAX_ATTEMPTS: usize = 32;

/// Most bytes to read for one file when comparing libraries of the same name.
const MAX_COMPARED: u64 = 256 << 20;

/// The result of a search.
#[derive(Default)]
pub(super) struct Attempt {
    pub result: Resolution,
    /// The search paths of the libraries found.
    pub searched: Vec<PathBuf>,
}

/// Repeats `attempt` with more and more directories, until nothing is missing, nothing more is found, or [`MAX_ATTEMPTS`] is reached.
pub(super) fn search(
    inputs: Inputs<'_>,
    subject: Dependent<'_>,
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
        left_to_compare: Cell::new(MAX_COMPARED),
    };
    let mut done = attempt(&[]);
    let mut attempts = 1;
    while further.grow(&done) {
        if attempts == MAX_ATTEMPTS {
            let hint = format!(
                "the search for further directories stopped after {MAX_ATTEMPTS} attempts; pass the missing ones with --libs"
            );
            let missing = done.result.missing.iter_mut();
            missing.for_each(|missing| missing.hints.push(hint.clone()));
            break;
        }
        done = attempt(&further.all());
        attempts += 1;
    }
    let notes = further.ambiguities(&done.result);
    done.result.notes.extend(notes);
    done.result
}

struct Further<'a> {
    inputs: Inputs<'a>,
    linker: &'a Linker<'a>,
    /// The directory of `subject`.
    origin: &'a Path,
    /// Directories of the C library. They come before trees that have another one.
    of_libc: Vec<PathBuf>,
    /// Directories of the trees to be processed.
    within: Vec<PathBuf>,
    /// Search paths of libraries.
    friends: Vec<PathBuf>,
    /// What is left of [`MAX_COMPARED`].
    left_to_compare: Cell<u64>,
}

impl Further<'_> {
    /// In search order.
    fn all(&self) -> Vec<PathBuf> {
        [&*self.of_libc, &self.within, &self.friends].concat()
    }

    /// Adds directories that have missing libraries. Returns false if there are none.
    fn grow(&mut self, Attempt { result, searched }: &Attempt) -> bool {
        let before = self.all().len();
        let given = &self.inputs.settings.given;
        let missing = result.missing.iter();
        let missing = missing.map(|one| (&one.soname, one.needed_by.first()));
        let ignored = result.ignored.iter().map(|name| (name, None));
        for (name, by) in missing.chain(ignored) {
            let has = |directory: &&Path| self.linker.has(directory, name);
            // A library of the tree takes its dependencies from the same tree.
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

    /// If the library `name` in `directory` is a symbolic link to a file of the same name in the same tree, the directory of that file;
    /// otherwise
    /// `directory`. ld.so derives $ORIGIN from the path that it opened, and the library may search relative to itself.
    fn home(&self, name: &OsStr, directory: &Path) -> PathBuf {
        let real = self.inputs.probe_cache.real(&directory.join(name));
        let same_name = real.file_name() == Some(name);
        let home = real.parent().filter(|home| {
            let given = &self.inputs.settings.given;
            same_name && given.joins(home, directory) && self.linker.has(home, name)
        });
        home.unwrap_or(directory).to_owned()
    }

    /// Makes sure that the C library is still found where it is now, although `directory` has another one.
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

    /// Notes about libraries of which the tree has several with the same name.
    fn ambiguities(&self, result: &Resolution) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, path) in &result.found {
            let directory = path.parent().unwrap_or(Path::new("/"));
            if !self.within.iter().any(|within| within == directory) {
                continue;
            }
            let given = &self.inputs.settings.given;
            let others = given.with(name, self.origin).into_iter();
            let others = others.filter(|other| self.linker.has(other, name));
            let others = others.filter_map(|other| {
                let shown = other.display();
                match self.is_same(&other.join(name), path) {
                    Ok(true) => None,
                    Ok(false) => Some(shown.to_string()),
                    Err(error) => Some(format!("{shown} (not compared: {})", io_reason(&error))),
                }
            });
            let others: Vec<String> = others.collect();
            if !others.is_empty() {
                notes.push(format!(
                    "{} is taken from {}, the nearest directory; there is another in {}; choose one with --libs",
                    name.display(),
                    directory.display(),
                    others.join(", ")
                ));
            }
        }
        notes
    }

    /// Whether two libraries are identical.
    fn is_same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let real = |path| self.inputs.probe_cache.real(path);
        match real(one) == real(other) {
            true => Ok(true),
            false => {
                let root = self.inputs.probe_cache.root();
                let [one, other] = [one, other].map(|path| root.on_host(path));
                have_same_content(&one, &other, &self.left_to_compare)
            }
        }
    }
}

/// Whether two regular files have the same content. The number of bytes read is subtracted from `left`.
fn have_same_content(one: &Path, other: &Path, left: &Cell<u64>) -> io::Result<bool> {
    const STEP: u64 = 64 << 10;
    let mut files = [open_regular(one)?, open_regular(other)?];
    let [one, other] = [files[0].metadata()?, files[1].metadata()?];
    if one.len() != other.len() || !one.is_file() || !other.is_file() {
        return Ok(false);
    }
    let mut buffers = [Vec::new(), Vec::new()];
    loop {
        let Some(now) = left.get().checked_sub(STEP) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        left.set(now);
        for (file, buffer) in files.iter_mut().zip(&mut buffers) {
            buffer.clear();
            file.take(STEP).read_to_end(buffer)?;
        }
        if buffers[0] != buffers[1] {
            return Ok(false);
        }
        if (buffers[0].len() as u64) < STEP {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn no_more_is_compared_than_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let left = Cell::new(MAX_COMPARED);
        let is_same = |one, other| have_same_content(&path(one), &path(other), &left);
        for (name, content) in [("a", "same"), ("b", "same"), ("c", "some"), ("d", "other")] {
            fs::write(path(name), content).unwrap();
        }
        assert!(is_same("a", "b").unwrap());
        assert!(!is_same("a", "c").unwrap());
        let before = left.get();
        assert!(!is_same("a", "d").unwrap());
        assert!(is_same("a", "none").is_err());
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!is_same("fifo", "fifo").unwrap());
        assert_eq!(left.get(), before);
        // Sparse files are large at no cost.
        for name in ["huge", "as huge"] {
            File::create(path(name)).unwrap().set_len(1 << 40).unwrap();
        }
        for names in [["huge", "as huge"], ["a", "b"]] {
            let error = is_same(names[0], names[1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
