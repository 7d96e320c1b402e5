//! Unpacks an archive to a directory, and removes directories.

use core::ffi::CStr;

use alloc::vec;
use alloc::vec::Vec;

use sys::files::{self, flags};
use sys::syscall::{close, open_flags};

use crate::failure::{Reason, ok};
use crate::payload::{Archive, Payload};
use crate::terminated;

/// The unit of an archive in bytes.
const BLOCK: usize = 512;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 17;
/// Maximum length of a name in bytes.
const MAX_NAME: u64 = 1 << 16;

/// Opens a directory to list it, or for files below it.
const LIST: usize = open_flags::RDONLY | flags::DIRECTORY | flags::CLOEXEC | open_flags::NOFOLLOW;

/// The flags of a new file.
const NEW: usize = flags::WRONLY | flags::CREATE | flags::EXCLUSIVE | flags::CLOEXEC;

/// Unpacks `payload` to the empty directory `name`, and writes all to the disk.
pub fn fill(above: usize, name: &CStr, payload: Payload) -> Result<(), Reason> {
    let directory = ok(files::open(above, name, LIST, 0))?;
    let unpacked = entries(directory, payload.unpacked()?);
    // After a power failure, a directory with its final name has all files.
    let unpacked = unpacked.and_then(|()| ok(files::sync_all(directory)).map(drop));
    close(directory);
    unpacked
}

fn entries(directory: usize, mut archive: Archive) -> Result<(), Reason> {
    let mut directories: Vec<(Vec<u8>, usize)> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let (mut long_name, mut long_target) = (None, None);
    loop {
        let mut header = [0; BLOCK];
        archive.read(&mut header)?;
        if header[0] == 0 {
            break;
        }
        let size = number(&header[124..136]);
        let kind = header[156];
        if kind == b'L' || kind == b'K' {
            let text = long(&mut archive, size)?;
            match kind {
                b'L' => long_name = Some(text),
                _ => long_target = Some(text),
            }
            continue;
        }
        let name = long_name.take();
        let path = below(&name.unwrap_or_else(|| text(&header[..100])));
        let target = long_target.take();
        let target = target.unwrap_or_else(|| text(&header[157..257]));
        let (mode, time) = (number(&header[100..108]), number(&header[136..148]));
        let (mode, time) = (mode as usize, time as usize);
        let at = name_of(&path)?;
        match kind {
            b'5' => {
                if path.len() > 1 {
                    ok(files::make_directory(directory, at, 0o700))?;
                    ok(files::set_mode(directory, at, mode))?;
                    directories.push((path, time));
                } else {
                    ok(files::set_mode(directory, c".", mode))?;
                    directories.push((terminated(b"."), time));
                }
                continue;
            }
            b'2' => drop(ok(files::symlink(
                name_of(&terminated(&target))?,
                directory,
                at,
            ))?),
            b'1' => {
                let first = below(&target);
                ok(files::hard_link(directory, name_of(&first)?, at))?;
                continue;
            }
            _ => {
                file(directory, at, &mut archive, size, &mut buffer)?;
                ok(files::set_mode(directory, at, mode))?;
            }
        }
        ok(files::set_time(directory, at, time))?;
    }
    for (path, time) in directories.iter().rev() {
        ok(files::set_time(directory, name_of(path)?, *time))?;
    }
    archive.finish()
}

/// Writes a file of `size` bytes, which are next in the archive.
fn file(
    directory: usize,
    path: &CStr,
    archive: &mut Archive,
    size: u64,
    buffer: &mut [u8],
) -> Result<(), Reason> {
    let fd = ok(files::open(directory, path, NEW, 0o600))?;
    let mut left = size;
    while left != 0 {
        let part = &mut buffer[..left.min(BUFFER as u64) as usize];
        archive.read(part)?;
        left -= part.len() as u64;
        let mut rest = &*part;
        while !rest.is_empty() {
            let written = ok(files::write(fd, rest))?;
            rest = &rest[written..];
        }
    }
    close(fd);
    skip(archive, size)
}

/// Reads the bytes that fill a unit after `size` bytes.
fn skip(archive: &mut Archive, size: u64) -> Result<(), Reason> {
    let over = size as usize % BLOCK;
    let mut rest = [0; BLOCK];
    archive.read(&mut rest[..(BLOCK - over) % BLOCK])
}

/// A name that does not fit into a header (GNU tar, type `L` or `K`).
fn long(archive: &mut Archive, size: u64) -> Result<Vec<u8>, Reason> {
    if size > MAX_NAME {
        return Err(Reason::Damaged);
    }
    let mut name = vec![0; size as usize];
    archive.read(&mut name)?;
    skip(archive, size)?;
    Ok(text(&name))
}

/// The bytes of a field up to a NUL.
fn text_of(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn text(field: &[u8]) -> Vec<u8> {
    text_of(field).to_vec()
}

/// A path of the archive without the directory that has everything, with a NUL.
fn below(path: &[u8]) -> Vec<u8> {
    let rest = path
        .splitn(2, |&byte| byte == b'/')
        .nth(1)
        .unwrap_or_default();
    terminated(rest.strip_suffix(b"/").unwrap_or(rest))
}

fn name_of(path: &[u8]) -> Result<&CStr, Reason> {
    CStr::from_bytes_with_nul(path).map_err(|_| Reason::Damaged)
}

/// A number in octal digits, or in binary after a byte of 0x80 (GNU tar).
fn number(field: &[u8]) -> u64 {
    let is_binary = field[0] & 0x80 != 0;
    let (shift, digits) = if is_binary {
        (8, &field[1..])
    } else {
        (3, field)
    };
    let digits = digits
        .iter()
        .filter(|&&byte| is_binary || (b'0'..b'8').contains(&byte));
    digits.fold(0, |number, &byte| {
        let digit = if is_binary { byte } else { byte - b'0' };
        number << shift | u64::from(digit)
    })
}

/// Removes the directory `name` with everything in it, as far as possible.
pub fn remove(above: usize, name: &CStr) {
    let opened = files::open(above, name, LIST, 0);
    if opened.errno() == 0 {
        let directory = opened.0;
        let mut buffer = vec![0; BUFFER / 4];
        loop {
            let read = files::entries(directory, &mut buffer);
            if read.errno() != 0 || read.0 == 0 {
                break;
            }
            let mut rest = &buffer[..read.0];
            // struct linux_dirent64: inode and offset, length in bytes, type, name.
            while let Some(&[low, high]) = rest.get(16..18) {
                let len = usize::from(u16::from_le_bytes([low, high]));
                let entry = rest.get(19..len).unwrap_or_default();
                if let Ok(name) = CStr::from_bytes_until_nul(entry)
                    && !matches!(name.to_bytes(), b"." | b"..")
                    && files::unlink(directory, name, false).errno() != 0
                {
                    remove(directory, name);
                }
                rest = rest.get(len..).unwrap_or_default();
            }
        }
        close(directory);
    }
    files::unlink(above, name, true);
}
