//! Programs and libraries to wrap, and a way to wrap them with dummy stages.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use sidecar::loader;
use stages::Stage;
use tempfile::TempDir;
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::plan::options::WrapOptions;
use wrap_buddy::plan::outcome::{FileReport, Report, Status};
use wrap_buddy::plan::{Plan, StubPlan};
use wrap_buddy::report::Reporter;

pub const STUB_LEN: usize = 120;
pub const RELOCATABLE_STUB_LEN: usize = 200;

/// The names of an architecture's compiler and C library.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub machine: u16,
    pub compiler: &'static str,
    pub interpreter: &'static str,
}

pub const X86_64: Target = Target {
    name: "x86_64",
    machine: sidecar::machine::X86_64,
    compiler: "x86_64-linux-gnu-gcc",
    interpreter: "/lib64/ld-linux-x86-64.so.2",
};
pub const AARCH64: Target = Target {
    name: "aarch64",
    machine: sidecar::machine::AARCH64,
    compiler: "aarch64-linux-gnu-gcc",
    interpreter: "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
};
pub const I686: Target = Target {
    name: "i686",
    machine: sidecar::machine::I686,
    compiler: "i686-linux-gnu-gcc",
    interpreter: "/usr/i686-linux-gnu/lib/ld-linux.so.2",
};
pub const TARGETS: [Target; 3] = [X86_64, AARCH64, I686];

/// Makes one test for each target from functions that take a target.
macro_rules! targets {
    ($($test:ident),+ $(,)?) => {
        $(
            mod $test {
                #[test]
                fn x86_64() {
                    super::$test(crate::fixture::X86_64);
                }

                #[test]
                fn aarch64() {
                    super::$test(crate::fixture::AARCH64);
                }

                #[test]
                fn i686() {
                    super::$test(crate::fixture::I686);
                }
            }
        )+
    };
}
pub(crate) use targets;

/// A linker; each lays out files in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    Bfd,
    Gold,
    Lld,
    Mold,
}

impl Linker {
    const ALL: [Linker; 4] = [Linker::Bfd, Linker::Gold, Linker::Lld, Linker::Mold];

    /// The installed linkers. Newer distributions have no gold, and not all have mold.
    pub fn installed() -> impl Iterator<Item = Linker> {
        let optional = [Linker::Gold, Linker::Mold];
        Self::ALL.into_iter().filter(move |linker| {
            !optional.contains(linker) || find_program(&linker.program()).is_some()
        })
    }

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
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// A small random number generator with a fixed seed: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// Stub and loader images that are recognisable and do nothing.
pub fn stages() -> Vec<Stage> {
    TARGETS
        .into_iter()
        .map(|target| Stage {
            name: target.name,
            machine: target.machine,
            stub: &[0xcc; STUB_LEN],
            relocatable_stub: &[0xcd; RELOCATABLE_STUB_LEN],
            self_contained_stub: &[0xce; STUB_LEN],
            relocatable_self_contained_stub: &[0xcf; RELOCATABLE_STUB_LEN],
            loader: loader_image(target.machine).leak(),
            loader_used: loader::IMAGE_LEN,
        })
        .collect()
}

pub fn loader_image(machine: u16) -> Vec<u8> {
    let mut image = vec![0; loader::IMAGE_LEN];
    image[loader::MAGIC_OFFSET..][..8].copy_from_slice(&loader::MAGIC);
    image[16..18].copy_from_slice(&loader::ABI.to_le_bytes());
    image[18..20].copy_from_slice(&machine.to_le_bytes());
    image[loader::CLOSING_OFFSET..].copy_from_slice(&loader::closing_mark(machine).to_le_bytes());
    image
}

/// A directory to build in, with a path without symbolic links.
pub struct TestDir {
    pub root: PathBuf,
    _directory: TempDir,
}

impl TestDir {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            root: fs::canonicalize(directory.path()).unwrap(),
            _directory: directory,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Compiles the C code `source` to `output`. Arguments may name files of this directory.
    pub fn compile(
        &self,
        target: Target,
        output: &str,
        source: &str,
        arguments: &[&str],
    ) -> PathBuf {
        self.try_compile(target, output, source, arguments)
            .unwrap_or_else(|errors| panic!("{} {output}: {errors}", target.compiler))
    }

    /// Does the same, or returns the compiler's errors.
    pub fn try_compile(
        &self,
        target: Target,
        output: &str,
        source: &str,
        arguments: &[&str],
    ) -> Result<PathBuf, String> {
        let file = self.write(&format!("{output}.c"), source);
        let mut all = vec![file.to_str().unwrap()];
        all.extend_from_slice(arguments);
        let path = self.drive(target, output, &all);
        fs::remove_file(file).unwrap();
        path
    }

