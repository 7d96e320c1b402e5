//! Gives a process a root of its own, between fork and exec: user and mount namespaces (and optionally a PID namespace), the
//! mounts, pivot_root, and the program's ids and limits.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, raise, signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, chdir, chroot, fork, getpid, pivot_root, setsid};
use nix::unistd::{setgroups, setresgid, setresuid};

use crate::fork as processes;

/// The /proc of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proc {
    /// This machine's /proc.
    Shared,
    None,
}

/// A file or directory of the host that is mounted in the root.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    /// The path on this machine.
    pub source: PathBuf,
    /// An existing path below the root's directory.
    pub target: PathBuf,
    /// Whether to include the mounts below it, which stay writable then.
    pub recursive: bool,
}

/// Real, effective and saved ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub real: u32,
    pub effective: u32,
}

/// Namespaces, mounts, ids and limits of a process.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub root: PathBuf,
    pub binds: Vec<Bind>,
    pub proc: Proc,
    /// Lines for binfmt_misc's `register`.
    pub binfmt: Vec<Vec<u8>>,
    /// Whether the program is PID 1 of a namespace.
    pub own_pids: bool,
    pub cwd: PathBuf,
    pub ids: Option<Ids>,
    /// personality ADDR_NO_RANDOMIZE, as with `setarch -R`.
    pub no_aslr: bool,
    /// PR_SET_MDWE, as with systemd's MemoryDenyWriteExecute=.
    pub mdwe: bool,
    /// RLIMIT_AS in bytes.
    pub address_space: Option<u64>,
    pub umask: Option<u32>,
}

impl Surroundings {
    /// Enters them. Call this in a forked child only.
    pub(crate) fn enter(&self, report: &mut File) -> io::Result<()> {
        self.steps().map_err(|(step, error)| {
            let _ = write!(report, "{step}: {error}");
            error
        })
    }

