//! The tree in which runs are stopped.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e::{Arch, Build, Output, Variant, run, source, tool};
use nix::sys::statvfs::{FsFlags, statvfs};
use tempfile::TempDir;

/// A program that needs `libbar.so`, which is next to it and needs `libfoo.so`, which is elsewhere.
pub struct Tree {
    pub arch: Arch,
    pub dir: TempDir,
    /// Hashes of the states that the program was started in.
    started: RefCell<HashSet<u64>>,
}

/// A system call of the tool.
pub struct Call {
    pub name: String,
    /// The arguments and the result, as strace prints them.
    rest: String,
}

impl Call {
    /// Whether it may change a file.
    pub fn changes(&self) -> bool {
        match self.name.as_str() {
            "openat" | "openat2" => self.has(&["O_CREAT", "O_TRUNC", "O_TMPFILE"]),
            name => !READING.contains(&name),
        }
    }

    /// Whether it opens a file to read it.
    pub fn opens_to_read(&self) -> bool {
        self.name.starts_with("openat") && !self.changes() && !self.has(&["O_RDWR", "O_WRONLY"])
    }

    fn has(&self, flags: &[&str]) -> bool {
        flags.iter().any(|flag| self.rest.contains(flag))
    }
}

/// The times of modification of the files before any run.
pub const LONG_AGO: Duration = Duration::new(1_000_000_000, 1);

pub const WRAP: &[&str] = &["--paths", "app", "--libs", "lib"];
pub const SELF_CONTAINED: &[&str] = &["--self-contained", "--paths", "app", "--libs", "lib"];
pub const IN_PLACE: &[&str] = &["--strategy", "inplace", "--paths", "app", "--libs", "lib"];
pub const RESTORE: &[&str] = &["restore", "app"];

/// System calls that change files. Most calls of openat only read.
pub const CHANGING: &[&str] = &[
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "linkat",
    "renameat",
    "unlinkat",
    "utimensat",
];

/// System calls that change no file. If the tool is stopped at one, the files are those that it leaves when it is stopped at its
/// next call.
const READING: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clock_gettime",
    "close",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getrandom",
    "gettid",
    "getuid",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "poll",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "signalfd4",
    "statx",
    "uname",
];

/// Options of strace with which only the calls that it traces stop the tool, instead of all. It injects errors with these, but no
/// signals.
pub const QUICK: [&str; 2] = ["-f", "--seccomp-bpf"];

/// Names of files below the tree, with content, mode and, for sidecars and originals, time.
pub type Snapshot = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// In memory, if programs may be executed there: the tool syncs thousands of times, and a disk takes longer for that than the tool
/// for the rest. The kernel kills and refuses in the same way on both.
fn directory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    match statvfs(memory) {
        Ok(found) if !found.flags().contains(FsFlags::ST_NOEXEC) => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
}

impl Tree {
    pub fn new(variant: Variant) -> Tree {
        Self::with_library(variant, &[])
    }

