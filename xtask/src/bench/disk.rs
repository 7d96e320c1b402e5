//! A directory for files whose writing is timed.
//!
//! The time that ext4 needs to create files depends on its past: for minutes after many files were deleted, it passes over their
//! inodes one by one (fs/ext4/ialloc.c, recently_deleted), and a build deletes many. So benchmarks write to a new file system in a
//! file, if this process may mount one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::workspace::target_dir;

/// Length of the sparse file in bytes. A tenth of that is written.
const SIZE: u64 = 40 << 30;

/// An empty directory, which is removed when this is dropped.
pub struct Disk {
    dir: TempDir,
    /// A file system of its own.
    mounted: Option<PathBuf>,
}

impl Disk {
    /// Next to the build, because /tmp may be in memory.
    pub fn new(prefix: &str) -> Result<Self> {
        let dir = TempDir::with_prefix_in(prefix, target_dir()?)
            .context("cannot make a directory next to the build")?;
        let mounted = match new_file_system(dir.path()) {
            Ok(mounted) => Some(mounted),
            Err(error) => {
                println!(
                    "(not on a new file system, so earlier writes may slow it down: {error:#})"
                );
                None
            }
        };
        Ok(Self { dir, mounted })
    }

    pub fn path(&self) -> &Path {
        self.mounted.as_deref().unwrap_or(self.dir.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(mounted) = &self.mounted {
            let _ = umount2(mounted, MntFlags::MNT_DETACH);
        }
    }
}

/// Mounts a new ext4 below `dir` and returns its directory. Other processes do not see it, and it ends with this one.
fn new_file_system(dir: &Path) -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot leave the mount namespace")?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("cannot leave the mount namespace")?;
    let (image, mounted) = (dir.join("image"), dir.join("disk"));
    File::create(&image)?.set_len(SIZE)?;
    fs::create_dir(&mounted)?;
    // Initialises all tables now, so that the kernel does not do it during a measurement.
    quietly(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .args(["-i", "262144"])
            .arg(&image),
    )?;
    quietly(
        Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &mounted]),
    )?;
    Ok(mounted)
}

fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(done.success(), "{name} ended with {done}");
    Ok(())
}
