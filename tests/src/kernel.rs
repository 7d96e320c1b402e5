//! Starts programs of another architecture with a kernel of theirs, in QEMU's system emulator.
//!
//! QEMU's user-mode emulator gives programs this machine's kernel, and itself as their executable: it ignores set-id bits and
//! capabilities of a program, has an address space of its own, and a file that it executes can be written to.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cpio::newc::{Builder, trailer};

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::fork;
use crate::output::Output;
use crate::toolchain::{Build, find_program, source};

/// An emulated machine.
#[derive(Debug)]
struct Board {
    arch: Arch,
    /// QEMU's system emulator, with its arguments.
    emulator: &'static [&'static str],
    console: &'static str,
    /// A kernel of Debian's installer, if it is in a package for every architecture.
    image: Option<&'static str>,
}

const BOARDS: &[Board] = &[
    Board {
        arch: Arch::Aarch64,
        emulator: &["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"],
        console: "ttyAMA0",
        image: Some("/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux"),
    },
    Board {
        arch: Arch::Armv7,
        emulator: &["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"],
        console: "ttyAMA0",
        image: Some(
            "/usr/lib/debian-installer/images/12/armhf/text/debian-installer/armhf/vmlinuz",
        ),
    },
    Board {
        arch: Arch::Riscv64,
        emulator: &["qemu-system-riscv64", "-M", "virt"],
        console: "ttyS0",
        image: None,
    },
];

/// A line of `boot.c` before each result.
const START: &str = "start ";

/// A kernel with QEMU's system emulator.
#[derive(Clone, Debug)]
pub struct Kernel {
    board: &'static Board,
    image: PathBuf,
    emulator: PathBuf,
}

/// The files of a booted kernel, in memory, and the programs that it starts.
pub struct Machine {
    kernel: Kernel,
    /// Paths on this machine and in the booted one.
    files: Vec<(PathBuf, String)>,
    /// The words of `/boot/starts`.
    words: Vec<String>,
}

impl Kernel {
    /// The kernel for programs of `arch`: `$WRAP_BUDDY_TEST_KERNEL_AARCH64` and so on, or that of Debian's installer. The error says
    /// what is missing.
    pub fn find(arch: Arch) -> Result<Kernel, String> {
        let name = arch.name();
        let mut boards = BOARDS.iter();
        let Some(board) = boards.find(|board| board.arch == arch) else {
            return Err(format!("no kernel is started for {name}"));
        };
        let variable = format!("WRAP_BUDDY_TEST_KERNEL_{}", name.to_uppercase());
        let image = env::var_os(&variable).map(PathBuf::from);
        let Some(image) = image.or_else(|| board.image.map(PathBuf::from)) else {
            return Err(format!("no kernel for {name}: {variable} names none"));
        };
        let program = board.emulator[0];
        match find_program(program) {
            Some(emulator) if image.exists() => Ok(Kernel {
                board,
                image,
                emulator,
            }),
            Some(_) => Err(format!("no kernel for {name} at {}", image.display())),
            None => Err(format!("no {program}")),
        }
    }

    /// A machine without files.
    pub fn machine(self) -> Machine {
        let variant = Variant::new(self.board.arch, Libc::Glibc, Kind::Exec);
        let boot = Build::program(variant, source("boot.c"))
            .flag("-static")
            .build();
        let mut machine = Machine {
            kernel: self,
            files: Vec::new(),
            words: Vec::new(),
        };
        machine.add(&boot, "/init");
        machine
    }
}

impl Machine {
    /// Adds a file, or a directory with all files in it, with owners, modes, times and capabilities. Devices are left out:
    /// the machine has its own in `/dev`.
    pub fn add(&mut self, file: &Path, inside: &str) {
        self.files.push((file.to_owned(), inside.to_owned()));
    }

