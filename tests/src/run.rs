//! Starts programs inside a [`Root`].

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::arch::Arch;
use crate::kernel::Machine;
use crate::namespace::{self, Ids, Proc, Surroundings};
use crate::output::Output;
use crate::root::Root;
use crate::{fork, tool};

/// The default time limit. Emulated programs are slow on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A program to start inside a root. Its environment is empty by default.
///
/// Programs of a foreign architecture run with QEMU. If the kernel supports it, QEMU is registered with binfmt_misc in the
/// program's own user namespace. Otherwise only the first program is emulated, and its children have to be native.
#[derive(Clone)]
pub struct Run<'r> {
    root: &'r Root,
    program: String,
    argv0: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    timeout: Duration,
    on_terminal: bool,
    surroundings: Surroundings,
}

/// A running program inside a root. Dropping this kills its process group.
pub struct Running {
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Collector>,
    stderr: Option<Collector>,
}

/// Reads a pipe to its end in a thread, so that the program never has to wait.
struct Collector {
    read: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Root {
    /// A program of the root, to start.
    pub fn command(&self, program: &str) -> Run<'_> {
        Run::new(self, program)
    }

    /// A program of this machine (strace, gdb, …), by its path on this machine, to start inside the root. Requires
    /// [`Root::bind_host`].
    pub fn host_command(&self, program: &Path) -> Run<'_> {
        let dirs: Vec<String> = Arch::host()
            .library_dirs()
            .iter()
            .map(|dir| format!("/tool/host{}", dir.display()))
            .collect();
        self.bind_host_runtime();
        self.command(&format!("/tool/glibc/{}", Arch::host().ld_so()))
            .args(["--library-path", &dirs.join(":")])
            .arg(format!("/tool/host{}", program.display()))
    }

    /// wrap-buddy without arguments, to start inside the root.
    pub fn wrap_buddy(&self) -> Run<'_> {
        self.bind_host_runtime();
        if !self.path("/tool/wrap-buddy").exists() {
            self.bind(&tool::path(), "/tool/wrap-buddy");
        }
        self.command(&format!("/tool/glibc/{}", Arch::host().ld_so()))
            .args([
                "--library-path",
                "/tool/glibc:/tool/gcc",
                "/tool/wrap-buddy",
            ])
            .env("HOME", "/tmp")
    }
}

