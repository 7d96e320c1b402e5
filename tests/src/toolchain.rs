//! Compilers for every cell of the matrix, which also locate libraries and tools on this machine.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use object::elf;

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::offsets::Offsets;
use crate::skipped::skipped;
use crate::{cache, fork};

/// Searches PATH for a program.
pub fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(&name))
        .find(|path| path.is_file())
}

/// A C compiler driver with its fixed arguments.
#[derive(Clone, Debug)]
pub struct Compiler(Vec<String>);

impl Compiler {
    /// The command in `WRAP_BUDDY_TEST_CC_X86_64`, for musl `WRAP_BUDDY_TEST_CC_X86_64_MUSL`, and so on. Without it, a cross compiler on
    /// the PATH, or else the compiler that the cc crate finds.
    pub fn find(arch: Arch, libc: Libc) -> Option<Compiler> {
        if let Ok(command) = env::var(variable(arch, libc)) {
            let words = shlex::split(&command).filter(|words| !words.is_empty());
            return Some(Compiler(words.unwrap_or_else(|| {
                panic!("{}={command} is not a command", variable(arch, libc))
            })));
        }
        let libc = match libc {
            Libc::Glibc => "gnu",
            Libc::Musl => "musl",
        };
        let (names, abi) = arch.in_triples();
        let triple = |arch: Arch, libc, abi| format!("{}-unknown-linux-{libc}{abi}", arch.name());
        // The cc crate would ask the host's compiler for -m32, which needs its multilib; a cross compiler does not.
        let mut cross = names.iter().flat_map(|name| {
            ["linux", "unknown-linux"].map(|system| format!("{name}-{system}-{libc}{abi}-gcc"))
        });
        let found = cross.find_map(|name| (arch != Arch::host()).then(|| find_program(name))?);
        if let Some(found) = found {
            return Some(Compiler(vec![found.to_str()?.to_owned()]));
        }
        // It starts compilers to learn their family.
        let _guard = fork::forking();
        let tool = cc::Build::new()
            .target(&triple(arch, libc, abi))
            .host(&triple(Arch::host(), "gnu", ""))
            .opt_level(1)
            .out_dir(env::temp_dir())
            .cargo_metadata(false)
            .no_default_flags(true)
            .try_get_compiler()
            .ok()?;
        let path = find_program(tool.path())?;
        let words = [path.as_os_str()].into_iter();
        let words = words.chain(tool.args().iter().map(AsRef::as_ref));
        let words = words.map(|word| word.to_str().map(str::to_owned));
        Some(Compiler(words.collect::<Option<_>>()?))
    }

    /// The same.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(arch: Arch, libc: Libc) -> Compiler {
        Compiler::find(arch, libc).unwrap_or_else(|| {
            let (name, variable) = (arch.name(), variable(arch, libc));
            panic!("no {libc:?} compiler for {name}: set {variable}, or run: cargo xtask setup")
        })
    }

    /// The command without the other arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]);
        command
    }

    /// The path of one of its libraries. The directory has no symbolic links in its path.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        // The compiler prints the bare name if it does not find the file.
        let path = self.ask(&format!("-print-file-name={name}"));
        let dir = path.parent().filter(|_| path.is_absolute())?;
        Some(dir.canonicalize().ok()?.join(path.file_name()?))
    }

    /// One of the binutils for its files.
    ///
    /// # Panics
    /// If it is not installed.
    pub fn binutil(&self, name: &str) -> PathBuf {
        let named = self.ask(&format!("-print-prog-name={name}"));
        find_program(named)
            .unwrap_or_else(|| panic!("{self:?} has no {name}; run: cargo xtask setup"))
    }

    fn ask(&self, question: &str) -> PathBuf {
        let mut command = self.command();
        command
            .arg(question)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let output = fork::spawn(&mut command).and_then(Child::wait_with_output);
        let output = output.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    }

    /// Makes the file `name` from `arguments` in the directory `dir`, and returns its path in the cache, or the compiler's errors.
    ///
    /// An equal compilation is taken from the cache. Two are equal if their arguments, and the files that these name, are equal, so
    /// arguments name files of `dir` by relative paths.
    pub fn make(
        &self,
        dir: &Path,
        name: &str,
        arguments: &[impl AsRef<str>],
    ) -> Result<PathBuf, String> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let words = self.0.iter().map(String::as_str).chain([name]);
        let mut parts: Vec<Vec<u8>> = words
            .chain(arguments.iter().copied())
            .map(Vec::from)
            .collect();
        for part in arguments.iter().flat_map(|one| one.split([',', '=', ':'])) {
            let path = ["-L", "-B", "-I"]
                .iter()
                .find_map(|flag| part.strip_prefix(flag));
            let path = Path::new(path.unwrap_or(part));
            // Directories outside of `dir` belong to compilers.
            if path.is_relative() || path.is_file() {
                add_content(&dir.join(path), &mut parts);
            }
        }
        let key = cache::digest(parts.iter().map(Vec::as_slice));
        let place = cache::try_filled("build", &key, |place| {
            self.run(dir, &place.join(name), &arguments)
        });
        Ok(place?.join(name))
    }

    /// Makes `output` from `arguments` in the directory `dir`, or returns the compiler's errors.
    pub fn run(
        &self,
        dir: &Path,
        output: &Path,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<(), String> {
        let mut command = self.command();
        command
            .current_dir(dir)
            .arg("-o")
            .arg(output)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let done = fork::spawn(&mut command).and_then(Child::wait_with_output);
        let done = done.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let errors = String::from_utf8_lossy(&done.stderr);
        match done.status.success() {
            true => Ok(()),
            false => Err(format!("{command:?} failed: {errors}")),
        }
    }
}

