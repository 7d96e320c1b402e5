//! The root directory in which paths are absolute: this machine's `/`, or another tree.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Maximum number of symbolic links in a path, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A name that no file has, because it is too long (NAME_MAX).
const LOOP: &str = match str::from_utf8(&[b'-'; 256]) {
    Ok(name) => name,
    Err(_) => "",
};

/// A root directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root(Option<Arc<Place>>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Absolute and free of symbolic links.
    real: PathBuf,
    /// As the user named it.
    given: PathBuf,
}

/// The path that you gave leads out of the root.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("is not below the root {}; write a path below it, or an absolute path inside it", .0.display())]
pub struct OutsideOfRoot(PathBuf);

impl Root {
    /// The root at `directory`.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn at(directory: &Path) -> io::Result<Self> {
        let real = fs::canonicalize(directory)?;
        if !real.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let given = directory.to_owned();
        let is_own = real == Path::new("/");
        Ok(Self((!is_own).then(|| Arc::new(Place { real, given }))))
    }

    /// The directory as the user named it; `None` for the machine's own root.
    pub fn given(&self) -> Option<&Path> {
        Some(&self.0.as_ref()?.given)
    }

    fn real_directory(&self) -> Option<&Path> {
        Some(&self.0.as_ref()?.real)
    }

    /// Whether this is the machine's own `/`.
    pub fn is_own(&self) -> bool {
        self.0.is_none()
    }

    /// The path on this machine of the file that a program with this root would open as `inside`, an absolute path. Symbolic links
    /// are resolved inside the root. A name that does not exist stays as given.
    pub fn on_host(&self, inside: &Path) -> PathBuf {
        match self.real_directory() {
            None => inside.to_owned(),
            Some(root) => root.join(relative(&follow(root, inside))),
        }
    }

    /// Like [`on_host`](Self::on_host), but if `inside` is a symbolic link itself, this is the path of the link.
    pub fn entry_on_host(&self, inside: &Path) -> PathBuf {
        match (inside.parent(), inside.file_name()) {
            (Some(parent), Some(name)) => self.on_host(parent).join(name),
            _ => self.on_host(inside),
        }
    }

    /// The same for a path inside that is free of symbolic links: looks at no file.
    pub fn real_on_host(&self, real: &Path) -> PathBuf {
        match self.real_directory() {
            None => real.to_owned(),
            Some(root) => root.join(relative(real)),
        }
    }

    /// The path inside of `on_host`, an absolute path on this machine that is below the root and free of symbolic links.
    pub fn of_host(&self, on_host: &Path) -> PathBuf {
        match self.real_directory() {
            None => on_host.to_owned(),
            Some(root) => Path::new("/").join(on_host.strip_prefix(root).unwrap_or(on_host)),
        }
    }

    /// `inside` without symbolic links.
    pub fn real(&self, inside: &Path) -> PathBuf {
        match self.real_directory() {
            None => fs::canonicalize(inside).unwrap_or_else(|_| inside.to_owned()),
            Some(root) => follow(root, inside),
        }
    }

    /// Whether `inside` is a symbolic link itself.
    pub fn is_link(&self, inside: &Path) -> bool {
        self.entry_on_host(inside).is_symlink()
    }

    /// The real path inside of a file that the user gave, which exists. `given` is as for [`inside`](Self::inside).
    ///
    /// # Errors
    /// If it does not exist, or as [`inside`](Self::inside).
    pub fn locate(&self, given: &Path) -> io::Result<PathBuf> {
        if self.is_own() {
            return fs::canonicalize(given);
        }
        self.existing(&self.inside(given)?)
    }

    /// The real path of `inside`, which exists.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn existing(&self, inside: &Path) -> io::Result<PathBuf> {
        if self.is_own() {
            return fs::canonicalize(inside);
        }
        let real = self.real(inside);
        fs::symlink_metadata(self.real_on_host(&real)).map(|_| real)
    }

    /// A path that [`inside`](Self::inside) translates to `inside`: this path itself, unless it also leads through the root on this machine.
    pub fn unmistakable(&self, inside: &Path) -> PathBuf {
        match (self.inside(inside), self.given()) {
            (Ok(taken), Some(given)) if taken != inside => given.join(relative(inside)),
            _ => inside.to_owned(),
        }
    }

    /// Translates a path that the user gave to one inside the root. A path on this machine that leads through the root loses the part
    /// up to there; what follows is meant inside, with its symbolic links. Any other absolute path is taken as one inside.
    ///
    /// # Errors
    /// If the path is a relative one that does not lead through the root, or leaves it again.
    pub fn inside(&self, given: &Path) -> io::Result<PathBuf> {
        let absolute = std::path::absolute(given)?;
        let Some(root) = self.real_directory() else {
            return Ok(absolute);
        };
        let outside = || io::Error::other(OutsideOfRoot(root.to_owned()));
        let mut rest = absolute.components();
        let mut above = PathBuf::new();
        while let Some(part) = rest.next() {
            above.push(part);
            let Ok(real) = fs::canonicalize(&above) else {
                break;
            };
            if let Ok(below) = real.strip_prefix(root) {
                let inside = Path::new("/").join(below).join(rest.as_path());
                return stays_below(rest.as_path())
                    .then_some(inside)
                    .ok_or_else(outside);
            }
        }
        given
            .is_absolute()
            .then(|| given.to_owned())
            .ok_or_else(outside)
    }
}

