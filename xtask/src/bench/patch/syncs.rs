//! The time that the file system needs for the tool's writes alone: the same files, writes and syncs. No change of the tool can
//! save this part.
//!
//! It varies more than the rest: other processes write to the disk too, and ext4 is slow to create files for minutes after many
//! were deleted.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes of a typical sidecar, and of a typical stub.
const SIDECAR: usize = 1400;
const STUB: usize = 250;

/// Offset and length of a typical stub and of a typical PT_INTERP.
const SLOT: (u64, usize) = (4176, STUB);
const INTERP: (u64, usize) = (120, 4);

/// The writes for one program: sidecar, its directory, stub, and PT_INTERP, which is not synced. The program's bytes are written,
/// but not changed.
pub fn of_one(program: &Path) -> Result<Duration> {
    let sidecar = sidecar_of(program);
    let directory = program.parent().context("a program is in a directory")?;
    let file = open(program)?;
    let start = Instant::now();
    create(&sidecar)?.sync_all()?;
    File::open(directory)?.sync_all()?;
    rewrite(&file, SLOT)?;
    file.sync_data()?;
    rewrite(&file, INTERP)?;
    let spent = start.elapsed();
    fs::remove_file(sidecar)?;
    Ok(spent)
}

/// The writes for many programs in one file system.
pub fn of_many(programs: &[PathBuf]) -> Result<Duration> {
    let paths = programs.iter().map(|program| open(program));
    let files = paths.collect::<Result<Vec<_>>>()?;
    let any = files.first().context("there are programs")?;
    let start = Instant::now();
    for program in programs {
        create(&sidecar_of(program))?;
    }
    nix::unistd::syncfs(any)?;
    for file in &files {
        rewrite(file, SLOT)?;
    }
    nix::unistd::syncfs(any)?;
    for file in &files {
        rewrite(file, INTERP)?;
    }
    Ok(start.elapsed())
}

fn open(program: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).open(program);
    file.with_context(|| format!("cannot open {}", program.display()))
}

/// Not the name of a sidecar, because there may be one.
fn sidecar_of(program: &Path) -> PathBuf {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    program.with_file_name(format!("{name}.sync-probe"))
}

fn create(path: &Path) -> Result<File> {
    let mut file = File::create(path)?;
    file.write_all(&[1; SIDECAR])?;
    Ok(file)
}

fn rewrite(file: &File, (offset, len): (u64, usize)) -> Result<()> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(file.write_all_at(&bytes, offset)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        let content: Vec<u8> = (0..5000).map(|n| n as u8).collect();
        fs::write(&program, &content).unwrap();
        assert!(of_one(&program).unwrap() > Duration::ZERO);
        assert!(of_many(std::slice::from_ref(&program)).unwrap() > Duration::ZERO);
        assert_eq!(fs::read(&program).unwrap(), content);
    }
}
