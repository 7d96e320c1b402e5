//! A mount that only this process and its children see.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Mounts the file `file` over the file `over`, in a mount namespace of this process. Without the right to make one, the process gets a
/// user namespace too, in which it keeps its user and group; files of all other users then seem to belong to nobody. It must have one
/// thread.
///
/// # Errors
/// As `unshare(2)` and `mount(2)`. The process may be in the new namespaces then.
pub fn mount_over(file: &Path, over: &Path) -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
            fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
        }
        Err(error) => return Err(error.into()),
    }
    let none = None::<&str>;
    // What is mounted or unmounted outside later is so here too.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    Ok(mount(Some(file), over, none, MsFlags::MS_BIND, none)?)
}