    /// Adds a setting for all programs that are started later, as `boot.c` describes them.
    pub fn set<T: Into<String>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.words.extend(words.into_iter().map(Into::into));
    }

    /// Boots it, starts `program` as often as `times` says, one after the other, and returns the results.
    ///
    /// # Panics
    /// If a result is missing; with everything that the machine has printed.
    pub fn start(mut self, program: &str, times: usize) -> Vec<Output> {
        let mut files = self.initramfs();
        for _ in 0..times {
            self.set(["start", program]);
        }
        let starts: String = self.words.iter().map(|word| format!("{word}\0")).collect();
        files
            .add("/boot/starts", None, starts.as_bytes())
            .expect("a file in memory");
        let mut initramfs = tempfile::NamedTempFile::new().expect("a temporary file");
        let all = trailer(files.archive).expect("an archive in memory");
        initramfs.write_all(&all).expect("write the initramfs");

        let mut command = Command::new(&self.kernel.emulator);
        let board = self.kernel.board;
        let console = board.console;
        command
            .args(&board.emulator[1..])
            .args(["-smp", "2", "-m", "1G"])
            .args([
                "-nodefaults",
                "-nographic",
                "-serial",
                "stdio",
                "-no-reboot",
            ])
            .arg("-append")
            .arg(format!("console={console} loglevel=1 panic=-1"))
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initramfs.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = fork::spawn(&mut command)
            .and_then(|child| child.wait_with_output())
            .expect("start QEMU");
        let mut rest = &output.stdout[..];
        let result = |_| {
            next_result(&mut rest, program).unwrap_or_else(|| {
                panic!(
                    "no result from the booted kernel: {}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                )
            })
        };
        (0..times).map(result).collect()
    }

    fn initramfs(&mut self) -> Files {
        let mut files = Files::default();
        for dir in ["/dev", "/proc", "/boot"] {
            files.add(dir, None, &[]).expect("a directory in memory");
        }
        files.add_devices().expect("devices in memory");
        for (file, inside) in &self.files {
            files.add_parents(inside).expect("a directory in memory");
            files
                .add_all(file, inside)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        self.words.splice(0..0, std::mem::take(&mut files.words));
        files
    }
}

/// An initramfs in the making. Documentation/driver-api/early-userspace/buffer-format.rst of the kernel has the format.
#[derive(Default)]
struct Files {
    archive: Vec<u8>,
    inodes: u32,
    directories: BTreeSet<String>,
    /// Extended attributes, which the format does not have.
    words: Vec<String>,
}

impl Files {
    fn add_all(&mut self, file: &Path, inside: &str) -> io::Result<()> {
        let metadata = fs::symlink_metadata(file)?;
        let content = match metadata.file_type() {
            kind if kind.is_dir() => Vec::new(),
            kind if kind.is_file() => fs::read(file)?,
            kind if kind.is_symlink() => fs::read_link(file)?.as_os_str().as_bytes().to_vec(),
            _ => return Ok(()),
        };
        self.add(inside, Some(&metadata), &content)?;
        if metadata.is_file()
            && let Some(value) = xattr::get(file, CAPABILITY)?
        {
            let hex = value.iter().map(|byte| format!("{byte:02x}")).collect();
            let words = ["attribute".into(), inside.into(), CAPABILITY.into(), hex];
            self.words.extend(words);
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(file)? {
                let name = entry?.file_name();
                let name = name.to_str().expect("UTF-8");
                let inside = format!("{}/{name}", inside.trim_end_matches('/'));
                self.add_all(&file.join(name), &inside)?;
            }
        }
        Ok(())
    }

    /// The kernel makes no directories for the names of files.
    fn add_parents(&mut self, inside: &str) -> io::Result<()> {
        let parents = Path::new(inside).ancestors().skip(1);
        let mut missing: Vec<&str> = parents.filter_map(Path::to_str).collect();
        missing.retain(|dir| *dir != "/" && !self.directories.contains(*dir));
        missing.reverse();
        missing
            .into_iter()
            .try_for_each(|dir| self.add(dir, None, &[]))
    }

    /// Adds character devices (Documentation/admin-guide/devices.txt of the kernel).
    fn add_devices(&mut self) -> io::Result<()> {
        for (name, major, minor) in [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("console", 5, 1),
        ] {
            self.inodes += 1;
            let entry = Builder::new(&format!("dev/{name}"))
                .ino(self.inodes)
                .nlink(1);
            let entry = entry
                .mode(libc::S_IFCHR | 0o666)
                .rdev_major(major)
                .rdev_minor(minor);
            entry.write(&mut self.archive, 0).finish()?;
        }
        Ok(())
    }

    /// Adds one file. Without `metadata`, it belongs to root; it is a directory if there is no content.
    fn add(&mut self, inside: &str, metadata: Option<&Metadata>, content: &[u8]) -> io::Result<()> {
        let usual = if content.is_empty() {
            0o40755
        } else {
            0o100644
        };
        let mode = metadata.map_or(usual, Metadata::mode);
        if mode & libc::S_IFMT == libc::S_IFDIR && !self.directories.insert(inside.into()) {
            return Ok(());
        }
        self.inodes += 1;
        let entry = Builder::new(inside.trim_matches('/'))
            .ino(self.inodes)
            .nlink(1)
            .mode(mode)
            .uid(metadata.map_or(0, Metadata::uid))
            .gid(metadata.map_or(0, Metadata::gid))
            .mtime(metadata.map_or(0, |found| found.mtime() as u32));
        let mut writer = entry.write(&mut self.archive, content.len() as u32);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

const CAPABILITY: &str = "security.capability";

/// Takes the next result from what `boot.c` has printed.
fn next_result(rest: &mut &[u8], program: &str) -> Option<Output> {
    let mark = START.as_bytes();
    let begin = rest.windows(mark.len()).position(|part| part == mark)? + mark.len();
    let after = &rest[begin..];
    let end = after.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&after[..end]).ok()?;
    let numbers: Vec<i64> = line
        .split(' ')
        .map_while(|word| word.parse().ok())
        .collect();
    let [status, signal, out, error] = numbers[..] else {
        return None;
    };
    let printed = &after[end + 1..];
    let (out, error) = (out as usize, error as usize);
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let result = Output {
        command: program.into(),
        status: (status >= 0).then_some(status as i32),
        signal: (signal >= 0).then_some(signal as i32),
        stdout: text(printed.get(..out)?),
        stderr: text(printed.get(out..out + error)?),
        timed_out: false,
    };
    *rest = &printed[out + error..];
    Some(result)
}
