//! Directories held open. What is done in one goes by its handle and a name: whoever can rename what is on the way to it, or put a
//! symbolic link there, changes nothing about which directory that is.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstatat, mkdirat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, linkat, symlinkat, unlinkat};

/// The owner's permission to write.
pub const MODE_WRITE: u32 = 0o200;

/// For files: nothing is waited for, neither the other end of a FIFO nor whoever holds a lease, and no terminal becomes this
/// process's own.
const FILE: OFlag = OFlag::O_NONBLOCK
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// For directories: to work in one takes no right to read it.
const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The directory itself, as a name in it.
const ITSELF: &str = ".";

/// What a symbolic link is called until it replaces another one.
const FRESH: &str = ".wrapbuddy-new";

/// For directories whose names are read.
const LISTED: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory, open.
#[derive(Clone, Debug)]
pub struct Directory(Arc<File>);

/// What a name in a directory is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Directory,
    File,
    Link,
    Other,
}

impl Directory {
    /// Opens the directory at `path`, which is absolute and has no symbolic link in it.
    ///
    /// # Errors
    /// As `open(2)`; ELOOP where there is a symbolic link by now.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_without_links(path, DIRECTORY)?)
    }

    fn of(handle: OwnedFd) -> io::Result<Self> {
        Ok(Self(Arc::new(handle.into())))
    }

    /// Opens the directory called `name` in this one. It has to be on the same mount.
    ///
    /// # Errors
    /// As `open(2)`; ELOOP or ENOTDIR for a symbolic link.
    pub fn subdirectory(&self, name: &OsStr) -> io::Result<Self> {
        Self::of(self.open_here(name, DIRECTORY)?)
    }

    /// Opens the directory at `path`, which is absolute and has no symbolic link in it, so that its names can be read.
    ///
    /// # Errors
    /// As `open(2)`; ELOOP where there is a symbolic link by now.
    pub fn open_listed(path: &Path) -> io::Result<Self> {
        Self::of(open_without_links(path, LISTED)?)
    }

    /// Opens the directory called `name` in this one, so that its names can be read. It may be on another mount.
    ///
    /// # Errors
    /// As `open(2)`; ENOTDIR for a symbolic link.
    pub fn subdirectory_listed(&self, name: &OsStr) -> io::Result<Self> {
        Self::of(openat(self, only_name(name)?, LISTED, Mode::empty())?)
    }

    /// Calls `each` with every name in the directory, opened to be listed, until it returns false.
    ///
    /// # Errors
    /// As `readdir(3)`.
    pub fn list(&self, mut each: impl FnMut(&OsStr, EntryKind) -> bool) -> io::Result<()> {
        for entry in Dir::from_fd(self.0.try_clone()?.into())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(kind) => EntryKind::from(kind),
                // Some file systems do not say; the name may be gone by now.
                None => match self.metadata_of(name) {
                    Ok(metadata) => EntryKind::from(metadata.file_type()),
                    Err(_) => continue,
                },
            };
            if !each(name, kind) {
                break;
            }
        }
        Ok(())
    }

    /// What the directory is.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// A path to this very directory, wherever it is by now, for system calls that take no handle. It goes by /proc.
    pub fn by_handle(&self) -> PathBuf {
        handle_path(&self.0)
    }

    /// What is called `name`, itself and not where it leads if it is a symbolic link.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn metadata_of(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        File::from(openat(self, only_name(name)?, flags, Mode::empty())?).metadata()
    }

    /// Opens the regular file called `name`, for reading or, with O_RDWR as `access`, for writing too.
    ///
    /// # Errors
    /// As `open(2)`, and for anything but a regular file.
    pub fn file(&self, name: &OsStr, access: OFlag) -> io::Result<(File, Metadata)> {
        let handle = openat(self, only_name(name)?, access | FILE, Mode::empty())?;
        regular(handle)
    }

    /// The same, for reading, of a file that has to be on the same mount: one that this tool has made.
    ///
    /// # Errors
    /// As [`Directory::file`].
    pub fn own_file(&self, name: &OsStr) -> io::Result<(File, Metadata)> {
        regular(self.open_here(only_name(name)?, OFlag::O_RDONLY | FILE)?)
    }

    /// Creates a file called `name`, which is not there yet.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let new = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | FILE;
        Ok(openat(self, only_name(name)?, new, Mode::from_bits_truncate(mode))?.into())
    }

    /// A file that is to replace another one. It has no name yet or, on file systems without such files, is called `fresh`: the next
    /// run takes that name again, should this one be stopped.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn temporary(&self, fresh: OsString) -> io::Result<Temporary> {
        let directory = self.clone();
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        if can_be_named()
            && let Ok(handle) = openat(self, ITSELF, flags, mode)
        {
            return Ok(Temporary {
                directory,
                file: handle.into(),
                name: fresh,
                is_named: false,
            });
        }
        self.unlink(&fresh)?;
        let file = self.create(&fresh, 0o600)?;
        Ok(Temporary {
            directory,
            file,
            name: fresh,
            is_named: true,
        })
    }

    /// Makes a directory that its owner alone can write to; whether it was not there yet.
    ///
    /// # Errors
    /// As `mkdir(2)`.
    pub fn make_directory(&self, name: &OsStr) -> io::Result<bool> {
        match mkdirat(self, only_name(name)?, Mode::from_bits_truncate(0o755)) {
            Err(Errno::EEXIST) => Ok(false),
            made => Ok(made.map(|()| true)?),
        }
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// As `symlink(2)`.
    pub fn symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(symlinkat(target, self, only_name(name)?)?)
    }

    /// The same, in the place of what is called so.
    ///
    /// # Errors
    /// As `symlink(2)` and `rename(2)`.
    pub fn replace_by_symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        let fresh = OsStr::new(FRESH);
        self.unlink(fresh)?;
        self.symlink(fresh, target)?;
        self.rename(fresh, name)
    }

    /// Where the symbolic link called `name` leads.
    ///
    /// # Errors
    /// As `readlink(2)`; EINVAL where it is no symbolic link.
    pub fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        Ok(readlinkat(self, only_name(name)?)?.into())
    }

    /// Removes a regular file; `false` where none is called so.
    ///
    /// # Errors
    /// As `unlink(2)`, and for anything but a regular file.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<bool> {
        match self.metadata_of(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(found) if found.is_file() => self.unlink(name),
            Ok(_) => Err(not_regular()),
        }
    }

    /// Removes whatever is called `name` and is no directory; `false` where there is nothing.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub fn unlink(&self, name: &OsStr) -> io::Result<bool> {
        gone(unlinkat(self, only_name(name)?, UnlinkatFlags::NoRemoveDir))
    }

    /// Removes an empty directory; `false` where nothing is called so.
    ///
    /// # Errors
    /// As `rmdir(2)`.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<bool> {
        gone(unlinkat(self, only_name(name)?, UnlinkatFlags::RemoveDir))
    }

    /// Removes what a run has left that was stopped while it [replaced](Self::replace_by_symlink) a symbolic link.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub fn remove_fresh_symlink(&self) -> io::Result<bool> {
        match self.link_target(OsStr::new(FRESH)) {
            Ok(_) => self.unlink(OsStr::new(FRESH)),
            Err(_) => Ok(false),
        }
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        renameat(self, from, self, only_name(to)?).map_err(|error| {
            let _ = self.unlink(from);
            error.into()
        })
    }

    /// Sets the mode of the directory.
    ///
    /// # Errors
    /// As `chmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        Ok(fchmodat(self, ITSELF, mode, FchmodatFlags::FollowSymlink)?)
    }

    /// Whether all this may be done with the directory, by effective ids.
    ///
    /// # Errors
    /// As `access(2)`.
    pub fn may(&self, what: AccessFlags) -> io::Result<()> {
        Ok(faccessat(self, ITSELF, what, AtFlags::AT_EACCESS)?)
    }

    /// The same of what is called `name`.
    ///
    /// # Errors
    /// As `access(2)`.
    pub fn may_with(&self, name: &OsStr, what: AccessFlags) -> io::Result<()> {
        Ok(faccessat(
            self,
            only_name(name)?,
            what,
            AtFlags::AT_EACCESS,
        )?)
    }

    /// Has the names in it reach the disk.
    ///
    /// # Errors
    /// As `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        File::from(openat(self, ITSELF, flags, Mode::empty())?).sync_all()
    }

    /// Opens what is called `name` and neither a symbolic link nor something that is mounted there.
    fn open_here(&self, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
        let resolve = NO_LINKS | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        match openat2(self, only_name(name)?, how) {
            Err(Errno::ENOSYS | Errno::EPERM) => Ok(openat(self, name, flags, Mode::empty())?),
            opened => Ok(opened?),
        }
    }
}

