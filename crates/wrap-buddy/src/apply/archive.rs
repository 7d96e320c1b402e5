//! Archives of a tree, and runnable files with one. They are the same for the same tree: entries are sorted, and belong to root.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use ruzstd::encoding::{CompressionLevel, compress};
use sha2::{Digest, Sha256};
use sidecar::runnable::{NAME_LEN, Runnable};
use tar::{Builder, EntryType, Header};

use crate::system::directory::{Directory, EntryKind};
use crate::system::hex::hex;
use crate::system::sidecar_path::copy_name;
use elf_file::FileId;

/// The format of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Tar,
    Zstd,
    /// A compressed archive after a program that unpacks it (`sidecar::runnable`).
    Runnable {
        /// The ELF file of that program.
        unpacker: &'static [u8],
        /// The programs in the tree, by their paths below it.
        programs: Vec<String>,
    },
}

impl Format {
    /// The format that the file name `name` asks for, and the name without it.
    pub fn of(name: &OsStr) -> Option<(Self, &OsStr)> {
        let name = name.to_str()?;
        let zstd = [".tar.zst", ".tar.zstd", ".tzst"]
            .into_iter()
            .map(|end| (end, Self::Zstd));
        let mut all = zstd.chain([(".tar", Self::Tar)]);
        let found =
            all.find_map(|(end, format)| Some((format, OsStr::new(name.strip_suffix(end)?))));
        found.filter(|(_, stem)| !stem.is_empty())
    }
}

/// Writes the archive `name` into the directory at `above`, with the tree at `tree` as the directory `top`. Both paths are free of symbolic
/// links.
///
/// # Errors
/// If the archive cannot be written. Then there is none.
pub fn write(tree: &Path, top: &OsStr, above: &Path, name: &OsStr, format: &Format) -> Result<()> {
    let failed = || format!("cannot write {}", above.join(name).display());
    let written = || -> io::Result<()> {
        let directory = Directory::open(above)?;
        let temporary = directory.temporary(copy_name(name))?;
        let file = temporary.file();
        let mut mode = 0o644;
        match format {
            Format::Tar => write_tar(tree, top, file)?,
            Format::Zstd => write_compressed(tree, top, &directory, file)?,
            Format::Runnable { unpacker, programs } => {
                mode = 0o755;
                let payload = directory.unnamed()?;
                write_compressed(tree, top, &directory, &payload)?;
                (&payload).rewind()?;
                let mut hash = Sha256::new();
                let payload_len = io::copy(&mut &payload, &mut hash)?;
                let mut programs = programs.join("\0").into_bytes();
                programs.push(0);
                let digits = hex(&hash.finalize()[..NAME_LEN / 2]);
                let runnable = Runnable {
                    name: *digits.as_bytes().first_chunk().expect("as many digits"),
                    payload_len,
                    programs_len: u32::try_from(programs.len()).map_err(io::Error::other)?,
                };
                let front = [unpacker, &runnable.bytes()[..], &programs].concat();
                let mut output = file;
                output.write_all(&front)?;
                (&payload).rewind()?;
                io::copy(&mut &payload, &mut output)?;
            }
        }
        file.sync_all()?;
        file.set_permissions(Permissions::from_mode(mode))?;
        temporary.replace(name)?;
        Ok(())
    };
    written().with_context(failed)
}

fn write_tar(tree: &Path, top: &OsStr, file: &File) -> io::Result<()> {
    let mut builder = Builder::new(BufWriter::with_capacity(1 << 20, file));
    add(
        &mut builder,
        &Directory::open_listed(tree)?,
        Path::new(top),
        &mut Names::new(),
    )?;
    builder.into_inner()?.flush()
}

/// Writes the compressed archive to `file`, by way of a file in `directory`.
fn write_compressed(
    tree: &Path,
    top: &OsStr,
    directory: &Directory,
    file: &File,
) -> io::Result<()> {
    // Without a name: it exists until it is closed.
    let plain = directory.unnamed()?;
    write_tar(tree, top, &plain)?;
    (&plain).rewind()?;
    let mut input = Kept::new(BufReader::new(&plain));
    let mut output = Kept::new(BufWriter::with_capacity(1 << 20, file));
    compress(&mut input, &mut output, CompressionLevel::Fastest);
    input.error.map_or(Ok(()), Err)?;
    output.error.map_or(Ok(()), Err)?;
    output.inner.flush()
}

/// Keeps the first error: the compressor panics on errors.
struct Kept<T> {
    inner: T,
    error: Option<io::Error>,
}

impl<T> Kept<T> {
    fn new(inner: T) -> Self {
        Self { inner, error: None }
    }

    /// The result of `work`, or `instead` after an error.
    fn keep(
        &mut self,
        instead: usize,
        work: impl FnOnce(&mut T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.error.is_some() {
            return Ok(instead);
        }
        work(&mut self.inner).or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Err(error),
            _ => {
                self.error = Some(error);
                Ok(instead)
            }
        })
    }
}

impl<T: Read> Read for Kept<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.keep(0, |inner| inner.read(bytes))
    }
}

impl<T: Write> Write for Kept<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.keep(0, |inner| inner.flush().map(|()| 0)).map(drop)
    }
}

/// Files with several names, by their first one.
type Names = HashMap<FileId, PathBuf>;

fn add(
    builder: &mut Builder<impl Write>,
    directory: &Directory,
    path: &Path,
    names: &mut Names,
) -> io::Result<()> {
    let mut header = header(&directory.metadata()?);
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, path, io::empty())?;
    let mut entries = Vec::new();
    directory.list(|name, kind| {
        entries.push((name.to_owned(), kind));
        true
    })?;
    entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for (name, kind) in entries {
        let below = path.join(&name);
        match kind {
            EntryKind::Directory => add(
                builder,
                &directory.subdirectory_listed(&name)?,
                &below,
                names,
            )?,
            EntryKind::Link => {
                let mut header = self::header(&directory.metadata_of(&name)?);
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, &below, directory.link_target(&name)?)?;
            }
            _ => {
                let (file, metadata) = directory.file(&name, OFlag::O_RDONLY)?;
                let mut header = self::header(&metadata);
                let id = FileId::from(&metadata);
                if let Some(first) = names.get(&id) {
                    header.set_entry_type(EntryType::Link);
                    header.set_size(0);
                    builder.append_link(&mut header, &below, first)?;
                    continue;
                }
                if metadata.nlink() > 1 {
                    names.insert(id, below.clone());
                }
                header.set_size(metadata.len());
                builder.append_data::<_, &File>(&mut header, &below, &file)?;
            }
        }
    }
    Ok(())
}

/// A header with mode and time of a file. It belongs to root, so that an archive does not depend on the user who made it.
fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header
}
