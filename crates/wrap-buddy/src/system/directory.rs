//! Open directories. Files are reached by a directory handle and a name, so that nobody can redirect an operation by renaming a parent
//! directory or replacing it by a symbolic link.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat,
};
use nix::sys::stat::{
    FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, fstatat, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, linkat, symlinkat, unlinkat};

pub const MODE_WRITE: u32 = 0o200;

/// For files: do not wait for the other end of a FIFO or for the holder of a lease, and do not acquire a controlling terminal.
const FILE: OFlag = OFlag::O_NONBLOCK
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// For directories. O_PATH does not need the right to read them.
const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

const ITSELF: &str = ".";

/// Temporary name of a symbolic link that is to replace another one.
const FRESH: &str = ".wrapbuddy-new";

/// Name of a file that is removed while it is in use.
const UNNAMED: &str = ".wrapbuddy-copy";

/// For directories that are listed.
const LISTED: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// An open directory.
#[derive(Clone, Debug)]
pub struct Directory(Arc<File>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Directory,
    File,
    Link,
    Other,
}

impl Directory {
    /// Opens the directory at `path`, which must be absolute and free of symbolic links.
    ///
    /// # Errors
    /// As `open(2)`; ELOOP if part of the path has become a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_without_links(path, DIRECTORY)?)
    }

    fn of(handle: OwnedFd) -> io::Result<Self> {
        Ok(Self(Arc::new(handle.into())))
    }

    /// Opens the directory `name` in this one. It has to be on the same mount.
    ///
    /// # Errors
    /// As `open(2)`; ELOOP or ENOTDIR for a symbolic link.
    pub fn subdirectory(&self, name: &OsStr) -> io::Result<Self> {
        Self::of(self.open_here(name, DIRECTORY)?)
    }

    /// Like [`open`](Self::open), for a directory that is to be listed.
    pub fn open_listed(path: &Path) -> io::Result<Self> {
        Self::of(open_without_links(path, LISTED)?)
    }

    /// Like [`subdirectory`](Self::subdirectory), for a directory that is to be listed. It may be on another mount.
    pub fn subdirectory_listed(&self, name: &OsStr) -> io::Result<Self> {
        Self::of(openat(self, only_name(name)?, LISTED, Mode::empty())?)
    }

    /// Calls `each` with every name in the directory, which must have been opened to be listed, until `each` returns false.
    pub fn list(&self, mut each: impl FnMut(&OsStr, EntryKind) -> bool) -> io::Result<()> {
        for entry in Dir::from_fd(self.0.try_clone()?.into())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(kind) => EntryKind::from(kind),
                // Some file systems do not report the type. The name may have been removed in between.
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

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// A path to this directory by way of /proc, for system calls that take no handle. It stays valid if the directory is moved.
    pub fn by_handle(&self) -> PathBuf {
        handle_path(&self.0)
    }

    /// Metadata of `name` itself: a symbolic link is not followed.
    pub fn metadata_of(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        File::from(openat(self, only_name(name)?, flags, Mode::empty())?).metadata()
    }

    /// Opens the regular file `name`, for reading or, with O_RDWR as `access`, for writing too.
    ///
    /// # Errors
    /// As `open(2)`; [`not_regular`] for anything but a regular file.
    pub fn file(&self, name: &OsStr, access: OFlag) -> io::Result<(File, Metadata)> {
        let handle = openat(self, only_name(name)?, access | FILE, Mode::empty())?;
        regular(handle)
    }

    /// Like [`file`](Self::file), for reading a file that this tool has made: it has to be on the same mount.
    pub fn own_file(&self, name: &OsStr) -> io::Result<(File, Metadata)> {
        regular(self.open_here(only_name(name)?, OFlag::O_RDONLY | FILE)?)
    }

    /// Creates the file `name`. It must not exist.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let new = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | FILE;
        Ok(openat(self, only_name(name)?, new, Mode::from_bits_truncate(mode))?.into())
    }

    /// A file that is to replace another one. It has no name until then. On file systems without O_TMPFILE it is called `fresh`; if this
    /// run is stopped, the next one reuses that name.
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

    /// A file without a name, where the file system has that; otherwise one that is removed at once.
    pub fn unnamed(&self) -> io::Result<File> {
        let temporary = self.temporary(OsString::from(UNNAMED))?;
        temporary.file().try_clone()
    }

    /// Makes a directory that only its owner can write to. Returns false if it exists.
    pub fn make_directory(&self, name: &OsStr) -> io::Result<bool> {
        match mkdirat(self, only_name(name)?, Mode::from_bits_truncate(0o755)) {
            Err(Errno::EEXIST) => Ok(false),
            made => Ok(made.map(|()| true)?),
        }
    }

    pub fn symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(symlinkat(target, self, only_name(name)?)?)
    }

    /// Replaces `name` by a symbolic link to `target`.
    pub fn replace_by_symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        let fresh = OsStr::new(FRESH);
        self.unlink(fresh)?;
        self.symlink(fresh, target)?;
        self.rename(fresh, name)
    }

    /// Reads the symbolic link `name`.
    ///
    /// # Errors
    /// As `readlink(2)`; EINVAL if it is not a symbolic link.
    pub fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        Ok(readlinkat(self, only_name(name)?)?.into())
    }

    /// Removes the regular file `name`. Returns false if it does not exist.
    ///
    /// # Errors
    /// As `unlink(2)`; [`not_regular`] for anything but a regular file.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<bool> {
        match self.metadata_of(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(found) if found.is_file() => self.unlink(name),
            Ok(_) => Err(not_regular()),
        }
    }

    /// Removes `name`, which is not a directory. Returns false if it does not exist.
    pub fn unlink(&self, name: &OsStr) -> io::Result<bool> {
        gone(unlinkat(self, only_name(name)?, UnlinkatFlags::NoRemoveDir))
    }

    /// Removes an empty directory. Returns false if it does not exist.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<bool> {
        gone(unlinkat(self, only_name(name)?, UnlinkatFlags::RemoveDir))
    }

    /// Removes `name` with everything below it, if it is there.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        let directory = match self.subdirectory_listed(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let mut below = Vec::new();
        directory.list(|name, kind| {
            below.push((name.to_owned(), kind));
            true
        })?;
        for (name, kind) in below {
            match kind {
                EntryKind::Directory => directory.remove_tree(&name)?,
                _ => drop(directory.unlink(&name)?),
            }
        }
        self.remove_directory(name).map(drop)
    }

    /// Gives the file `name` the further name `new` in the directory `to`.
    pub fn hard_link(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(linkat(self, only_name(name)?, to, only_name(new)?, flags)?)
    }

    /// Sets the time of modification of `name` itself: a symbolic link is not followed.
    pub fn set_modified(&self, name: &OsStr, time: SystemTime) -> io::Result<()> {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let time = TimeSpec::from_duration(since);
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(self, only_name(name)?, &time, &time, flags)?)
    }

    /// Renames the directory `from` to `to`, which must not exist, or be an empty directory.
    pub fn rename_directory(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(self, only_name(from)?, self, only_name(to)?)?)
    }

    /// Removes the temporary link of a run that was stopped in [`replace_by_symlink`](Self::replace_by_symlink).
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

    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        Ok(fchmodat(self, ITSELF, mode, FchmodatFlags::FollowSymlink)?)
    }

    /// Checks the effective user's access to the directory.
    pub fn may(&self, what: AccessFlags) -> io::Result<()> {
        Ok(faccessat(self, ITSELF, what, AtFlags::AT_EACCESS)?)
    }

    /// Checks the effective user's access to `name`.
    pub fn may_with(&self, name: &OsStr, what: AccessFlags) -> io::Result<()> {
        Ok(faccessat(
            self,
            only_name(name)?,
            what,
            AtFlags::AT_EACCESS,
        )?)
    }

    /// Flushes the names in the directory to disk.
    pub fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        File::from(openat(self, ITSELF, flags, Mode::empty())?).sync_all()
    }

    /// Opens `name`, which must be neither a symbolic link nor a mount point.
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

