//! The directory for unpacked bundles: in the user's cache, or without one, among the temporary files. No other user can change what is
//! in it.

use core::ffi::CStr;

use alloc::vec;
use alloc::vec::Vec;

use sidecar::Ownership;
use sidecar::ownership::{BY_ALL, STICKY};
use sys::errno::{EEXIST, ENOENT};
use sys::files::{self, flags};
use sys::syscall::{AT_FDCWD, close, open_flags, owner};

use crate::failure::{Reason, ok};
use crate::payload::Payload;
use crate::process::Process;
use crate::{digits, terminated, tree};

const PATH_MAX: usize = 4096;

/// Opens a directory for files below it.
const DIRECTORY: usize = open_flags::PATH | flags::DIRECTORY | flags::CLOEXEC;

/// Where bundles may be.
pub struct Cache {
    user: u32,
    /// Best first.
    places: Vec<Place>,
}

struct Place {
    /// A directory of the user, which is made if it does not exist, or one for temporary files.
    base: Vec<u8>,
    is_of_user: bool,
    /// The path below it.
    below: Vec<u8>,
}

/// Why a bundle is not in a directory.
type NotPlaced = (Vec<u8>, Reason);

impl Cache {
    pub fn of(process: &Process) -> Self {
        let directory = |name: &str| {
            let value = process.variable(name).map(CStr::to_bytes);
            value
                .filter(|value| value.starts_with(b"/"))
                .map(<[u8]>::to_vec)
        };
        let in_home = || {
            let mut home = directory("HOME")?;
            home.extend(b"/.cache");
            Some(home)
        };
        let of_user = directory("XDG_CACHE_HOME").or_else(in_home);
        let of_user = of_user.map(|base| Place {
            base,
            is_of_user: true,
            below: b"wrap-buddy/bundle".to_vec(),
        });
        let user = process.user();
        let mut below = b"wrap-buddy-".to_vec();
        digits(user, &mut below);
        below.extend(b"/bundle");
        let temporary = Place {
            base: directory("TMPDIR").unwrap_or_else(|| b"/tmp".to_vec()),
            is_of_user: false,
            below,
        };
        Self {
            user,
            places: of_user.into_iter().chain([temporary]).collect(),
        }
    }

    /// Unpacks the bundle, unless it is there. Returns its path.
    pub fn place(&self, payload: Payload) -> Result<Vec<u8>, NotPlaced> {
        let name = terminated(&payload.name);
        let name = CStr::from_bytes_with_nul(&name).unwrap_or_default();
        let mut first_reason = None;
        for place in &self.places {
            let opened = self.open(place);
            match opened.and_then(|directory| Ok((directory, locked(directory, name)?))) {
                Ok((directory, lock)) => {
                    let path = [&real(directory)[..], b"/", name.to_bytes()].concat();
                    let unpacked = match lock {
                        Some(_) => unpack(directory, name, payload),
                        None => Ok(()),
                    };
                    return match unpacked {
                        Ok(()) => Ok(path),
                        Err(reason) => Err((path, reason)),
                    };
                }
                Err(reason) => {
                    let path = [&place.base[..], b"/", &place.below[..]].concat();
                    first_reason = first_reason.or(Some((path, reason)));
                }
            }
        }
        Err(first_reason.unwrap_or((Vec::new(), Reason::NotPrivate)))
    }

    /// Opens the directory, and makes it if it does not exist.
    fn open(&self, place: &Place) -> Result<usize, Reason> {
        let mut directory = ok(files::open(AT_FDCWD, c"/", DIRECTORY, 0))?;
        let mut is_made = false;
        let base = parts(&place.base).map(|part| (part, true));
        for (part, is_base) in base.chain(parts(&place.below).map(|part| (part, false))) {
            let part = terminated(part);
            let part = of_bytes(&part)?;
            // Another user may have made a link among the temporary files.
            let may_be_link = is_base || place.is_of_user;
            let links = if may_be_link { 0 } else { open_flags::NOFOLLOW };
            let mut opened = files::open(directory, part, DIRECTORY | links, 0);
            if opened.errno() == ENOENT && (place.is_of_user || !is_base) {
                if !is_made {
                    self.check(directory, place.is_of_user)?;
                    is_made = true;
                }
                let made = files::make_directory(directory, part, 0o700);
                if made.errno() != 0 && made.errno() != EEXIST {
                    return Err(Reason::Kernel(made.errno()));
                }
                opened = files::open(directory, part, DIRECTORY | links, 0);
            }
            close(directory);
            directory = ok(opened)?;
        }
        self.check(directory, true)?;
        Ok(directory)
    }

