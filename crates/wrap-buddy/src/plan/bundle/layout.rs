//! Where files are in a bundle: a file below a prefix keeps its path below that prefix.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Refusal;
use crate::plan::outside::can_be_moved;
use crate::plan::search::STORES;
use elf_file::io_reason;
use ldso::{Interpreter, Libc, Root};

/// Prefixes of systems: files below them keep their relations too, but are not copied as a whole.
const SYSTEM: [&str; 3] = ["/usr/local", "/usr", "/"];

/// Directories of programs in a prefix (Filesystem Hierarchy Standard 3.0).
const PROGRAMS: [&str; 3] = ["bin", "sbin", "libexec"];

/// The prefixes of a bundle.
#[derive(Debug)]
pub(super) struct Layout {
    /// Directories that are copied as a whole, free of symbolic links.
    pub copied: Vec<PathBuf>,
    /// The directory of the bundle, if it exists.
    pub output: Option<PathBuf>,
}

impl Layout {
    /// `named` are the prefixes that the user named. The bundle is made at `output`.
    pub fn new(root: &Root, named: &[PathBuf], output: &Path) -> Result<Self, Refusal> {
        let mut copied = Vec::new();
        for path in named {
            let real = root.locate(path).map_err(|error| Refusal::Unreadable {
                path: path.clone(),
                why: io_reason(&error),
            })?;
            if !can_be_moved(&real)
                && !real.starts_with("/usr/lib")
                && !real.starts_with("/usr/share")
            {
                return Err(Refusal::SharedPrefix(path.clone()));
            }
            copied.push(real);
        }
        Ok(Self {
            copied,
            output: fs::canonicalize(output)
                .ok()
                .filter(|output| output.starts_with(root.real_on_host(Path::new("/"))))
                .map(|output| root.of_host(&output)),
        })
    }

    /// Adds the prefix of the program at `path`, if it has one of its own: the directory above its `bin`.
    pub fn add_prefix_of(&mut self, path: &Path) {
        let Some(directory) = path.parent() else {
            return;
        };
        let is_of_programs = PROGRAMS.iter().any(|name| directory.ends_with(name));
        let prefix = directory.parent().filter(|prefix| {
            is_of_programs
                && can_be_moved(prefix)
                && !self.copied.iter().any(|one| prefix.starts_with(one))
        });
        self.copied.extend(prefix.map(Path::to_owned));
    }

    /// The path in the bundle of the file at `path`, which is absolute and free of symbolic links in its directory.
    pub fn place(&self, path: &Path) -> PathBuf {
        let copied = self.copied.iter().map(PathBuf::as_path);
        let longest = copied
            .filter(|prefix| path.starts_with(prefix))
            .max_by_key(|prefix| prefix.as_os_str().len());
        if let Some(prefix) = longest {
            return match is_of_system(prefix) {
                // A part of a system: it keeps its relation to bin.
                true => self.below_system(path),
                false => below(path, prefix),
            };
        }
        self.below_system(path)
    }

    fn below_system(&self, path: &Path) -> PathBuf {
        for store in STORES {
            if let Ok(rest) = path.strip_prefix(store) {
                let mut parts = rest.components();
                parts.next();
                if parts.as_path() != Path::new("") {
                    return parts.as_path().to_owned();
                }
            }
        }
        let prefix = SYSTEM
            .iter()
            .map(Path::new)
            .find(|prefix| path.starts_with(prefix));
        below(path, prefix.unwrap_or(Path::new("/")))
    }

    /// The path of the named program at `path`: one of a prefix keeps its path there, and another one is in `bin`.
    pub fn place_program(&self, path: &Path) -> PathBuf {
        let placed = self.place(path);
        let is_copied = self.copied.iter().any(|prefix| path.starts_with(prefix));
        let first = placed.components().next();
        let usual = ["bin", "sbin", "lib", "lib32", "lib64", "libexec"];
        let is_usual = |part: Component<'_>| usual.iter().any(|one| part.as_os_str() == *one);
        match is_copied || (placed.components().count() > 1 && first.is_some_and(is_usual)) {
            true => placed,
            false => Path::new("bin").join(path.file_name().unwrap_or_default()),
        }
    }
}

/// Whether `prefix` belongs to a system's own prefix.
fn is_of_system(prefix: &Path) -> bool {
    ["/usr", "/lib", "/bin", "/etc"]
        .iter()
        .any(|system| prefix.starts_with(system))
}

fn below(path: &Path, prefix: &Path) -> PathBuf {
    path.strip_prefix(prefix).unwrap_or(path).to_owned()
}

/// The directory for the libraries of `interpreter`: several systems may be in one bundle.
pub(super) fn library_directory(interpreter: &Interpreter) -> &'static Path {
    let is_64 = interpreter.elf.word() == 8;
    Path::new(match (is_64, interpreter.libc) {
        (true, Libc::Musl) => "lib-musl",
        (false, Libc::Musl) => "lib32-musl",
        (true, _) => "lib",
        (false, _) => "lib32",
    })
}

/// The names of the directories that [`library_directory`] returns.
pub const LIBRARY_DIRECTORIES: [&str; 4] = ["lib", "lib32", "lib-musl", "lib32-musl"];

/// The relative target of a link at `link` to `target`, both below the bundle.
pub(super) fn link_target(link: &Path, target: &Path) -> PathBuf {
    let from = link.parent().unwrap_or(Path::new(""));
    pathdiff::diff_paths(Path::new("/").join(target), Path::new("/").join(from))
        .unwrap_or_else(|| target.to_owned())
}

/// The file name of `path`.
pub(super) fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_path_below_a_prefix() {
        let layout = Layout {
            copied: vec![
                PathBuf::from("/opt/app"),
                PathBuf::from("/usr/lib/python3.11"),
            ],
            output: None,
        };
        for (path, expected) in [
            ("/opt/app/share/x", "share/x"),
            ("/usr/lib/python3.11/os.py", "lib/python3.11/os.py"),
            ("/usr/bin/git", "bin/git"),
            ("/usr/local/bin/git", "bin/git"),
            ("/nix/store/hash-git/libexec/x", "libexec/x"),
            ("/srv/data/x", "srv/data/x"),
        ] {
            assert_eq!(layout.place(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn named_programs_are_in_bin_or_in_their_prefix() {
        let layout = Layout {
            copied: vec![PathBuf::from("/opt/app")],
            output: None,
        };
        for (path, expected) in [
            ("/opt/app/tools/x", "tools/x"),
            ("/app/x", "bin/x"),
            ("/home/me/x", "bin/x"),
            ("/usr/sbin/x", "sbin/x"),
            ("/usr/lib/git-core/x", "lib/git-core/x"),
            ("/nix/store/hash-git/bin/git", "bin/git"),
            ("/lib", "bin/lib"),
        ] {
            assert_eq!(
                layout.place_program(Path::new(path)),
                Path::new(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn only_a_prefix_of_its_own_is_copied() {
        for (path, expected) in [
            ("/opt/app/bin/x", Some("/opt/app")),
            ("/opt/app/x", None),
            ("/usr/bin/x", None),
            ("/nix/store/hash-git/bin/git", Some("/nix/store/hash-git")),
            ("/home/me/bin/x", None),
        ] {
            let mut layout = Layout {
                copied: Vec::new(),
                output: None,
            };
            layout.add_prefix_of(Path::new(path));
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(layout.copied, expected, "{path}");
        }
    }
}