    /// Adds `flags` for the linker of `libbar.so`.
    pub fn with_library(variant: Variant, flags: &[&str]) -> Tree {
        let arch = variant.arch;
        // The machine's own, or that of the cross compiler.
        let linker = arch.find_library(arch.ld_so()).expect("a dynamic linker");
        let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let outer = Build::library(variant, source("lib/bar.c"), "libbar.so");
        let outer = flags.iter().fold(outer, |outer, flag| outer.flag(*flag));
        let outer = outer.link(&inner).build();
        let program = Build::program(variant, source("indirect.c"))
            .flag("-Wl,-rpath,$ORIGIN,--allow-shlib-undefined")
            .flag(format!("-Wl,--dynamic-linker={}", linker.display()))
            .flag("-Wl,-z,separate-code")
            .link(&outer)
            .build();
        let dir = directory().expect("a temporary directory");
        for (file, name) in [
            (&inner, "lib/libfoo.so"),
            (&outer, "app/libbar.so"),
            (&program, "app/program"),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::copy(file, &path).expect("copy");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            let file = fs::File::open(&path).expect("just copied");
            file.set_modified(SystemTime::UNIX_EPOCH + LONG_AGO)
                .expect("utimensat");
        }
        Tree {
            arch,
            dir,
            started: RefCell::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path almost as long as the kernel allows.
    pub fn far(&self) -> PathBuf {
        self.path(&vec!["d".repeat(250); 15].join("/"))
    }

    /// The tool's command line, with absolute paths, loaders in the tree, and one thread.
    pub fn command(&self, arguments: &[&str]) -> Vec<String> {
        let known = ["app", "lib", "loaders", "other"];
        let absolute = arguments.iter().map(|one| match *one {
            "far" => self.far().display().to_string(),
            one if known.contains(&one) => self.path(one).display().to_string(),
            one => one.to_string(),
        });
        let mut all = vec![tool::path().display().to_string()];
        all.extend(absolute);
        all.extend(["-j", "1"].map(String::from));
        if arguments[0].starts_with("--") {
            let linker = self.arch.find_library(self.arch.ld_so());
            let system = linker.into_iter().flat_map(|linker| {
                let linker = linker.display().to_string();
                ["--interpreter".to_string(), linker]
            });
            all.extend(system);
            all.push("--libs".to_string());
            all.extend(self.system_directories());
            if !arguments.contains(&"--self-contained") {
                let loaders = self.path("loaders").display().to_string();
                all.extend(["--loader-dir-path".to_string(), loaders]);
            }
        }
        all
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        let rest: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        run::on_host(&command[0], &rest)
    }

    /// Runs the tool with a fault injected into one of its system calls: an error or a signal.
    pub fn run_with(&self, call: &str, fault: &str, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
        let quick = if fault.starts_with("error=") {
            &QUICK[..]
        } else {
            &[]
        };
        let mut all = [quick, &["-o", "/dev/null", "-e", &trace, "-e", &inject]].concat();
        all.extend(command.iter().map(String::as_str));
        run::on_host("strace", &all)
    }

    /// The tool's system calls, in the format of strace.
    pub fn strace(&self, options: &[&str], arguments: &[&str]) -> String {
        let log = self.path("trace");
        let log = log.to_str().expect("UTF-8");
        let command = self.command(arguments);
        let mut all = [&["-o", log], options].concat();
        all.extend(command.iter().map(String::as_str));
        run::on_host("strace", &all).success();
        let text = fs::read_to_string(log).expect("a trace");
        fs::remove_file(log).expect("it was there");
        text
    }

    /// The tool's system calls, in order.
    pub fn calls(&self, arguments: &[&str]) -> Vec<Call> {
        let text = self.strace(&[], arguments);
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.split_once('(')?;
            let is_call =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            // The kernel does not return from these, or strace was not attached before exec.
            let is_usual = !["execve", "exit_group", "exit"].contains(&name);
            let [name, rest] = [name, rest].map(str::to_owned);
            (is_call && is_usual).then_some(Call { name, rest })
        });
        calls.collect()
    }

    /// The names of the tool's system calls, in order.
    pub fn trace(&self, arguments: &[&str]) -> Vec<String> {
        let calls = self.calls(arguments).into_iter();
        calls.map(|call| call.name).collect()
    }