    /// Refuses a directory that others can write to, or replace. It has to be the user's own, or if it is for temporary files, one in
    /// which others cannot replace the user's files.
    fn check(&self, directory: usize, is_own: bool) -> Result<(), Reason> {
        let top = ok(files::open(AT_FDCWD, c"/", DIRECTORY, 0))?;
        // In a user namespace, the owner of `/` may be nobody.
        let of_top = owner(top).user;
        close(top);
        let is_guarded = |found: Ownership| {
            let is_trusted = [0, self.user, of_top].contains(&found.user);
            is_trusted && found.mode != 0 && (found.mode & STICKY != 0 || found.mode & BY_ALL == 0)
        };
        let path = real(directory);
        if !path.starts_with(b"/") {
            return Err(Reason::NotPrivate);
        }
        let ends = (0..path.len()).filter(|&at| path[at] == b'/');
        for end in ends.map(|at| at.max(1)) {
            let above = terminated(&path[..end]);
            let above = of_bytes(&above)?;
            let opened = ok(files::open(
                AT_FDCWD,
                above,
                DIRECTORY | open_flags::NOFOLLOW,
                0,
            ))?;
            let found = owner(opened);
            close(opened);
            if !is_guarded(found) {
                return Err(Reason::NotPrivate);
            }
        }
        let found = owner(directory);
        let is_private = found.user == self.user && found.mode & BY_ALL == 0;
        match is_private || !is_own && is_guarded(found) {
            true => Ok(()),
            false => Err(Reason::NotPrivate),
        }
    }
}

/// Locks the name of a bundle that is not there, until this process ends. Other processes that start the same bundle wait here. `None` if
/// it is there.
fn locked(directory: usize, name: &CStr) -> Result<Option<usize>, Reason> {
    if exists(directory, name) {
        return Ok(None);
    }
    let lock_name = hidden(name, b".lock\0");
    let lock_name = of_bytes(&lock_name)?;
    let flags = open_flags::RDWR | flags::CREATE | flags::CLOEXEC | open_flags::NOFOLLOW;
    let lock = ok(files::open(directory, lock_name, flags, 0o600))?;
    ok(files::lock(lock))?;
    if exists(directory, name) {
        files::unlink(directory, lock_name, false);
        return Ok(None);
    }
    Ok(Some(lock))
}

/// Unpacks under another name, and renames when all is there.
fn unpack(directory: usize, name: &CStr, payload: Payload) -> Result<(), Reason> {
    let (lock, new) = (hidden(name, b".lock\0"), hidden(name, b".new\0"));
    let (lock, new) = (of_bytes(&lock)?, of_bytes(&new)?);
    // Of a start that was killed.
    tree::remove(directory, new);
    let made = ok(files::make_directory(directory, new, 0o700));
    let filled = made.and_then(|_| tree::fill(directory, new, payload));
    let renamed = filled.and_then(|()| ok(files::rename(directory, new, name)));
    match renamed {
        // A process that has the lock from now on finds the bundle.
        Ok(_) => drop(files::unlink(directory, lock, false)),
        Err(_) => tree::remove(directory, new),
    }
    renamed.map(drop)
}

fn exists(directory: usize, name: &CStr) -> bool {
    let opened = files::open(directory, name, DIRECTORY | open_flags::NOFOLLOW, 0);
    if opened.errno() == 0 {
        close(opened.0);
    }
    opened.errno() == 0
}

fn hidden(name: &CStr, end: &[u8]) -> Vec<u8> {
    [&b"."[..], name.to_bytes(), end].concat()
}

fn of_bytes(path: &[u8]) -> Result<&CStr, Reason> {
    CStr::from_bytes_with_nul(path).map_err(|_| Reason::Damaged)
}

/// The path of an open directory, without symbolic links.
fn real(directory: usize) -> Vec<u8> {
    let mut link = b"/proc/self/fd/".to_vec();
    digits(directory as u32, &mut link);
    link.push(0);
    let mut path = vec![0; PATH_MAX];
    let link = CStr::from_bytes_with_nul(&link).unwrap_or_default();
    let read = files::read_link(AT_FDCWD, link, &mut path);
    path.truncate(if read.errno() == 0 { read.0 } else { 0 });
    path
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = path.split(|&byte| byte == b'/');
    parts.filter(|part| !part.is_empty())
}
