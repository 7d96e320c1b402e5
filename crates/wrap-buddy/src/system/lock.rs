//! Locks and leases of other processes. Nothing here waits for longer than a moment.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{major, minor};
use nix::unistd::geteuid;

/// How often to retry a file with a lease: its holder, which may be this tool's `watch`, needs a moment to give it up.
const TRIES: u32 = 20;

const AGAIN: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Unknown,
    Process {
        pid: u32,
        name: String,
        /// The user who started it (real user ID). The effective user would be wrong: a lock survives the exec of a set-id program.
        user: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("another process"),
            Self::Process { pid, name, user } => {
                let name = name.escape_debug();
                write!(f, "another process ({name}, PID {pid}, of the user {user})")
            }
        }
    }
}

impl Holder {
    /// Who holds a flock(2) lock on the file, according to /proc.
    pub fn of(file: &Metadata) -> Self {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let holder = pid_in(&locks, file).and_then(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let user = field("Uid:")?.split_whitespace().next()?;
            Some(Self::Process {
                pid,
                name: field("Name:")?.trim().to_owned(),
                user: user.parse().ok()?,
            })
        });
        holder.unwrap_or(Self::Unknown)
    }

    /// Whether the holder runs for root or for the caller.
    pub fn is_trusted(&self) -> bool {
        let caller = geteuid().as_raw();
        matches!(self, Self::Process { user, .. } if [0, caller].contains(user))
    }
}

/// The process that holds a lock on the file, by the lines of /proc/locks (proc_locks(5)).
fn pid_in(locks: &str, file: &Metadata) -> Option<u32> {
    let (device, inode) = (file.dev(), file.ino());
    let device = format!("{:02x}:{:02x}:", major(device), minor(device));
    let held = locks.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, device_and_inode, ..] = fields[..] else {
            return None;
        };
        let same = device_and_inode.rsplit(':').next()?.parse() == Ok(inode);
        let pid = same.then(|| pid.parse().ok())??;
        Some((device_and_inode.starts_with(&device), pid))
    });
    // On file systems with several devices (btrfs), stat(2) reports another device: prefer a match, else go by the inode.
    held.max().map(|(_, pid)| pid)
}

/// Who holds a lock on a file that is to be written. Locks of users who do not own the file are ignored: everybody who can read a file
/// can lock it.
pub fn respected_holder(file: &Metadata) -> Option<Holder> {
    let holder = Holder::of(file);
    let has_no_say = matches!(&holder, Holder::Process { user, .. } if *user != file.uid())
        && !holder.is_trusted();
    (!has_no_say).then_some(holder)
}

/// Opens a file, and retries for a short time while somebody holds a lease on it.
pub fn without_lease<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                thread::sleep(AGAIN);
            }
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        assert_eq!(Holder::of(&metadata), Holder::Unknown);
        file.as_file().lock().unwrap();
        let holder = Holder::of(&metadata);
        let Holder::Process { pid, user, .. } = &holder else {
            panic!("{holder}");
        };
        assert_eq!(
            (*pid, *user),
            (std::process::id(), nix::unistd::getuid().as_raw())
        );
        assert!(holder.is_trusted());
        assert_eq!(respected_holder(&metadata), Some(holder));
    }

    #[test]
    fn lines_of_locks_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        let device_and_inode = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
        let locks = format!(
            "1: POSIX  ADVISORY  WRITE 1 {device_and_inode} 0 EOF\n2: FLOCK  ADVISORY  WRITE 99 ff:ff:{inode} 0 EOF\n3: FLOCK  ADVISORY  WRITE 17 {device_and_inode} 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 18 {device_and_inode} 0 EOF\n"
        );
        assert_eq!(pid_in(&locks, &metadata), Some(17));
        assert_eq!(
            pid_in(&locks[..locks.find("3:").unwrap()], &metadata),
            Some(99)
        );
        assert_eq!(pid_in("", &metadata), None);
    }
}