impl From<Type> for EntryKind {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Directory => Self::Directory,
            Type::File => Self::File,
            Type::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

impl From<FileType> for EntryKind {
    fn from(kind: FileType) -> Self {
        if kind.is_dir() {
            Self::Directory
        } else if kind.is_file() {
            Self::File
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::Other
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file that nobody else knows yet. It is gone when this is dropped.
#[derive(Debug)]
pub struct Temporary {
    directory: Directory,
    file: File,
    /// What it is called, or is to be called.
    name: OsString,
    is_named: bool,
}

impl Temporary {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Calls it `name`, whatever is called so before.
    ///
    /// # Errors
    /// As `rename(2)`.
    pub fn replace(mut self, name: &OsStr) -> io::Result<File> {
        if !self.is_named {
            self.link().or_else(|error| match error {
                // A run was stopped right here.
                Errno::EEXIST => {
                    self.directory.unlink(&self.name)?;
                    Ok(self.link()?)
                }
                error => Err(io::Error::from(error)),
            })?;
        }
        // Should that fail, the name goes.
        self.is_named = false;
        self.directory.rename(&self.name, name)?;
        self.file.try_clone()
    }

    /// The same for a program: nobody has it open for writing when it gets the name, or the kernel would start it for nobody
    /// (ETXTBSY).
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn replace_program(mut self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | FILE;
        let opened = match self.is_named {
            true => openat(&self.directory, &*self.name, flags, Mode::empty()),
            false => {
                let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
                nix::fcntl::open(&handle_path(&self.file), flags, Mode::empty())
            }
        };
        // A program that nobody may read is as good with the other handle, which is closed soon.
        if let Ok(opened) = opened {
            self.file = opened.into();
        }
        // No other run works on it until this one is done.
        let _ = self.file.try_lock();
        self.replace(name)
    }

    fn link(&self) -> nix::Result<()> {
        let handle = handle_path(&self.file);
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(AT_FDCWD, &handle, &self.directory, &*self.name, follow)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_named {
            let _ = self.directory.unlink(&self.name);
        }
    }
}

/// Where /proc has what is open.
fn handle_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Whether a program that has no name any more still runs.
pub fn is_running(program: &File) -> bool {
    let handle = handle_path(program);
    let open = || nix::fcntl::open(&handle, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    let opened = match open() {
        // Its mode is of no matter to anybody any more.
        Err(Errno::EACCES) if fchmod(program, Mode::S_IRUSR | Mode::S_IWUSR).is_ok() => open(),
        opened => opened,
    };
    opened.is_err()
}

/// Whether a file without a name can get one: that goes by /proc.
fn can_be_named() -> bool {
    fstatat(AT_FDCWD, "/proc/self/fd", AtFlags::empty()).is_ok()
}

/// Opens the regular file at `path`, which is absolute and has no symbolic link in it, for reading.
///
/// # Errors
/// As `open(2)`; ELOOP where there is a symbolic link by now. Not for other kinds of files: their kind is for the caller to see.
pub fn open_file(path: &Path) -> io::Result<File> {
    Ok(open_without_links(path, OFlag::O_RDONLY | FILE)?.into())
}

const NO_LINKS: ResolveFlag =
    ResolveFlag::RESOLVE_NO_SYMLINKS.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

fn open_without_links(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(NO_LINKS);
    match openat2(AT_FDCWD, path, how) {
        // Linux before 5.6; filters of containers that do not know the call refuse it.
        Err(Errno::ENOSYS | Errno::EPERM) => step_by_step(path, flags),
        opened => Ok(opened?),
    }
}

/// The same where the kernel does not see to the links.
fn step_by_step(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut parts = parts.peekable();
    let mut at = nix::fcntl::open("/", DIRECTORY, Mode::empty())?;
    while let Some(name) = parts.next() {
        let flags = match parts.peek() {
            Some(_) => DIRECTORY,
            None => flags,
        };
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

fn regular(handle: OwnedFd) -> io::Result<(File, Metadata)> {
    let file = File::from(handle);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

fn gone(removed: nix::Result<()>) -> io::Result<bool> {
    match removed {
        Err(Errno::ENOENT) => Ok(false),
        removed => Ok(removed.map(|()| true)?),
    }
}

/// Refuses what would lead out of the directory.
fn only_name(name: &OsStr) -> io::Result<&OsStr> {
    match Path::new(name).file_name() == Some(name) {
        true => Ok(name),
        false => Err(io::ErrorKind::InvalidFilename.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(path.join("real")).unwrap();
        fs::write(path.join("real/file"), "content").unwrap();
        symlink("real", path.join("link")).unwrap();
        symlink("file", path.join("real/link")).unwrap();
        (directory, path)
    }

    #[test]
    fn no_part_of_a_path_is_a_link() {
        let (_directory, path) = tree();
        type Way = fn(&Path, OFlag) -> io::Result<OwnedFd>;
        for way in [open_without_links as Way, step_by_step] {
            let file = |name: &str| way(&path.join(name), OFlag::O_RDONLY | FILE);
            assert!(file("real/file").is_ok());
            assert!(file("link/file").is_err());
            assert!(file("real/link").is_err());
            let directory = |name: &str| way(&path.join(name), DIRECTORY);
            assert!(directory("real").is_ok());
            assert!(directory("").is_ok());
            assert!(directory("link").is_err());
            assert!(directory("real/file").is_err());
        }
        let top = Directory::open(&path).unwrap();
        assert!(top.subdirectory(OsStr::new("real")).is_ok());
        assert!(top.subdirectory(OsStr::new("link")).is_err());
        let real = Directory::open(&path.join("real")).unwrap();
        let open = |name: &str| real.file(OsStr::new(name), OFlag::O_RDWR);
        assert!(open("file").is_ok());
        for name in ["link", "../real/file", "..", ".", ""] {
            assert!(open(name).is_err(), "{name}");
        }
        assert!(real.own_file(OsStr::new("file")).is_ok());
        assert!(real.own_file(OsStr::new("link")).is_err());
    }

    #[test]
    fn only_what_is_meant_is_removed() {
        let (_directory, path) = tree();
        let top = Directory::open(&path).unwrap();
        assert!(top.remove_file(OsStr::new("link")).is_err());
        assert!(top.remove_file(OsStr::new("real")).is_err());
        assert!(top.remove_directory(OsStr::new("link")).is_err());
        assert!(top.remove_directory(OsStr::new("real")).is_err());
        assert!(!top.remove_file(OsStr::new("none")).unwrap());
        assert!(!top.remove_directory(OsStr::new("none")).unwrap());
        let real = top.subdirectory(OsStr::new("real")).unwrap();
        assert!(real.remove_file(OsStr::new("file")).unwrap());
        assert!(path.join("real/link").is_symlink());
    }

    #[test]
    fn a_temporary_file_has_its_name_at_once_or_none() {
        let (_directory, path) = tree();
        let real = Directory::open(&path.join("real")).unwrap();
        let count = || fs::read_dir(path.join("real")).unwrap().count();
        let fresh = || OsString::from("fresh");
        drop(real.temporary(fresh()).unwrap());
        assert_eq!(count(), 2);
        let temporary = |is_named: bool| {
            // What a run has left that was stopped.
            fs::write(path.join("real/fresh"), "left").unwrap();
            let mut temporary = real.temporary(fresh()).unwrap();
            if is_named {
                real.unlink(&fresh()).unwrap();
                temporary.file = real.create(&fresh(), 0o600).unwrap();
                temporary.is_named = true;
            }
            temporary
        };
        drop(temporary(true));
        assert_eq!(count(), 2);
        for is_named in [false, true] {
            temporary(is_named).replace(OsStr::new("file")).unwrap();
            assert_eq!(fs::read(path.join("real/file")).unwrap(), b"");
            assert_eq!(count(), 2);
            fs::write(path.join("real/file"), "content").unwrap();
        }
        real.replace_by_symlink(OsStr::new("file"), Path::new("x"))
            .unwrap();
        assert_eq!(
            fs::read_link(path.join("real/file")).unwrap(),
            Path::new("x")
        );
        assert_eq!(count(), 2);
    }
}