    /// The calls at which the tool is stopped: those that may change files, each with its name and its number among the calls of
    /// that name. Emulated programs are slow, and the tool does the same for them: for these, only one in five of the calls that
    /// are not in [`CHANGING`].
    pub fn stops(&self, arguments: &[&str]) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut stops = Vec::new();
        for call in self.calls(arguments) {
            let n = counts.entry(call.name.clone()).or_default();
            *n += 1;
            let is_tried =
                CHANGING.contains(&call.name.as_str()) || (*n - 1).is_multiple_of(self.one_in());
            if call.changes() && is_tried {
                stops.push((call.name, *n));
            }
        }
        stops
    }

    /// The tool's writes to existing files and its syncs, in order. Equal calls in a row count as one.
    pub fn steps(&self, arguments: &[&str]) -> Vec<String> {
        let mut steps = self.trace(arguments);
        let told = ["pwrite64", "fsync", "fdatasync", "renameat", "unlinkat"];
        steps.retain(|call| told.contains(&call.as_str()));
        steps.dedup();
        steps
    }

    /// The directories of the C library.
    pub fn system_directories(&self) -> Vec<String> {
        let directories = self.arch.library_dirs().into_iter();
        directories.map(|one| one.display().to_string()).collect()
    }

    /// Starts the program, which finds libraries in `directories` too.
    pub fn start(&self, directories: &[String]) -> Output {
        let search = format!("LD_LIBRARY_PATH={}", directories.join(":"));
        let program = self.path("app/program").display().to_string();
        let emulator = (!self.arch.is_native()).then(|| self.arch.qemu_path());
        let emulator = emulator.map(|path| path.display().to_string());
        let all: Vec<&str> = [search.as_str()]
            .into_iter()
            .chain(emulator.as_deref())
            .chain([program.as_str()])
            .collect();
        run::on_host("env", &all)
    }

    /// Asserts that the program works, with its library from any directory.
    pub fn works(&self, what: &str) {
        let library = self.path("lib").display().to_string();
        let output = self.start(&[vec![library], self.system_directories()].concat());
        assert_eq!(output.stdout, "42\n", "{what}; {output}");
    }

    /// Whether the program was not started in this state of its files yet. The same files start in the same way.
    pub fn is_new(&self, state: &impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        self.started.borrow_mut().insert(hasher.finish())
    }

    /// Asserts that the program finds its library by itself, or that it does not.
    pub fn finds(&self, found: bool, what: &str) {
        let output = self.start(&self.system_directories());
        assert_eq!(output.stdout == "42\n", found, "{what}; {output}");
    }

    /// One of this many calls of a name is tried.
    pub fn one_in(&self) -> usize {
        if self.arch == Arch::host() { 1 } else { 5 }
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        for name in ["app", "lib"] {
            for entry in fs::read_dir(self.path(name)).expect("a directory") {
                let path = entry.expect("an entry").path();
                let content = fs::read(&path).expect("a file");
                let mode = fs::metadata(&path).expect("a file").permissions().mode();
                let inside = path.strip_prefix(self.dir.path()).expect("below it");
                found.insert(inside.to_owned(), (content, mode));
            }
        }
        found
    }

    /// Resets the tree to `snapshot`.
    pub fn reset(&self, snapshot: &Snapshot, times: &BTreeMap<PathBuf, SystemTime>) {
        for name in ["app", "loaders"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        fs::create_dir(self.path("app")).expect("mkdir");
        self.install_loader();
        for (name, (content, mode)) in snapshot {
            let path = self.dir.path().join(name);
            fs::write(&path, content).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("chmod");
            let file = fs::File::open(&path).expect("just written");
            file.set_modified(times[name]).expect("utimensat");
        }
    }

    pub fn install_loader(&self) {
        let stage = stages::for_machine(self.arch.machine()).expect("a stage");
        fs::create_dir_all(self.path("loaders")).expect("mkdir");
        let loader = self.path("loaders").join(self.arch.loader_file());
        fs::write(loader, stage.loader).expect("write");
    }

    pub fn times(&self) -> BTreeMap<PathBuf, SystemTime> {
        let names = self.snapshot().into_keys();
        let time = |name: &Path| {
            let metadata = fs::metadata(self.dir.path().join(name)).expect("a file");
            metadata.modified().expect("a time")
        };
        names.map(|name| (name.clone(), time(&name))).collect()
    }
}