    fn steps(&self) -> Result<(), (String, io::Error)> {
        setsid().or_else(step("setsid"))?;
        die_with_parent().map_err(|error| ("prctl PR_SET_PDEATHSIG".to_string(), error))?;
        let namespaces = match self.own_pids {
            true => CloneFlags::CLONE_NEWPID,
            false => CloneFlags::empty(),
        };
        new_namespaces(namespaces | CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        if self.own_pids {
            become_init()?;
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .or_else(step("make / private"))?;
        self.mounts()?;
        self.change_root()?;
        self.limits()
    }

    fn mounts(&self) -> Result<(), (String, io::Error)> {
        bind(&self.root, &self.root, false)?;
        for item in &self.binds {
            bind(&item.source, &item.target, item.recursive)?;
            if !item.recursive {
                make_read_only(&item.target)?;
            }
        }
        for name in ["tmp", "dev/shm"] {
            filesystem("tmpfs", &self.root.join(name))?;
        }
        let terminals = self.root.join("dev/pts");
        if terminals.is_dir() {
            filesystem("devpts", &terminals)?;
        }
        if self.proc == Proc::Shared {
            let proc = self.root.join("proc");
            match self.own_pids {
                true => filesystem("proc", &proc)?,
                false => bind(Path::new("/proc"), &proc, true)?,
            }
        }
        if !self.binfmt.is_empty() {
            let dir = self.root.join("tool/binfmt");
            filesystem("binfmt_misc", &dir)?;
            for line in &self.binfmt {
                fs::write(dir.join("register"), line)
                    .map_err(|error| ("register with binfmt_misc".to_string(), error))?;
            }
        }
        Ok(())
    }

    fn change_root(&self) -> Result<(), (String, io::Error)> {
        chdir(&self.root).or_else(step("chdir to the root"))?;
        // The old root ends up on top of the new one. After it is unmounted, nothing else of the machine can be reached. If this
        // machine runs on an initramfs, pivot_root is not possible, and chroot is used.
        match pivot_root(".", ".") {
            Ok(()) => umount2(".", MntFlags::MNT_DETACH).or_else(step("unmount the old root"))?,
            Err(_) => chroot(".").or_else(step("chroot"))?,
        }
        chdir(&self.cwd).or_else(step("chdir inside the root"))
    }

    fn limits(&self) -> Result<(), (String, io::Error)> {
        setrlimit(Resource::RLIMIT_CORE, 0, 0).or_else(step("setrlimit"))?;
        // Descriptors that the tests have inherited do not belong to the program.
        // SAFETY: descriptors stay open until exec.
        unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
        // Rust ignores it in its own programs and children inherit that; a program normally starts with the default.
        // SAFETY: the default action installs no handler.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }
            .map(drop)
            .or_else(step("signal"))?;
        if self.no_aslr {
            let persona = personality::get().or_else(step("personality"))?;
            personality::set(persona | Persona::ADDR_NO_RANDOMIZE)
                .map(drop)
                .or_else(step("personality"))?;
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        if let Some(Ids { real, effective }) = self.ids {
            let (gid, egid) = (Gid::from_raw(real), Gid::from_raw(effective));
            setgroups(&[]).or_else(step("setgroups"))?;
            setresgid(gid, egid, egid).or_else(step("setresgid"))?;
            let (uid, euid) = (Uid::from_raw(real), Uid::from_raw(effective));
            setresuid(uid, euid, euid).or_else(step("setresuid"))?;
        }
        if let Some(limit) = self.address_space {
            setrlimit(Resource::RLIMIT_AS, limit, limit).or_else(step("setrlimit"))?;
        }
        if self.mdwe {
            deny_write_execute().map_err(|error| ("prctl PR_SET_MDWE".to_string(), error))?;
        }
        Ok(())
    }
}

/// Adds the name of the step that failed.
fn step<T>(name: &str) -> impl FnOnce(Errno) -> Result<T, (String, io::Error)> {
    move |errno| Err((name.to_string(), errno.into()))
}

fn bind(source: &Path, target: &Path, recursive: bool) -> Result<(), (String, io::Error)> {
    let mut flags = MsFlags::MS_BIND;
    if recursive {
        flags |= MsFlags::MS_REC;
    }
    let name = format!("mount --bind {} {}", source.display(), target.display());
    mount(Some(source), target, None::<&str>, flags, None::<&str>).or_else(step(&name))
}

fn make_read_only(target: &Path) -> Result<(), (String, io::Error)> {
    let name = format!("mount -o remount,ro {}", target.display());
    // A less privileged namespace may not drop these flags of a mount that it inherited.
    let known = statvfs(target).or_else(step(&name))?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (has, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if known.contains(has) {
            flags |= keep;
        }
    }
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>).or_else(step(&name))
}

fn filesystem(kind: &str, target: &Path) -> Result<(), (String, io::Error)> {
    let name = format!("mount -t {kind} {}", target.display());
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        None::<&str>,
    )
    .or_else(step(&name))
}

/// Unshares namespaces. Maps a range of ids if this process may do that, because set-id programs need a second id. A child outside
/// the namespace writes the maps: the kernel checks the rights of the writer.
fn new_namespaces(flags: CloneFlags) -> Result<(), (String, io::Error)> {
    let (uid, gid, pid) = (nix::unistd::geteuid(), nix::unistd::getegid(), getpid());
    let (mut wait_for, mut tell) = io::pipe().map_err(|error| ("pipe".to_string(), error))?;
    // SAFETY: glibc makes its allocator usable in a forked child, and the child here ends in _exit.
    match unsafe { fork() }.or_else(step("fork"))? {
        ForkResult::Child => {
            drop(tell);
            let _ = wait_for.read(&mut [0]);
            let result = write_id_maps(pid, uid, gid);
            // SAFETY: no return to the caller's stack, no destructors.
            unsafe {
                libc::_exit(
                    result
                        .err()
                        .map_or(0, |error| error.raw_os_error().unwrap_or(1)),
                )
            }
        }
        ForkResult::Parent { child } => {
            drop(wait_for);
            unshare(flags).or_else(step(
                "unshare a user namespace (does the machine forbid unprivileged ones?)",
            ))?;
            tell.write_all(&[1])
                .map_err(|error| ("pipe".to_string(), error))?;
            match waitpid(child, None).or_else(step("waitpid"))? {
                WaitStatus::Exited(_, 0) => Ok(()),
                WaitStatus::Exited(_, errno) => {
                    Err(("write uid_map".into(), io::Error::from_raw_os_error(errno)))
                }
                _ => Err(("write uid_map".into(), io::Error::other("killed"))),
            }
        }
    }
}

fn write_id_maps(pid: Pid, uid: Uid, gid: Gid) -> io::Result<()> {
    let path = |name: &str| format!("/proc/{pid}/{name}");
    if uid.is_root() {
        fs::write(path("uid_map"), "0 0 65536")?;
        return fs::write(path("gid_map"), "0 0 65536");
    }
    fs::write(path("uid_map"), format!("0 {uid} 1"))?;
    fs::write(path("setgroups"), "deny")?;
    fs::write(path("gid_map"), format!("0 {gid} 1"))
}

/// Forks the first process of the new PID namespace and continues in it. The process in between exits with its status.
fn become_init() -> Result<(), (String, io::Error)> {
    // SAFETY: glibc makes its allocator usable in a forked child.
    match unsafe { fork() }.or_else(step("fork"))? {
        ForkResult::Child => {
            die_with_parent().map_err(|error| ("prctl PR_SET_PDEATHSIG".to_string(), error))
        }
        ForkResult::Parent { child } => {
            // The pipe over which std reports the result of exec is open here too.
            // SAFETY: nothing in this process uses a descriptor any more.
            unsafe { libc::close_range(0, u32::MAX, 0) };
            let code = loop {
                match waitpid(child, None::<WaitPidFlag>) {
                    Ok(WaitStatus::Exited(_, code)) => break code,
                    Ok(WaitStatus::Signaled(_, by, _)) => {
                        // SAFETY: the default action installs no handler.
                        let _ = unsafe { signal(by, SigHandler::SigDfl) };
                        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                        let _ = raise(by);
                        break 125;
                    }
                    Err(Errno::EINTR) | Ok(_) => {}
                    Err(_) => break 125,
                }
            };
            // SAFETY: no return to the caller's stack, no destructors.
            unsafe { libc::_exit(code) }
        }
    }
}

fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

fn deny_write_execute() -> io::Result<()> {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take integers, no pointers.
    match unsafe {
        libc::prctl(
            option,
            value,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Kills a process group made by [`Surroundings::enter`].
pub(crate) fn kill_group(leader: u32) {
    let _ = kill(Pid::from_raw(-(leader as i32)), Signal::SIGKILL);
}

/// Whether this kernel supports binfmt_misc per user namespace (Linux 6.7).
pub(crate) fn binfmt_available() -> bool {
    use std::os::unix::process::CommandExt;
    use std::sync::OnceLock;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let target = dir.path().to_path_buf();
        let mut probe = std::process::Command::new("true");
        let attempt = move || {
            new_namespaces(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .and_then(|()| filesystem("binfmt_misc", &target))
                .map_err(|(_, error)| error)
        };
        // SAFETY: the closure runs in a child that only makes system calls and allocates, which glibc supports.
        unsafe { probe.pre_exec(attempt) };
        processes::spawn(&mut probe)
            .and_then(|mut child| child.wait())
            .is_ok_and(|status| status.success())
    })
}

/// The `register` line that runs programs of one ELF class and machine with `interpreter`.
pub(crate) fn binfmt_line(name: &str, class: u8, machine: u16, interpreter: &Path) -> Vec<u8> {
    let [low, high] = machine.to_le_bytes();
    let magic = [
        0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, low, high,
    ];
    // Any OS ABI, and both ET_EXEC and ET_DYN.
    let mut mask = [0xff; 20];
    (mask[7], mask[16]) = (0, 0xfe);
    let escaped = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect::<String>()
    };
    let (magic, mask) = (escaped(&magic), escaped(&mask));
    // P: keep argv[0]; O: pass the program as a descriptor; C: respect set-id; F: open the interpreter now, outside the root.
    format!(":{name}:M::{magic}:{mask}:{}:POCF", interpreter.display()).into_bytes()
}

/// Reads why [`Surroundings::enter`] failed.
pub(crate) fn read_report(report: &mut File) -> String {
    use std::io::Seek;
    let mut text = String::new();
    let _ = report.rewind();
    let _ = report.read_to_string(&mut text);
    text
}
