//! Reads a file in blocks by pread, however large the file is, and caches the blocks.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;

use crate::bytes;

const BLOCK: u64 = 4096;

/// Number of blocks in the cache. If headers are spread over more blocks, some are read again.
const MAX_BLOCKS: usize = 256;

const CUT_SHORT: &str = "it was cut short while being read";

/// Maximum length of a structure.
pub const MAX_READ: u64 = 8 << 20;

/// A file, with an overlay of bytes that are not (or not yet) in it.
#[derive(Debug)]
pub struct Source {
    file: File,
    metadata: Metadata,
    /// Block numbers and contents. The last one was used last, and is most likely to be used again.
    blocks: Vec<(u64, Box<[u8]>)>,
    overlay: Vec<(u64, Vec<u8>)>,
}

impl Source {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// Also if it is not a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_regular(path)?)
    }

    /// Takes a `file` that is open for reading.
    ///
    /// # Errors
    /// If it is not a regular file.
    pub fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self {
            file,
            metadata,
            blocks: Vec::new(),
            overlay: Vec::new(),
        })
    }

    /// Returns the open file and drops the cache.
    pub fn into_file(self) -> File {
        self.file
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The metadata of the file when it was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.metadata.len()
    }

    /// Adds `bytes` at `offset` to the overlay.
    pub fn lay_over(&mut self, offset: u64, bytes: &[u8]) {
        self.overlay.push((offset, bytes.to_vec()));
    }

    /// Whether there is an overlay.
    pub fn is_laid_over(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Removes the overlay.
    pub fn uncover(&mut self) {
        self.overlay.clear();
    }

    /// Reads exactly `len` bytes at `offset`, with the overlay.
    pub fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = self.read_raw(offset, len)?;
        self.cover(offset, &mut bytes);
        Ok(bytes)
    }

    /// Does the same as [`Source::read`], into `bytes`.
    pub fn read_into(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.read_raw_into(offset, bytes)?;
        self.cover(offset, bytes);
        Ok(())
    }

    /// Copies the overlay over `bytes`, which were read at `offset`.
    fn cover(&self, offset: u64, bytes: &mut [u8]) {
        let end = offset + bytes.len() as u64;
        for (at, patch) in &self.overlay {
            let (from, to) = (offset.max(*at), end.min(at + patch.len() as u64));
            if from < to {
                let part = &patch[(from - at) as usize..(to - at) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
    }

    /// Reads exactly `len` bytes at `offset`, without the overlay.
    pub fn read_raw(&mut self, offset: u64, len: u64) -> Result<Vec<u8>> {
        ensure!(len <= MAX_READ, "a structure of {len} bytes is too large");
        self.ensure_inside(offset, len)?;
        let mut bytes = vec![0; len as usize];
        self.read_raw_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn ensure_inside(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.file_len() => Ok(()),
            _ => bail!(
                "it ends at {} bytes, but has something at {offset:#x}",
                self.file_len()
            ),
        }
    }

    fn read_raw_into(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.ensure_inside(offset, bytes.len() as u64)?;
        let (mut at, mut out) = (offset, bytes);
        while !out.is_empty() {
            let inside = (at % BLOCK) as usize;
            // The blocks of a long table are not cached.
            if inside == 0 && out.len() as u64 >= 4 * BLOCK {
                let read = self.file.read_exact_at(out, at);
                read.context("it cannot be read")?;
                break;
            }
            let block = self.block(at / BLOCK)?;
            let available = block.get(inside..).unwrap_or_default();
            let count = available.len().min(out.len());
            ensure!(count > 0, CUT_SHORT);
            out[..count].copy_from_slice(&available[..count]);
            out = &mut out[count..];
            at += count as u64;
        }
        Ok(())
    }

    /// Reads the string at `offset` up to its NUL. The string has to lie before `end` and be shorter than `max` bytes.
    pub fn string(&mut self, offset: u64, end: u64, max: u64) -> Result<Vec<u8>> {
        let end = end.min(self.file_len()).min(offset.saturating_add(max));
        let mut text = Vec::new();
        let mut at = offset;
        while at < end {
            // Reads to the end of this block: one cache lookup for most strings.
            let count = (BLOCK - at % BLOCK).min(end - at);
            let ended = match self.is_laid_over() {
                true => until_nul(&self.read(at, count)?, &mut text),
                false => {
                    let inside = (at % BLOCK) as usize;
                    let block = self.block(at / BLOCK)?.get(inside..);
                    let chunk = block.and_then(|block| block.get(..count as usize));
                    until_nul(chunk.context(CUT_SHORT)?, &mut text)
                }
            };
            if ended {
                return Ok(text);
            }
            at += count;
        }
        bail!("it has an unterminated string at {offset:#x}")
    }

    fn block(&mut self, index: u64) -> Result<&[u8]> {
        let known = self.blocks.iter().rposition(|(known, _)| *known == index);
        let place = match known {
            Some(place) => place,
            None => {
                let at = index * BLOCK;
                let len = self.file_len().saturating_sub(at).min(BLOCK);
                let mut block = vec![0; len as usize];
                let read = self.file.read_exact_at(&mut block, at);
                read.context("it cannot be read")?;
                if self.blocks.len() >= MAX_BLOCKS {
                    self.blocks.clear();
                }
                self.blocks.push((index, block.into_boxed_slice()));
                self.blocks.len() - 1
            }
        };
        Ok(&self.blocks[place].1)
    }
}

/// Appends the bytes before the first NUL of `chunk` to `text`, or all of them. Returns whether there is a NUL.
fn until_nul(chunk: &[u8], text: &mut Vec<u8>) -> bool {
    let nul = bytes::position(chunk, 0);
    text.extend_from_slice(&chunk[..nul.unwrap_or(chunk.len())]);
    nul.is_some()
}

/// Opens `path`, which should be a regular file, for reading.
///
/// # Errors
/// As `open(2)`. Another type of file is not an error.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Does not wait for the writer of a FIFO.
    let flags = OFlag::O_NONBLOCK.bits();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Reads the regular file at `path`, at most `max` bytes long. Does not wait for a FIFO and does not read a device.
///
/// # Errors
/// As `open(2)` and `read(2)`; [`io::ErrorKind::InvalidInput`] for another type of file, [`io::ErrorKind::FileTooLarge`] for a
/// longer file.
pub fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    // Files in /proc have the length 0, and other files may grow meanwhile.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Describes an error of the operating system, in words that follow a file name.
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::ExecutableFileBusy => {
            "it is running; stop it first, or pass --replace".to_owned()
        }
        io::ErrorKind::WouldBlock => {
            "another process holds a lease on it; end that process, or wait".to_owned()
        }
        io::ErrorKind::StorageFull => "no space left on the file system".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn source(bytes: &[u8]) -> Source {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Source::open(file.path()).unwrap()
    }

    #[test]
    fn reads_across_blocks_and_never_past_the_end() {
        let bytes: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
        let mut source = source(&bytes);
        for (at, len) in [(0, 1), (4090, 20), (0, 40_000), (4096, 30_000), (39_999, 1)] {
            assert_eq!(
                source.read(at, len).unwrap(),
                bytes[at as usize..][..len as usize]
            );
        }
        for (at, len) in [(40_000, 1), (39_999, 2), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(source.read(at, len).is_err(), "{at} {len}");
        }
    }

    #[test]
    fn overlay_covers_only_its_own_bytes() {
        let mut source = source(&[1; 32]);
        source.lay_over(4, &[9, 9, 9]);
        assert_eq!(source.read(3, 3).unwrap(), [1, 9, 9]);
        assert_eq!(source.read(6, 3).unwrap(), [9, 1, 1]);
        assert_eq!(source.read_raw(3, 3).unwrap(), [1, 1, 1]);
        assert_eq!(source.read(20, 2).unwrap(), [1, 1]);
    }

    #[test]
    fn a_string_without_an_end_is_an_error() {
        let mut bytes = vec![b'a'; 5000];
        bytes.extend(b"\0b");
        let mut source = source(&bytes);
        assert_eq!(source.string(0, 6000, 6000).unwrap().len(), 5000);
        assert!(source.string(0, 5000, 6000).is_err());
        assert!(source.string(0, 6000, 4999).is_err());
        assert!(source.string(5001, 6000, 6000).is_err());
    }

    #[test]
    fn only_regular_files_are_read_and_no_longer_ones() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "four").unwrap();
        let kind = |path: &Path, max| read_regular(path, max).map_err(|error| error.kind());
        assert_eq!(kind(&file, 4), Ok(b"four".to_vec()));
        assert_eq!(kind(&file, 3), Err(io::ErrorKind::FileTooLarge));
        for other in [&fifo, Path::new("/dev/zero"), directory.path()] {
            assert_eq!(
                kind(other, 4),
                Err(io::ErrorKind::InvalidInput),
                "{other:?}"
            );
        }
    }
}