/// Whether `..` never leads above the start of the relative `path`.
fn stays_below(path: &Path) -> bool {
    let mut depth = 0_u32;
    path.components().all(|part| {
        let next = match part {
            Component::ParentDir => depth.checked_sub(1),
            Component::Normal(_) => depth.checked_add(1),
            _ => Some(depth),
        };
        depth = next.unwrap_or_default();
        next.is_some()
    })
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Whether `on_host` stands for a path with too many links, of [`Root::on_host`]. Opening the path is ELOOP in the root.
pub(crate) fn is_loop(on_host: &Path) -> bool {
    on_host.file_name().is_some_and(|name| name == LOOP)
}

/// Resolves `path` below `root` link by link. `..` at the top stays at the top. After too many links, the result is [`LOOP`], which does
/// not exist: the kernel would follow the next link out of the root.
fn follow(root: &Path, path: &Path) -> PathBuf {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut done = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) => {
                done.pop();
            }
            Some(Component::Normal(name)) => {
                let at = root.join(relative(&done)).join(name);
                match fs::read_link(at) {
                    Ok(_) if links == MAX_LINKS => return Path::new("/").join(LOOP),
                    Ok(target) => {
                        links += 1;
                        if target.is_absolute() {
                            done = PathBuf::from("/");
                        }
                        rest.extend(parts(&target));
                    }
                    Err(_) => done.push(name),
                }
            }
            _ => {}
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(base.join("usr/lib")).unwrap();
        fs::write(base.join("usr/lib/libx.so"), "").unwrap();
        symlink("/usr/lib", base.join("lib")).unwrap();
        symlink("../../../../lib/libx.so", base.join("usr/up")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let root = Root::at(&base).unwrap();
        let on_host = |path: &str| root.on_host(Path::new(path));
        assert_eq!(on_host("/lib/libx.so"), base.join("usr/lib/libx.so"));
        assert_eq!(on_host("/usr/up"), base.join("usr/lib/libx.so"));
        assert_eq!(on_host("/../../lib/none"), base.join("usr/lib/none"));
        assert!(fs::symlink_metadata(on_host("/loop")).is_err());
        assert_eq!(root.real(Path::new("/lib/../lib")), Path::new("/usr/lib"));
        assert_eq!(
            root.entry_on_host(Path::new("/lib/up")),
            base.join("usr/lib/up")
        );
        assert_eq!(root.of_host(&base.join("usr/lib")), Path::new("/usr/lib"));
    }

    #[test]
    fn a_chain_of_links_does_not_end_outside() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        for number in 0..MAX_LINKS {
            symlink(format!("/{}", number + 1), base.join(number.to_string())).unwrap();
        }
        symlink("/etc", base.join(MAX_LINKS.to_string())).unwrap();
        let root = Root::at(&base).unwrap();
        assert!(!root.on_host(Path::new("/0/passwd")).exists());
        assert_eq!(
            root.on_host(Path::new("/1/passwd")),
            base.join("etc/passwd")
        );
    }

    #[test]
    fn given_paths_lead_through_the_root_or_are_inside() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        let top = base.join("root");
        fs::create_dir_all(top.join("opt/app")).unwrap();
        fs::create_dir(base.join("other")).unwrap();
        symlink(&top, base.join("link")).unwrap();
        symlink("/opt", top.join("absolute")).unwrap();
        symlink("../../../other", top.join("out")).unwrap();
        let root = Root::at(&base.join("link")).unwrap();
        let inside = |given: &Path| root.inside(given).ok();
        let path = |text: &str| Some(PathBuf::from(text));
        for (given, expected) in [
            ("root/opt/app", path("/opt/app")),
            ("link/opt/app", path("/opt/app")),
            ("root", path("/")),
            ("root/absolute/app", path("/absolute/app")),
            ("root/opt/../opt", path("/opt/../opt")),
            ("root/opt/../../other", None),
        ] {
            assert_eq!(inside(&base.join(given)), expected, "{given}");
        }
        assert_eq!(inside(Path::new("/opt/app")), path("/opt/app"));
        assert_eq!(inside(Path::new("src")), None);
        let located = |given: &str| root.locate(&base.join(given)).ok();
        assert_eq!(located("root/absolute/app"), path("/opt/app"));
        assert_eq!(located("root/none"), None);
        // It leads out on this machine, and to nothing inside.
        assert_eq!(located("root/out"), None);
    }
}
