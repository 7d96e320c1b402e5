//! A wrapped program that can be started many times a second, and the results of its starts.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::mem::{offset_of, size_of};
use std::ops::Range;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use e2e::check::segments;
use e2e::offsets::Offsets;
use e2e::{Arch, Build, Variant, cache, run, source, tool};
use nix::sys::resource::{Resource, setrlimit};
use object::elf;
use sidecar::{Header, Sidecar};
use tempfile::TempDir;

pub const PROGRAM: &str = "program";
pub const SIDECAR: &str = ".program.wrapbuddy";

/// The same program, with its loader in its sidecar.
pub const OWN: &str = "own";
pub const OWN_SIDECAR: &str = ".own.wrapbuddy";

/// The same program, with the dynamic linker as its PT_INTERP.
pub const DIRECT: &str = "direct";

/// The output of the program.
const SAYS: &str = "hello\n";

/// The user `nobody`, so that a damaged dynamic linker cannot damage this machine.
const NOBODY: u32 = 65534;

/// Processor time in seconds after which the kernel kills a process that ignores its timers.
const MOST_SECONDS: u64 = 10;

/// A wrapped program with files of its own, and copies of the good files.
pub struct Bench {
    dir: TempDir,
    arch: Arch,
    pub sidecar: Vec<u8>,
    pub own_sidecar: Vec<u8>,
    /// The bytes of the file that the loader does not use.
    pub unread: Vec<Range<usize>>,
    pub interpreter: Vec<u8>,
    /// The bytes of the file that the loader uses.
    pub headers: Vec<Range<usize>>,
    stdout: File,
    stderr: File,
}

