//! Finds files that users other than the owner cannot read, although they can run the program that needs them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::system::shell::quoted;
use ldso::Root;
use ldso::{Known, remembered};

/// The permission bits of others (`S_IROTH`, `S_IXOTH`).
const READ: u32 = 0o004;
const EXECUTE: u32 = 0o001;

/// `S_ISUID`: the program runs, and opens files, as its owner.
const SET_UID: u32 = 0o4000;

/// A file or directory whose mode keeps other users out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    pub path: PathBuf,
    /// Its path on this machine.
    on_host: PathBuf,
    mode: u32,
    /// The missing permission bit.
    lacks: u32,
}

/// Files that others cannot open because of the same barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// In the order of the query.
    pub files: Vec<PathBuf>,
    pub barrier: Barrier,
}

/// Shared by many programs; each path is looked up once.
#[derive(Debug, Default)]
pub struct Reach {
    root: Root,
    known: Known<Option<Barrier>>,
}

impl Reach {
    /// Paths are absolute in `root`.
    pub fn in_root(root: Root) -> Self {
        Self {
            root,
            known: Known::default(),
        }
    }

    /// Those of `files` (absolute paths) that others cannot open although they can run a program of mode `mode` in `directory`. Files that
    /// do not exist are left out.
    pub fn out_of_reach<'p>(
        &self,
        mode: u32,
        directory: &Path,
        files: impl IntoIterator<Item = &'p Path>,
    ) -> Vec<OutOfReach> {
        let mut found: Vec<OutOfReach> = Vec::new();
        let runs_as_others = mode & EXECUTE != 0 && mode & SET_UID == 0;
        if !runs_as_others || self.barrier(directory).is_some() {
            return found;
        }
        for file in files {
            let Some(barrier) = self.barrier(file) else {
                continue;
            };
            match found.iter_mut().find(|known| known.barrier == barrier) {
                Some(known) => known.files.push(file.to_owned()),
                None => found.push(OutOfReach {
                    files: vec![file.to_owned()],
                    barrier,
                }),
            }
        }
        found
    }

    /// The outermost part of `path`, or of the target of its symbolic links, that lacks a permission: a directory without o+x, or the file
    /// without o+r.
    fn barrier(&self, path: &Path) -> Option<Barrier> {
        remembered(&self.known, path, |path| {
            let around = path.parent().and_then(|parent| self.barrier(parent));
            around.or_else(|| self.barrier_at(path))
        })
    }

    /// The same if all directories above `path` are open to others.
    fn barrier_at(&self, path: &Path) -> Option<Barrier> {
        let on_host = self.root.on_host(path);
        let metadata = fs::metadata(&on_host).ok()?;
        let lacks = if metadata.is_dir() { EXECUTE } else { READ };
        if metadata.mode() & lacks == 0 {
            return Some(Barrier {
                path: path.to_owned(),
                on_host,
                mode: metadata.mode() & 0o7777,
                lacks,
            });
        }
        let real = self.root.is_link(path).then(|| self.root.real(path));
        self.barrier(&real.filter(|real| real != path)?)
    }
}

impl Barrier {
    /// The command that adds the permission.
    pub fn remedy(&self) -> String {
        let bits = if self.lacks == READ { "o+r" } else { "o+x" };
        quoted([OsStr::new("chmod"), bits.as_ref(), self.on_host.as_ref()])
    }
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Barrier { path, mode, .. } = &self.barrier;
        let [first, others @ ..] = self.files.as_slice() else {
            return Ok(());
        };
        write!(
            f,
            "other users can run it, but cannot open {}",
            first.display()
        )?;
        if !others.is_empty() {
            write!(f, " and {} more", others.len())?;
        }
        match path == first {
            true => write!(f, ", which has mode {mode:o}"),
            false => write!(f, ": {} has mode {mode:o}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory that is `/` for the paths. Directories above it do not count.
    struct Tree {
        directory: tempfile::TempDir,
    }

    impl Tree {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().unwrap(),
            }
        }

        fn reach(&self) -> Reach {
            Reach::in_root(Root::at(self.directory.path()).unwrap())
        }

        fn on_host(&self, path: &str) -> PathBuf {
            self.directory.path().join(path.trim_start_matches('/'))
        }

        fn chmod(&self, path: &str, mode: u32) {
            fs::set_permissions(self.on_host(path), Permissions::from_mode(mode)).unwrap();
        }

        fn write(&self, path: &str, mode: u32) {
            fs::write(self.on_host(path), "").unwrap();
            self.chmod(path, mode);
        }
    }

    #[test]
    fn each_part_of_the_path_counts_links_included() {
        let tree = Tree::new();
        tree.chmod("/", 0o755);
        for (directory, mode) in [("/open", 0o711), ("/closed", 0o700)] {
            fs::create_dir(tree.on_host(directory)).unwrap();
            tree.write(&format!("{directory}/file"), 0o644);
            tree.chmod(directory, mode);
        }
        symlink("/closed/file", tree.on_host("/open/link")).unwrap();
        tree.write("/open/secret", 0o640);
        let said = |mode, file: &str| {
            let reach = tree.reach();
            let found = reach.out_of_reach(mode, Path::new("/open"), [Path::new(file)]);
            found.first().map(|found| found.barrier.remedy())
        };
        assert_eq!(said(0o755, "/open/file"), None);
        assert_eq!(said(0o755, "/open/none"), None);
        // The command is for this machine.
        let chmod = |bits: &str, path: &str| {
            let on_host = fs::canonicalize(tree.on_host(path)).unwrap();
            Some(format!("chmod {bits} {}", on_host.display()))
        };
        let chmod_closed = chmod("o+x", "/closed");
        assert_eq!(said(0o755, "/closed/file"), chmod_closed);
        assert_eq!(said(0o755, "/open/link"), chmod_closed);
        let chmod_secret = chmod("o+r", "/open/secret");
        assert_eq!(said(0o755, "/open/secret"), chmod_secret);
        // Other users cannot run the program, or it opens files as its owner.
        assert_eq!(said(0o750, "/open/secret"), None);
        assert_eq!(said(0o4755, "/open/secret"), None);
        let in_closed = tree.reach();
        let secret = [Path::new("/open/secret")];
        assert!(
            in_closed
                .out_of_reach(0o755, Path::new("/closed"), secret)
                .is_empty()
        );
    }

    #[test]
    fn files_with_the_same_barrier_are_reported_once() {
        let tree = Tree::new();
        tree.chmod("/", 0o755);
        fs::create_dir(tree.on_host("/closed")).unwrap();
        tree.chmod("/closed", 0o700);
        let files = ["/closed/a", "/closed/b", "/closed/c"].map(Path::new);
        let found = tree.reach().out_of_reach(0o755, Path::new("/"), files);
        let [found] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(
            found.to_string(),
            "other users can run it, but cannot open /closed/a and 2 more: /closed has mode 700"
        );
    }
}