/// The variable that names the compiler.
fn variable(arch: Arch, libc: Libc) -> String {
    let libc = match libc {
        Libc::Glibc => "",
        Libc::Musl => "_MUSL",
    };
    let name = arch.name().to_uppercase();
    format!("WRAP_BUDDY_TEST_CC_{name}{libc}")
}

/// Adds the content of a file, or of all files below a directory.
fn add_content(path: &Path, parts: &mut Vec<Vec<u8>>) {
    if path.is_file() {
        parts.push(fs::read(path).unwrap_or_default());
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        parts.push(
            path.file_name()
                .unwrap_or_default()
                .as_encoded_bytes()
                .to_vec(),
        );
        add_content(&path, parts);
    }
}

/// One run of a compiler, which makes a program or a shared library from one source file.
#[derive(Clone, Debug)]
pub struct Build {
    variant: Variant,
    source: PathBuf,
    soname: Option<String>,
    flags: Vec<String>,
    libraries: Vec<PathBuf>,
}

impl Build {
    /// A program from `source` (C++ if that ends in `.cc`, otherwise C).
    pub fn program(variant: Variant, source: impl Into<PathBuf>) -> Build {
        Build {
            variant,
            source: source.into(),
            soname: None,
            flags: Vec::new(),
            libraries: Vec::new(),
        }
    }

    /// A shared library whose file name and DT_SONAME are `soname`.
    pub fn library(variant: Variant, source: impl Into<PathBuf>, soname: &str) -> Build {
        let mut build = Build::program(variant, source);
        build.soname = Some(soname.into());
        build
    }

    /// Adds a flag for the compiler driver.
    pub fn flag(mut self, flag: impl Into<String>) -> Build {
        self.flags.push(flag.into());
        self
    }

    /// Adds flags for the compiler driver.
    pub fn flags<T: Into<String>>(mut self, flags: impl IntoIterator<Item = T>) -> Build {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Links to a library at this path.
    pub fn link(mut self, library: impl Into<PathBuf>) -> Build {
        self.libraries.push(library.into());
        self
    }

    /// Compiles, or takes the cached result of the same compilation, and returns its path. Panics if that fails.
    pub fn build(&self) -> PathBuf {
        let Variant { arch, libc, .. } = self.variant;
        let stem = self.source.file_stem().expect("a source has a name");
        let name = match &self.soname {
            Some(soname) => soname.clone(),
            None => stem.to_string_lossy().into_owned(),
        };
        Compiler::of(arch, libc)
            .make(&cache::fixtures(), &name, &self.arguments())
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-O1", "-g", "-Werror"].map(String::from).into();
        let is_static = self.flags.iter().any(|flag| flag == "-static");
        let shape: &[&str] = match (&self.soname, self.variant.kind) {
            (Some(_), _) => &["-shared", "-fPIC"],
            (None, Kind::Exec) => &["-no-pie", "-fno-pie"],
            (None, Kind::Pie) if is_static => &["-static-pie", "-fPIE"],
            (None, Kind::Pie) => &["-pie", "-fPIE"],
        };
        arguments.extend(shape.iter().map(|flag| (*flag).to_string()));
        if let Some(soname) = &self.soname {
            arguments.push(format!("-Wl,-soname,{soname}"));
        }
        arguments.extend(self.flags.iter().cloned());
        arguments.push(self.source.display().to_string());
        for library in &self.libraries {
            let parent = library.parent().expect("a library has a directory");
            arguments.push(library.display().to_string());
            arguments.push(format!("-Wl,-rpath-link,{}", parent.display()));
        }
        if self.source.extension().is_some_and(|end| end == "cc") {
            arguments.extend(["-shared-libgcc", "-lstdc++", "-lm"].map(String::from));
        }
        arguments
    }
}

/// A linker; each lays out files in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    Bfd,
    Gold,
    Lld,
    Mold,
}

