//! Finds the files that a relocatable tree needs from outside of it.

use std::env;
use std::path::{Path, PathBuf};

use crate::plan::options::WrapOptions;
use crate::plan::search::Entry;
use crate::plan::{Plan, frozen};
use crate::system::directory::real_directory;
use ldso::{Interpreter, Root};

/// Directories with the files of many owners (Filesystem Hierarchy Standard 3.0). Nobody moves them as a whole.
const SHARED: [&str; 21] = [
    "/",
    "/gnu",
    "/gnu/store",
    "/home",
    "/media",
    "/mnt",
    "/nix",
    "/nix/store",
    "/nix/var",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/opt",
    "/var/tmp",
];

/// The system's own directories. Nothing below them is moved either.
const SYSTEM: [&str; 20] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
    "/usr/share",
];

/// Directories below /usr/local that are shared, too.
const SHARED_LOCAL: [&str; 8] = [
    "bin", "etc", "include", "lib", "lib64", "libexec", "sbin", "share",
];

/// The tree that is moved as a whole.
#[derive(Debug)]
pub struct MovedTree {
    root: Root,
    /// The nearest directory above all of `--paths`.
    pub base: PathBuf,
    /// Directories, free of symbolic links. Everything below them is moved.
    trees: Vec<PathBuf>,
}

impl MovedTree {
    /// The tree that `options` describes: the directories of `--paths`, their parent, and the nearest directory above them and each
    /// directory of libraries, dynamic linker and loader, unless that is a shared directory or one of the system's.
    pub fn new(options: &WrapOptions) -> Self {
        let root = &options.root;
        let real_directory = |inside: &Path| {
            let on_host = real_directory(&root.on_host(inside))?;
            Some(root.of_host(&on_host))
        };
        let paths = options.paths.iter();
        let paths = paths.filter_map(|path| root.locate(path).ok());
        let paths: Vec<PathBuf> = paths.filter_map(|path| real_directory(&path)).collect();
        let base = paths
            .iter()
            .cloned()
            .reduce(|one, other| above_both(&one, &other));
        let base = base.unwrap_or_else(|| PathBuf::from("/"));
        let named = [
            &options.libs,
            &options.runtime_dependencies,
            &options.interpreter,
        ];
        let named = named.into_iter().flatten().chain(&options.loader_dir_path);
        let mut trees: Vec<PathBuf> = named
            .filter_map(|path| real_directory(path))
            .map(|named| above_both(&base, &named))
            .chain([base.clone()])
            .chain(base.parent().map(Path::to_owned))
            .filter(|tree| can_be_moved(tree))
            .collect();
        trees.extend(paths);
        Self {
            root: root.clone(),
            base,
            trees,
        }
    }

    /// Files outside of the tree to which `plan` refers by a relative path, each once: the dynamic linker `interpreter`, the loader,
    /// libraries, and search directories in which no library was found.
    pub fn lacks(&self, plan: &Plan, interpreter: Option<&Interpreter>) -> Vec<PathBuf> {
        let origin = plan.file.path.parent().unwrap_or(Path::new("/"));
        let interpreter = interpreter.map(|interpreter| interpreter.path.clone());
        let loader = plan.loader().map(|loader| origin.join(&loader.path));
        let mut lacks: Vec<PathBuf> = interpreter.into_iter().chain(loader).collect();
        lacks.extend(frozen(&plan.resolution).map(Path::to_owned));
        let written = plan.resolution.search.iter();
        for entry in written.filter(|_| !plan.search.is_empty()) {
            let Entry::Directory(directory) = entry else {
                continue;
            };
            let found = plan.resolution.found.iter().map(|(_, path)| path);
            let found = found.filter(|path| path.parent() == Some(directory));
            let before = lacks.len();
            lacks.extend(found.cloned());
            if lacks.len() == before {
                lacks.push(directory.clone());
            }
        }
        lacks.sort_unstable();
        lacks.dedup();
        // Only the path that is written counts, not the target of a symbolic link in the tree.
        lacks.retain(|path| match self.root.on_host(path).is_dir() {
            true => !self.holds(path),
            false => !path.parent().is_some_and(|directory| self.holds(directory)),
        });
        lacks
    }

    fn holds(&self, path: &Path) -> bool {
        let real = self.root.real(path);
        self.trees.iter().any(|tree| real.starts_with(tree))
    }
}

/// The nearest directory above both.
fn above_both(one: &Path, other: &Path) -> PathBuf {
    let parts = one.components().zip(other.components());
    let same = parts.take_while(|(one, other)| one == other);
    same.map(|(part, _)| part).collect()
}

pub(super) fn can_be_moved(directory: &Path) -> bool {
    let is_local = || {
        let below = directory.strip_prefix("/usr/local");
        below.is_ok_and(|below| SHARED_LOCAL.iter().any(|shared| below == Path::new(shared)))
    };
    let is_home = || {
        directory.parent() == Some(Path::new("/home"))
            || env::var_os("HOME").is_some_and(|home| directory == Path::new(&home))
    };
    let is_shared = SHARED.iter().any(|shared| directory == Path::new(shared));
    let is_system = SYSTEM.iter().any(|system| directory.starts_with(system));
    !(is_shared || is_system || is_local() || is_home())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_directory_above_two() {
        for (one, other, expected) in [
            ("/a/b/c", "/a/b/d", "/a/b"),
            ("/a/b", "/a/b/d", "/a/b"),
            ("/a/b", "/ab", "/"),
        ] {
            let above = above_both(Path::new(one), Path::new(other));
            assert_eq!(above, Path::new(expected), "{one} {other}");
        }
    }

    #[test]
    fn directories_of_many_are_not_moved() {
        for (directory, expected) in [
            ("/", false),
            ("/opt", false),
            ("/opt/app", true),
            ("/app", true),
            ("/usr/lib/app", false),
            ("/usr/local/lib", false),
            ("/usr/local/app", true),
            ("/nix/store", false),
            ("/nix/store/hash-app", true),
            ("/home/me", false),
            ("/home/me/app", true),
        ] {
            assert_eq!(can_be_moved(Path::new(directory)), expected, "{directory}");
        }
    }

    #[test]
    fn what_lies_next_to_the_programs_moves_along() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        for name in ["tree/usr/bin", "tree/usr/lib", "tree/lib", "other/lib"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let path = |name: &str| base.join(name).display().to_string();
        let tree = |libs: &[&str]| {
            MovedTree::new(&WrapOptions {
                paths: vec![base.join("tree/usr/bin")],
                libs: libs.iter().map(PathBuf::from).collect(),
                ..WrapOptions::default()
            })
        };
        let alone = tree(&[]);
        assert!(alone.holds(&base.join("tree/usr/lib/libx.so")));
        assert!(!alone.holds(&base.join("tree/lib/libx.so")));
        let with_libraries = tree(&[&path("tree/lib")]);
        assert!(with_libraries.holds(&base.join("tree/lib/libx.so")));
        assert!(!with_libraries.holds(&base.join("other/lib/libx.so")));
        // A named directory that is one of the system's.
        let with_system = tree(&["/usr/lib"]);
        assert!(!with_system.holds(Path::new("/usr/lib/libx.so")));
    }
}
