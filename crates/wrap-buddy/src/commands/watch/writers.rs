//! Detects whether a process has a file open for writing.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::path::Path;

use elf_file::FileId;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;

/// Detects writers of files. The kernel grants a read lease only on a file that nobody has open for writing. It does so only for the owner
/// and root, and not on every file system. Otherwise the open files of all processes are listed once, as far as permissions allow.
#[derive(Debug, Default)]
pub struct Writers {
    written: Option<HashSet<FileId>>,
}

impl Writers {
    /// Whether a process has `file`, which is open read-only here, open for writing.
    pub fn has(&mut self, file: &File, metadata: &Metadata) -> bool {
        match lease(file) {
            Ok(()) => false,
            Err(Errno::EAGAIN) => true,
            Err(_) => {
                let written = self.written.get_or_insert_with(open_for_writing);
                written.contains(&FileId::from(metadata))
            }
        }
    }
}

/// Takes a read lease and returns it at once. A process that opens the file for writing meanwhile waits for that. SIGIO must be blocked:
/// its default action would end this process.
fn lease(file: &File) -> Result<(), Errno> {
    let set = |kind: libc::c_int| {
        // SAFETY: F_SETLEASE (fcntl(2)) takes an integer, and the descriptor is open for as long as `file` is borrowed.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        Errno::result(result).map(drop)
    };
    set(libc::F_RDLCK)?;
    set(libc::F_UNLCK)
}

/// The regular files that processes have open for writing, as far as permissions allow.
fn open_for_writing() -> HashSet<FileId> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let processes = entries(Path::new("/proc"));
    let descriptors = processes.flat_map(|process| entries(&process.path().join("fdinfo")));
    let written = descriptors.filter_map(|descriptor| {
        let about = fs::read_to_string(descriptor.path()).ok()?;
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
        if flags & OFlag::O_ACCMODE.bits() == libc::O_RDONLY {
            return None;
        }
        let process = descriptor.path().parent()?.parent()?.to_owned();
        let metadata = fs::metadata(process.join("fd").join(descriptor.file_name())).ok()?;
        metadata.is_file().then(|| FileId::from(&metadata))
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_seen_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        let metadata = reader.metadata().unwrap();
        let file_id = FileId::from(&metadata);
        assert!(Writers::default().has(&reader, &metadata));
        assert!(open_for_writing().contains(&file_id));
        drop(writer);
        assert!(!Writers::default().has(&reader, &metadata));
        assert!(!open_for_writing().contains(&file_id));
    }
}
