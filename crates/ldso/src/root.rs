//! The root directory in which paths are absolute: this machine's `/`, or another tree.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Maximum number of symbolic links in a path, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A root directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root(Option<PathBuf>);

impl Root {
    /// The root at `directory`.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn at(directory: &Path) -> std::io::Result<Self> {
        let real = fs::canonicalize(directory)?;
        if !real.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        Ok(Self((real != Path::new("/")).then_some(real)))
    }

    /// Whether this is the machine's own `/`.
    pub fn is_own(&self) -> bool {
        self.0.is_none()
    }

    /// The path on this machine of the file that a program with this root would open as `inside`, an absolute path. Symbolic links
    /// are resolved inside the root. A name that does not exist stays as given.
    pub fn on_host(&self, inside: &Path) -> PathBuf {
        match &self.0 {
            None => inside.to_owned(),
            Some(root) => root.join(relative(&follow(root, inside))),
        }
    }

    /// `inside` without symbolic links.
    pub fn real(&self, inside: &Path) -> PathBuf {
        match &self.0 {
            None => fs::canonicalize(inside).unwrap_or_else(|_| inside.to_owned()),
            Some(root) => follow(root, inside),
        }
    }

    /// Whether `inside` is a symbolic link itself.
    pub fn is_link(&self, inside: &Path) -> bool {
        let (Some(parent), Some(name)) = (inside.parent(), inside.file_name()) else {
            return false;
        };
        self.on_host(parent).join(name).is_symlink()
    }

    /// Translates a path that the user gave to one inside the root. A path on this machine that is below the root loses that
    /// prefix. Any other absolute path is taken as one inside.
    pub fn inside(&self, given: &Path) -> std::io::Result<PathBuf> {
        let Some(root) = &self.0 else {
            return std::path::absolute(given);
        };
        if let Ok(real) = fs::canonicalize(given)
            && let Ok(below) = real.strip_prefix(root)
        {
            return Ok(Path::new("/").join(below));
        }
        if given.is_absolute() {
            return Ok(given.to_owned());
        }
        let absolute = std::path::absolute(given)?;
        let below = absolute.strip_prefix(root);
        below
            .map(|below| Path::new("/").join(below))
            .map_err(|_| std::io::ErrorKind::NotFound.into())
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Resolves `path` below `root` link by link. `..` at the top stays at the top.
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
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        if target.is_absolute() {
                            done = PathBuf::from("/");
                        }
                        rest.extend(parts(&target));
                    }
                    _ => done.push(name),
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
        assert_eq!(on_host("/loop"), base.join("loop"));
        assert_eq!(root.real(Path::new("/lib/../lib")), Path::new("/usr/lib"));
        let given = base.join("usr/lib");
        assert_eq!(root.inside(&given).unwrap(), Path::new("/usr/lib"));
        assert_eq!(root.inside(Path::new("/opt")).unwrap(), Path::new("/opt"));
    }
}