impl<'r> Run<'r> {
    pub(crate) fn new(root: &'r Root, program: &str) -> Run<'r> {
        Run {
            root,
            program: program.into(),
            argv0: None,
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: TIMEOUT,
            on_terminal: false,
            surroundings: Surroundings {
                root: root.path("/"),
                binds: Vec::new(),
                proc: Proc::Shared,
                binfmt: Vec::new(),
                own_pids: false,
                cwd: PathBuf::from("/"),
                ids: None,
                no_aslr: false,
                mdwe: false,
                address_space: None,
                umask: None,
            },
        }
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets `argv[0]`, which is the path otherwise.
    pub fn argv0(mut self, name: &str) -> Self {
        self.argv0 = Some(name.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Makes a terminal of standard input, output and error. Everything on it, with the answers, is in [`Output::stdout`].
    pub fn on_terminal(mut self) -> Self {
        self.on_terminal = true;
        self
    }

    /// Sets the working directory, inside the root.
    pub fn cwd(mut self, dir: &str) -> Self {
        self.surroundings.cwd = PathBuf::from(dir);
        self
    }

    /// Sets the time limit, which is 60 seconds otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Mounts no /proc.
    pub fn without_proc(mut self) -> Self {
        self.surroundings.proc = Proc::None;
        self
    }

    /// Makes the program PID 1 of a PID namespace. When it ends, so do all its children.
    pub fn as_pid_1(mut self) -> Self {
        self.surroundings.own_pids = true;
        self
    }

    /// Turns address space randomization off.
    pub fn without_aslr(mut self) -> Self {
        self.surroundings.no_aslr = true;
        self
    }

    /// Forbids writable memory to become executable (PR_SET_MDWE).
    pub fn deny_write_execute(mut self) -> Self {
        self.surroundings.mdwe = true;
        self
    }

    /// Starts the program as this user and group instead of root.
    pub fn user(mut self, id: u32) -> Self {
        self.surroundings.ids = Some(Ids {
            real: id,
            effective: id,
        });
        self
    }

    /// Limits its address space in bytes (RLIMIT_AS).
    pub fn address_space(mut self, limit: u64) -> Self {
        self.surroundings.address_space = Some(limit);
        self
    }

    pub fn umask(mut self, mask: u32) -> Self {
        self.surroundings.umask = Some(mask);
        self
    }

    /// Starts the program with different real and effective ids, so that the kernel sets AT_SECURE.
    pub fn secure(mut self) -> Self {
        self.surroundings.ids = Some(Ids {
            real: 1000,
            effective: 0,
        });
        self
    }

    /// Runs the program to its end. Panics if it cannot be executed.
    pub fn output(self) -> Output {
        let program = self.program.clone();
        self.try_output()
            .unwrap_or_else(|error| panic!("execute {program} inside the root: {error}"))
    }

    /// Runs the program to its end several times, one after the other.
    pub fn outputs(self, times: usize) -> Vec<Output> {
        match self.root.machine() {
            Some(machine) => self.boot(machine, times),
            None => (0..times).map(|_| self.clone().output()).collect(),
        }
    }

    /// Runs the program to its end, or returns the error of exec: `ENOENT` if the dynamic linker is missing.
    pub fn try_output(self) -> io::Result<Output> {
        if self.root.machine().is_some() {
            return Ok(self.outputs(1).remove(0));
        }
        let timeout = self.timeout;
        Ok(self.spawn()?.finish(timeout))
    }

    /// Starts the program and returns while it runs, or returns the error of exec. Panics if the root cannot be set up.
    pub fn spawn(mut self) -> io::Result<Running> {
        assert!(
            self.surroundings.ids.is_none() || nix::unistd::geteuid().is_root(),
            "an ordinary user's namespace has one user id, this needs two: run it as root"
        );
        let foreign = self.root.foreign();
        let mut program = self.program.clone();
        let mut args = std::mem::take(&mut self.args);
        let mut argv0 = self.argv0.take();
        if namespace::binfmt_available() {
            let register = |arch: &Arch| {
                let class = if arch.is_64() { 2 } else { 1 };
                let qemu = arch.qemu_path();
                namespace::binfmt_line(arch.name(), class, arch.machine(), &qemu)
            };
            self.surroundings.binfmt = foreign.iter().map(register).collect();
        } else if let Some(arch) = self.program_arch().filter(|arch| foreign.contains(arch)) {
            let qemu = format!("/tool/{}", arch.qemu());
            if !self.root.path(&qemu).exists() {
                self.root.bind(&arch.qemu_path(), &qemu);
            }
            let name = argv0.take().unwrap_or(program.clone());
            args.splice(0..0, ["-0".to_string(), name, program]);
            program = qemu;
        }
        self.surroundings.binds = self.root.binds();

        let mut command = Command::new(&program);
        command.args(&args).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(argv0) = &argv0 {
            command.arg0(argv0);
        }
        let described = format!("{program} {}", args.join(" "));
        let stdin = if self.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        };
        let terminal = self
            .on_terminal
            .then(|| openpty(None, None).expect("a terminal"));
        let streams = match &terminal {
            Some(terminal) => [(); 3].map(|()| terminal.slave.try_clone().expect("dup").into()),
            None => [stdin, Stdio::piped(), Stdio::piped()],
        };
        let [stdin, stdout, stderr] = streams;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let mut report = tempfile::tempfile().expect("a temporary file");
        let mut report_in_child = report.try_clone().expect("dup");
        let surroundings = self.surroundings;
        // SAFETY: the closure runs in a forked child; it makes system calls and allocates, which glibc supports there.
        unsafe { command.pre_exec(move || surroundings.enter(&mut report_in_child)) };
        let mut child = match fork::spawn(&mut command) {
            Ok(child) => child,
            Err(error) => {
                let why = namespace::read_report(&mut report);
                assert!(why.is_empty(), "cannot set up the root: {why}");
                return Err(error);
            }
        };
        if let Some(terminal) = terminal {
            let mut terminal = File::from(terminal.master);
            terminal.write_all(&self.stdin).expect("an answer");
            return Ok(Running {
                command: described,
                stdout: Some(Collector::start(terminal)),
                stderr: None,
                stdin: None,
                child,
            });
        }
        let mut stdin = child.stdin.take();
        if let Some(pipe) = &mut stdin {
            // More than a pipe's capacity would block, but tests send a few lines. A program may ignore its input.
            let _ = pipe.write_all(&self.stdin);
        }
        Ok(Running {
            command: described,
            stdout: child.stdout.take().map(Collector::start),
            stderr: child.stderr.take().map(Collector::start),
            stdin,
            child,
        })
    }

    /// Runs the program with the kernel of a machine that has the files of the root.
    fn boot(self, mut machine: Machine, times: usize) -> Vec<Output> {
        assert!(
            self.argv0.is_none() && self.stdin.is_empty() && !self.on_terminal,
            "a setting that boot.c does not have"
        );
        let surroundings = self.surroundings;
        if surroundings.proc == Proc::Shared {
            machine.set(["proc"]);
        }
        if surroundings.no_aslr {
            machine.set(["no-randomization"]);
        }
        if surroundings.mdwe {
            machine.set(["deny-write-execute"]);
        }
        if let Some(Ids { real, effective }) = surroundings.ids {
            machine.set(["user", &format!("{real}:{effective}")]);
        }
        if let Some(limit) = surroundings.address_space {
            machine.set(["address-space", &limit.to_string()]);
        }
        if let Some(mask) = surroundings.umask {
            machine.set(["umask", &format!("{mask:o}")]);
        }
        machine.set(["directory", &surroundings.cwd.display().to_string()]);
        machine.set(["argument", &self.program]);
        for argument in &self.args {
            machine.set(["argument", argument]);
        }
        for (name, value) in &self.env {
            machine.set(["variable", &format!("{name}={value}")]);
        }
        machine.start(&self.program, times)
    }

    fn program_arch(&self) -> Option<Arch> {
        Arch::of_file(&self.root.path(&self.program))
    }
}

impl Running {
    /// The process id on this machine.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The standard output so far.
    pub fn stdout_so_far(&self) -> String {
        self.stdout
            .as_ref()
            .map(Collector::so_far)
            .unwrap_or_default()
    }

    /// Closes standard input and waits for the end.
    pub fn finish(mut self, timeout: Duration) -> Output {
        drop(self.stdin.take());
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_micros(200);
        let mut timed_out = false;
        // The process is not reaped yet, so its number still belongs to its process group.
        while !self.has_ended() {
            if Instant::now() >= deadline && !timed_out {
                timed_out = true;
                namespace::kill_group(self.child.id());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        // Remaining children of the program hold the pipes open.
        namespace::kill_group(self.child.id());
        let status = self.child.wait().expect("wait for a child");
        let text = |reader: Option<Collector>| reader.map(Collector::finish).unwrap_or_default();
        Output {
            command: std::mem::take(&mut self.command),
            status: status.code(),
            signal: status.signal(),
            stdout: text(self.stdout.take()),
            stderr: text(self.stderr.take()),
            timed_out,
        }
    }
}

impl Running {
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let id = Id::Pid(Pid::from_raw(self.child.id() as i32));
        !matches!(waitid(id, flags), Ok(WaitStatus::StillAlive))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `finish`, the process has ended.
        if !self.has_ended() {
            namespace::kill_group(self.child.id());
            let _ = self.child.wait();
        }
    }
}

impl Collector {
    fn start(mut pipe: impl Read + Send + 'static) -> Collector {
        let read = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut part = [0; 65536];
            while let Ok(len @ 1..) = pipe.read(&mut part) {
                let mut read = shared.lock().unwrap_or_else(PoisonError::into_inner);
                read.extend_from_slice(&part[..len]);
            }
        });
        Collector { read, thread }
    }

    fn so_far(&self) -> String {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&read).into_owned()
    }

    fn finish(self) -> String {
        let Collector { read, thread } = self;
        thread.join().expect("a reader does not panic");
        let read = read.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// Runs a program of this machine, outside any root.
pub fn on_host(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    let command = format!("{} {}", program.as_ref().to_string_lossy(), args.join(" "));
    let output = fork::spawn(
        Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
    .and_then(Child::wait_with_output)
    .unwrap_or_else(|error| panic!("start {command}: {error}; run: cargo xtask setup"));
    Output {
        command,
        status: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        timed_out: false,
    }
}