    /// Runs the compiler to make `output` from the files in `arguments`.
    pub fn drive(
        &self,
        target: Target,
        output: &str,
        arguments: &[&str],
    ) -> Result<PathBuf, String> {
        let path = self.path(output);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let done = Command::new(target.compiler)
            .current_dir(&self.root)
            .arg("-o")
            .arg(&path)
            .args(arguments)
            .output()
            .unwrap();
        match done.status.success() {
            true => Ok(path),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    /// Arguments to link with `linker`: a cross compiler searches for linkers in its own directories only.
    pub fn link_by(&self, target: Target, linker: Linker) -> Vec<String> {
        let own = matches!(linker, Linker::Bfd | Linker::Gold);
        if own && target.compiler != X86_64.compiler {
            return vec![format!("-fuse-ld={}", linker.name())];
        }
        let program = linker.program();
        let directory = self.path("linkers");
        let link = directory.join(&program);
        if !link.is_symlink() {
            let found = find_program(&program);
            let found = found.unwrap_or_else(|| panic!("no {program}; run: cargo xtask setup"));
            fs::create_dir_all(&directory).unwrap();
            symlink(found, link).unwrap();
        }
        let directory = format!("-B{}", directory.display());
        vec![format!("-fuse-ld={}", linker.name()), directory]
    }

    /// Builds `main` in `app/`, `libfoo.so.1` in `foo/lib`, `libbar.so.1` in `bar/lib`; main needs both.
    pub fn walk_through(&self, target: Target, arguments: &[&str]) -> PathBuf {
        for name in ["foo", "bar"] {
            let soname = format!("-Wl,-soname,lib{name}.so.1");
            let library = format!("{name}/lib/lib{name}.so.1");
            let source = format!("int {name}(void) {{ return 1; }}");
            self.compile(target, &library, &source, &["-shared", "-fPIC", &soname]);
        }
        let mut all = vec!["foo/lib/libfoo.so.1", "bar/lib/libbar.so.1"];
        all.extend_from_slice(arguments);
        let source = "int foo(void), bar(void); int main(void) { return foo() + bar() - 2; }";
        self.compile(target, "app/main", source, &all)
    }

    /// Wraps with these arguments and an empty directory for the loader, even programs that start without wrapping.
    pub fn wrap(&self, arguments: &[&dyn AsRef<OsStr>]) -> Report {
        self.try_wrap(arguments).unwrap()
    }

    pub fn try_wrap(&self, arguments: &[&dyn AsRef<OsStr>]) -> anyhow::Result<Report> {
        let mut all: Vec<&OsStr> = vec![OsStr::new("wrap-buddy"), OsStr::new("--force")];
        all.extend(arguments.iter().map(|argument| (*argument).as_ref()));
        let loaders = self.path("loaders");
        let said = ["--loader-dir-path", "--self-contained"];
        if !all
            .iter()
            .any(|argument| said.iter().any(|said| argument == said))
        {
            all.extend([OsStr::new("--loader-dir-path"), loaders.as_os_str()]);
        }
        wrap_buddy::commands::wrap::wrap(
            &try_wrap_options(all)?,
            &stages(),
            &[],
            &Reporter::default(),
        )
    }
}

/// Parses a command line, which begins with the program's name.
pub fn parsed(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Parsed {
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    wrap_buddy::cli::read(words).unwrap()
}

/// The options of a command line of `wrap`.
pub fn wrap_options(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> WrapOptions {
    try_wrap_options(words).unwrap()
}

fn try_wrap_options(
    words: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<WrapOptions> {
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    match wrap_buddy::cli::read(words)? {
        Parsed::Wrap(options) => Ok(*options),
        other => panic!("{other:?}"),
    }
}

/// The text without colours.
pub fn plain(text: Vec<u8>) -> String {
    let text = String::from_utf8(text).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

pub fn only(report: &Report) -> &FileReport {
    assert_eq!(report.files.len(), 1, "{report:#?}");
    &report.files[0]
}

/// The plan of the only file, which was wrapped.
pub fn wrapped(report: &Report) -> &Plan {
    let file = only(report);
    assert_eq!(file.status, Status::Wrapped, "{:?}", file.reason);
    file.plan.as_ref().unwrap()
}

/// The stub of a plan.
pub fn stub(plan: &Plan) -> &StubPlan {
    plan.stub().unwrap()
}

/// The plan of the only file, which was edited in place.
pub fn edited(report: &Report) -> &Plan {
    let file = only(report);
    assert_eq!(file.status, Status::Edited, "{:?}", file.reason);
    file.plan.as_ref().unwrap()
}

/// The reason why the only file was not wrapped.
pub fn reason(report: &Report, status: Status) -> &str {
    let file = only(report);
    assert_eq!(file.status, status, "{:?}", file.reason);
    file.reason.as_deref().unwrap()
}

/// Runs a program of any architecture.
pub fn run(target: Target, program: &Path) -> io::Result<Output> {
    let mut attempts = 0;
    loop {
        match run_once(target, program) {
            // Another test that is starting a process may still have the file open.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 100 => {
                attempts += 1;
                sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Does the same, but a busy file is an error.
pub fn run_once(target: Target, program: &Path) -> io::Result<Output> {
    match Command::new(program).output() {
        // ENOEXEC: for another machine.
        Err(error) if error.raw_os_error() == Some(8) => {
            let name = if target.name == "i686" {
                "i386"
            } else {
                target.name
            };
            Command::new(format!("qemu-{name}-static"))
                .arg(program)
                .output()
        }
        result => result,
    }
}

/// Every file below `directory` with its content.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            let content = fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    found.sort();
    found
}