/// A new file that has not replaced its target yet. Dropping it removes the file.
#[derive(Debug)]
pub struct Temporary {
    directory: Directory,
    file: File,
    /// Its current or future name.
    name: OsString,
    is_named: bool,
}

impl Temporary {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Names the file `name`, replacing any file of that name.
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
        // `rename` removes the name if it fails.
        self.is_named = false;
        self.directory.rename(&self.name, name)?;
        self.file.try_clone()
    }

    /// Like [`replace`](Self::replace), for a program: first reopens it read-only, because the kernel does not start a program that is open
    /// for writing (ETXTBSY).
    pub fn replace_program(mut self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | FILE;
        let opened = match self.is_named {
            true => openat(&self.directory, &*self.name, flags, Mode::empty()),
            false => {
                let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
                nix::fcntl::open(&handle_path(&self.file), flags, Mode::empty())
            }
        };
        // A file without read permission keeps the other handle, which is closed soon.
        if let Ok(opened) = opened {
            self.file = opened.into();
        }
        // Other runs leave the file alone until this one is done.
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

fn handle_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Whether `program`, which has no name any more, is still running.
pub fn is_running(program: &File) -> bool {
    let handle = handle_path(program);
    let open = || nix::fcntl::open(&handle, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    let opened = match open() {
        // The file has no name, so its mode matters to nobody.
        Err(Errno::EACCES) if fchmod(program, Mode::S_IRUSR | Mode::S_IWUSR).is_ok() => open(),
        opened => opened,
    };
    opened.is_err()
}

/// Whether a file without a name can get one: linkat needs /proc for it.
fn can_be_named() -> bool {
    fstatat(AT_FDCWD, "/proc/self/fd", AtFlags::empty()).is_ok()
}

/// The directory `path`, or the directory of the file `path`, free of symbolic links.
pub fn real_directory(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    match real.is_dir() {
        true => Some(real),
        false => real.parent().map(Path::to_owned),
    }
}

/// Opens the file at `path` for reading. The path must be absolute and free of symbolic links.
///
/// # Errors
/// As `open(2)`; ELOOP if part of the path has become a symbolic link. It may open other kinds of files: the caller checks.
pub fn open_file(path: &Path) -> io::Result<File> {
    Ok(open_without_links(path, OFlag::O_RDONLY | FILE)?.into())
}

const NO_LINKS: ResolveFlag =
    ResolveFlag::RESOLVE_NO_SYMLINKS.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

fn open_without_links(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(NO_LINKS);
    match openat2(AT_FDCWD, path, how) {
        // Linux before 5.6 has no openat2; seccomp filters of containers that do not know it return EPERM.
        Err(Errno::ENOSYS | Errno::EPERM) => step_by_step(path, flags),
        opened => Ok(opened?),
    }
}

/// The same without openat2.
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

/// Rejects names that lead out of the directory.
fn only_name(name: &OsStr) -> io::Result<&OsStr> {
    match Path::new(name).file_name() == Some(name) {
        true => Ok(name),
        false => Err(io::ErrorKind::InvalidFilename.into()),
    }
}

#[cfg(test)]
mod tests;