/// The result of a start.
pub struct Start {
    pub status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Bench {
    pub fn new(variant: Variant) -> Bench {
        let arch = variant.arch;
        let dir = tempfile::tempdir().expect("a temporary directory");
        cache::make_readable(dir.path()).expect("it is ours");
        let built = Build::program(variant, source("hello.c")).build();
        let linker = arch.find_library(arch.ld_so()).expect("a dynamic linker");
        for (from, name) in [
            (&built, PROGRAM),
            (&built, OWN),
            (&built, DIRECT),
            (&linker, arch.ld_so()),
        ] {
            fs::copy(from, dir.path().join(name)).expect("a copy");
        }
        let stage = stages::for_machine(arch.machine()).expect("every architecture is built");
        fs::write(dir.path().join(arch.loader_file()), stage.loader).expect("it is ours");
        let interpreter = fs::read(&linker).expect("copied before");
        let mut bench = Bench {
            arch,
            sidecar: Vec::new(),
            own_sidecar: Vec::new(),
            unread: Vec::new(),
            headers: read_by_loader(&interpreter),
            interpreter,
            stdout: tempfile::tempfile().expect("a temporary file"),
            stderr: tempfile::tempfile().expect("a temporary file"),
            dir,
        };
        bench.wrap(PROGRAM, "stub");
        bench.wrap(DIRECT, "inplace");
        bench.wrap(OWN, "stub");
        bench.sidecar = fs::read(bench.path(SIDECAR)).expect("it was wrapped");
        bench.own_sidecar = fs::read(bench.path(OWN_SIDECAR)).expect("it was wrapped");
        bench.unread = not_read_by_loader(&bench.sidecar);
        for program in [PROGRAM, OWN, DIRECT] {
            let start = bench.start(program);
            assert!(start.is_success(), "{program} as it was: {start}");
        }
        bench
    }

    fn wrap(&self, name: &str, strategy: &str) {
        let (program, interpreter) = (self.path(name), self.interpreter_path());
        let text = |path: &Path| path.to_str().expect("UTF-8").to_string();
        let mut all = vec!["--paths".to_string(), text(&program), "--libs".to_string()];
        all.extend(self.arch.library_dirs().iter().map(|dir| text(dir)));
        all.extend(["--interpreter".to_string(), text(&interpreter)]);
        match name {
            OWN => all.push("--self-contained".to_string()),
            _ => all.extend(["--loader-dir-path".to_string(), text(self.dir.path())]),
        }
        all.extend(["--strategy", strategy].map(String::from));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        run::on_host(tool::path(), &all).success();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn interpreter_path(&self) -> PathBuf {
        self.path(self.arch.ld_so())
    }

    pub fn start(&mut self, name: &str) -> Start {
        let program = self.path(name);
        let mut command = match self.arch.is_native() {
            true => Command::new(&program),
            false => {
                let mut command = Command::new(self.arch.qemu_path());
                command.arg(&program);
                command
            }
        };
        let limit = if self.arch.is_native() {
            50_000
        } else {
            3_000_000
        };
        for file in [&mut self.stdout, &mut self.stderr] {
            file.set_len(0).and_then(|()| file.rewind()).expect("ours");
        }
        command
            .env_clear()
            .env("WRAP_BUDDY_DEBUG", "1")
            .stdin(Stdio::null())
            .stdout(self.stdout.try_clone().expect("dup"))
            .stderr(self.stderr.try_clone().expect("dup"));
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        // SAFETY: the closure runs in a forked child, and makes system calls with values of its own.
        unsafe {
            command.pre_exec(move || {
                let once = libc::itimerval {
                    it_interval: libc::timeval {
                        tv_sec: 0,
                        tv_usec: 0,
                    },
                    it_value: libc::timeval {
                        tv_sec: limit / 1_000_000,
                        tv_usec: limit % 1_000_000,
                    },
                };
                // Counts the process's own time, which does not depend on the load of this machine.
                libc::setitimer(libc::ITIMER_PROF, &once, std::ptr::null_mut());
                // In case the process only waits.
                libc::alarm(30);
                // An emulator with blocked signals may loop forever. Nothing can block this limit.
                Ok(setrlimit(Resource::RLIMIT_CPU, MOST_SECONDS, MOST_SECONDS)?)
            })
        };
        let status = loop {
            match command.status() {
                // Until its exec, another thread's child has the file open that this one has written.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
                status => break status.expect("it can be executed"),
            }
        };
        let text = |file: &File| {
            let mut bytes = Vec::new();
            let mut file = file;
            file.rewind().expect("ours");
            file.read_to_end(&mut bytes).expect("ours");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Start {
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

impl Start {
    /// Whether the loader has done its work.
    pub fn has_entered(&self) -> bool {
        let mut lines = self.stderr.lines();
        lines.any(|line| line.starts_with("wrap-buddy: ") && line.contains(": entry "))
    }

    /// Whether the program has run successfully.
    pub fn is_success(&self) -> bool {
        self.status.success() && self.stdout == SAYS
    }

    /// Whether there is exactly one line of the loader that names `file`, after its debug lines.
    pub fn is_refused(&self, file: &Path) -> bool {
        let mut lines = self
            .stderr
            .lines()
            .filter(|line| !line.contains(": load bias"));
        let line = lines.next().unwrap_or_default();
        let named = format!("wrap-buddy: {}: ", file.display());
        self.status.code() == Some(127)
            && self.stdout.is_empty()
            && line.starts_with(&named)
            && lines.next().is_none()
    }

    /// Whether the loader has run no longer than a good start takes.
    pub fn ended_in_time(&self) -> bool {
        let timers = [libc::SIGPROF, libc::SIGALRM, libc::SIGKILL];
        self.has_entered()
            || !self
                .status
                .signal()
                .is_some_and(|signal| timers.contains(&signal))
    }
}

impl std::fmt::Display for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Start {
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// The bytes of a dynamic linker that the loader uses.
fn read_by_loader(file: &[u8]) -> Vec<Range<usize>> {
    let all = segments(file);
    let offsets = Offsets::of(file);
    let mut found: Vec<Range<usize>> = all
        .iter()
        .map(|one| one.header_at..one.header_at + offsets.phdr_len)
        .collect();
    found.push(0..offsets.ehdr_len);
    let parts = [elf::PT_DYNAMIC, elf::PT_GNU_PROPERTY];
    let parts = all.iter().filter(|one| parts.contains(&one.kind));
    found.extend(parts.map(|one| one.file.clone()));
    found
}

/// The bytes of a sidecar that only the tool uses, if the path of the interpreter is absolute, the program's own .dynamic has room,
/// and its code can be written.
fn not_read_by_loader(bytes: &[u8]) -> Vec<Range<usize>> {
    let sidecar = Sidecar::parse(bytes).expect("the tool's own");
    let header = sidecar.header();
    let mut unread = vec![
        offset_of!(Header, machine)..offset_of!(Header, flags),
        offset_of!(Header, loader_checksum)..offset_of!(Header, id),
        offset_of!(Header, slot_offset)..offset_of!(Header, debug_address),
        offset_of!(Header, interpreter) + 4..offset_of!(Header, strings),
        offset_of!(Header, dynamic)..offset_of!(Header, dynamic) + 4,
        offset_of!(Header, edits)..offset_of!(Header, own_dynamic_len),
        offset_of!(Header, tool)..size_of::<Header>(),
    ];
    let edits = header.edits.at as usize..(header.edits.at + header.edits.len) as usize;
    let slot = header.slot.at as usize..(header.slot.at + header.slot.len) as usize;
    unread.extend([edits.start..slot.start, slot.end..edits.end]);
    unread
}