impl Linker {
    /// The installed linkers. Newer distributions have no gold, and not all have mold.
    pub fn installed() -> impl Iterator<Item = Linker> {
        let all = [Linker::Bfd, Linker::Gold, Linker::Lld, Linker::Mold];
        all.into_iter().filter(|linker| {
            let is_optional = matches!(linker, Linker::Gold | Linker::Mold);
            let is_used = !is_optional || linker.find().is_some();
            if !is_used {
                skipped(&format!("{} is not installed", linker.program()));
            }
            is_used
        })
    }

    /// The installed linkers that link for this architecture.
    pub fn installed_for(arch: Arch) -> impl Iterator<Item = Linker> {
        Self::installed().filter(move |linker| *linker != Linker::Gold || arch != Arch::Riscv64)
    }

    /// The name in `-fuse-ld=`.
    pub fn name(self) -> &'static str {
        match self {
            Linker::Bfd => "bfd",
            Linker::Gold => "gold",
            Linker::Lld => "lld",
            Linker::Mold => "mold",
        }
    }

    fn program(self) -> String {
        format!("ld.{}", self.name())
    }

    /// Its path. Version 14 of lld, which one distribution calls ld.lld, cannot link for riscv64.
    fn find(self) -> Option<PathBuf> {
        let newer = (self == Linker::Lld).then(|| find_program("ld.lld-16"));
        newer.flatten().or_else(|| find_program(self.program()))
    }

    /// Flags for a compiler driver to use it.
    ///
    /// # Panics
    /// If it is not installed.
    pub fn flags(self) -> Vec<String> {
        let mut flags = vec![format!("-fuse-ld={}", self.name())];
        // A cross compiler searches its own directories only, which have the other two linkers.
        if matches!(self, Linker::Lld | Linker::Mold) {
            let program = self.program();
            let found = self.find();
            let found = found.unwrap_or_else(|| panic!("no {program}; run: cargo xtask setup"));
            let dir = cache::filled("linkers", &file_name(&found), |dir| {
                symlink(&found, dir.join(&program)).expect("a symlink in a fresh directory");
            });
            flags.push(format!("-B{}", dir.display()));
        }
        flags
    }
}

/// Flags to link with lld, which leaves no spare entry in .dynamic.
pub fn lld() -> [String; 2] {
    let flags = Linker::Lld.flags().try_into();
    flags.expect("the linker and its directory")
}

/// A copy of a library by lld in which the program header PT_PHDR is one of the processor's, so that it has no room for a string.
pub fn without_room(library: &Path) -> PathBuf {
    let mut bytes = fs::read(library).expect("a built library");
    let offsets = Offsets::of(&bytes);
    let table = &mut bytes[offsets.ehdr_len..];
    let mut headers = table.chunks_exact_mut(offsets.phdr_len);
    let header = headers
        .next()
        .expect("program headers follow the ELF header");
    let (kind, _) = header.split_at_mut(size_of::<u32>());
    assert_eq!(*kind, elf::PT_PHDR.to_le_bytes(), "another linker?");
    kind.copy_from_slice(&elf::PT_LOPROC.to_le_bytes());
    let name = file_name(library);
    let key = cache::digest([bytes.as_slice(), name.as_bytes()]);
    let dir = cache::filled("without-room", &key, |dir| {
        let copy = dir.join(&name);
        fs::write(&copy, &bytes).expect("a fresh directory");
        fs::set_permissions(
            &copy,
            fs::metadata(library).expect("read above").permissions(),
        )
        .expect("chmod a file just made");
    });
    dir.join(name)
}

/// A file of the fixtures directory.
pub fn source(name: &str) -> PathBuf {
    cache::fixtures().join(name)
}

/// The file name at the end of `path`.
pub fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("a path with a file name");
    name.to_string_lossy().into_owned()
}
