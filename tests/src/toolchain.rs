//! Compiles C and C++ fixtures for every cell of the matrix.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::{cache, fork};

/// Searches PATH for a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
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
        let content = fs::read(&self.source)
            .unwrap_or_else(|error| panic!("read {}: {error}", self.source.display()));
        let driver = compiler(
            self.variant,
            self.source.extension().is_some_and(|e| e == "cc"),
        );
        let libraries: Vec<Vec<u8>> = self
            .libraries
            .iter()
            .map(|path| fs::read(path).expect("a library built before"))
            .collect();
        let settings = format!("{:?} {:?} {driver:?}", self.soname, self.arguments());
        let parts = [settings.as_bytes(), &content];
        let key = cache::digest(parts.into_iter().chain(libraries.iter().map(Vec::as_slice)));
        let stem = self
            .source
            .file_stem()
            .expect("a source has a name")
            .to_string_lossy();
        let name = self.soname.clone().unwrap_or(stem.into_owned());
        let dir = cache::filled("build", &key, |dir| {
            let mut command = Command::new(&driver.0);
            command
                .args(&driver.1)
                .args(self.arguments())
                .arg(&self.source);
            command.arg("-o").arg(dir.join(&name));
            for library in &self.libraries {
                let parent = library.parent().expect("a library has a directory");
                command.arg(library);
                command.arg(format!("-Wl,-rpath-link,{}", parent.display()));
            }
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let output = fork::spawn(&mut command)
                .and_then(Child::wait_with_output)
                .unwrap_or_else(|error| panic!("start {}: {error}", driver.0.display()));
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?} failed: {message}");
        });
        dir.join(name)
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
        arguments
    }
}

/// The compiler driver for a cell of the matrix, with the arguments that it always needs.
fn compiler(variant: Variant, is_cpp: bool) -> (PathBuf, Vec<String>) {
    let Variant { arch, libc, .. } = variant;
    // The cc crate would use the host's compiler with -m32, which requires its multilib. Debian's cross compiler does not.
    let cross = format!(
        "{}-linux-gnu-{}",
        arch.name(),
        if is_cpp { "g++" } else { "gcc" }
    );
    if libc == Libc::Glibc
        && arch != Arch::host()
        && let Some(path) = find_program(&cross)
    {
        return (path, Vec::new());
    }
    // The cc crate starts compilers to identify them.
    let _guard = fork::forking();
    let tool = cc::Build::new()
        .target(&arch.triple(libc))
        .host(&Arch::host().triple(Libc::Glibc))
        .opt_level(1)
        .out_dir(env::temp_dir())
        .cargo_metadata(false)
        .no_default_flags(true)
        .cpp(is_cpp)
        .try_get_compiler()
        .unwrap_or_else(|error| {
            panic!("no compiler for {variant}: {error}; run: cargo xtask setup")
        });
    let path = tool.path().to_path_buf();
    let path = find_program(&path.to_string_lossy()).unwrap_or(path);
    let known = tool
        .args()
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    (path, known.collect())
}

/// Flags to link with lld, which leaves no spare entry in .dynamic. Panics if there is no lld.
pub fn lld() -> [String; 2] {
    let lld = find_program("ld.lld").expect("ld.lld is not installed; run: cargo xtask setup");
    // A cross compiler searches for linkers in its own directories only.
    let dir = cache::filled("lld", "1", |dir| {
        symlink(&lld, dir.join("ld.lld")).expect("a symlink in a fresh directory");
    });
    ["-fuse-ld=lld".into(), format!("-B{}", dir.display())]
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

/// One of the GNU binutils, for files of `arch`. Panics if it is not installed.
pub fn binutil(name: &str, arch: Arch) -> PathBuf {
    let own = format!("{}-linux-gnu-{name}", arch.name());
    find_program(&own).unwrap_or_else(|| panic!("{own} is not installed; run: cargo xtask setup"))
}
