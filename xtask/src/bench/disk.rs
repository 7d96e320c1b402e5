//! Where files are written while that is timed.
//!
//! How long ext4 takes to create files depends on its past: for minutes after many were deleted it passes over their inodes one
//! by one (fs/ext4/ialloc.c, recently_deleted), and a build deletes many. So what is measured is written to a new file
//! system in a file, where this process may mount one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::workspace::target_dir;

/// Bytes of the file, which has holes; what is written to it comes to a tenth.
const SIZE: u64 = 40 << 30;

/// A directory with nothing in it. It is gone with this value.
pub struct Disk {
    dir: TempDir,
    /// A file system of its own.
    mounted: Option<PathBuf>,
}

impl Disk {
    /// Beside the build, not in /tmp: that may be memory.
    pub fn new(prefix: &str) -> Result<Self> {
        let dir = TempDir::with_prefix_in(prefix, target_dir()?)
            .context("cannot make a directory beside the build")?;
        let mounted = match new_file_system(dir.path()) {
            Ok(mounted) => Some(mounted),
            Err(error) => {
                println!(
                    "(not on a new file system, and so after what others did to it: {error:#})"
                );
                None
            }
        };
        Ok(Self { dir, mounted })
    }

    /// The directory.
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

/// Mounts a new ext4 below `dir` and says where. Other processes do not see it, and it ends with this one.
fn new_file_system(dir: &Path) -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot leave the mount namespace")?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("cannot leave the mount namespace")?;
    let (image, mounted) = (dir.join("image"), dir.join("disk"));
    File::create(&image)?.set_len(SIZE)?;
    fs::create_dir(&mounted)?;
    // All of its tables now, and not by the kernel while something is timed.
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
