//! Programs and libraries to wrap, and a way to wrap them with dummy stages.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

pub use e2e::toolchain::Linker;
pub use e2e::{Arch, skipped};
use sidecar::loader;
use stages::Stage;
use tempfile::TempDir;
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::plan::options::WrapOptions;
use wrap_buddy::plan::outcome::{FileReport, Report, Status};
pub use wrap_buddy::plan::reason::{
    NoRoom, NotForPrivileged, Reason, Refusal, SkipReason, WriteFailure,
};
use wrap_buddy::plan::{Plan, StubPlan};
use wrap_buddy::report::Reporter;
pub use wrap_buddy::state::unusable::Unusable;

pub const STUB_LEN: usize = 120;
pub const RELOCATABLE_STUB_LEN: usize = 200;

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
    Arch::ALL
        .into_iter()
        .map(|target| Stage {
            name: target.name(),
            machine: target.machine(),
            stub: &[0xcc; STUB_LEN],
            relocatable_stub: &[0xcd; RELOCATABLE_STUB_LEN],
            self_contained_stub: &[0xce; STUB_LEN],
            relocatable_self_contained_stub: &[0xcf; RELOCATABLE_STUB_LEN],
            loader: loader_image(target.machine()).leak(),
            loader_used: loader::IMAGE_LEN,
            launcher: &[],
            unpacker: &[],
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
    pub fn compile(&self, target: Arch, output: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.try_compile(target, output, source, arguments)
            .unwrap_or_else(|errors| panic!("{output}: {errors}"))
    }

    /// Does the same, or returns the compiler's errors.
    pub fn try_compile(
        &self,
        target: Arch,
        output: &str,
        source: &str,
        arguments: &[&str],
    ) -> Result<PathBuf, String> {
        let name = format!("{output}.c");
        let file = self.write(&name, source);
        let path = self.drive(target, output, &[&[&*name], arguments].concat());
        fs::remove_file(file).unwrap();
        path
    }

    /// Runs the compiler to make `output` from the files in `arguments`.
    pub fn drive(&self, target: Arch, output: &str, arguments: &[&str]) -> Result<PathBuf, String> {
        let path = self.path(output);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let compiler = target.compiler();
        // The path of this directory is unique, so the result cannot be cached.
        let root = self.root.to_str().unwrap();
        if arguments.iter().any(|argument| argument.contains(root)) {
            compiler.run(&self.root, &path, arguments)?;
        } else {
            fs::copy(compiler.make(&self.root, "output", arguments)?, &path).unwrap();
        }
        Ok(path)
    }

    /// Builds `main` in `app/`, `libfoo.so.1` in `foo/lib`, `libbar.so.1` in `bar/lib`; main needs both.
    pub fn walk_through(&self, target: Arch, arguments: &[&str]) -> PathBuf {
        for name in ["foo", "bar"] {
            let soname = format!("-Wl,-soname,lib{name}.so.1");
            let library = format!("{name}/lib/lib{name}.so.1");
            let source = format!("int {name}(void) {{ return 1; }}");
            self.compile(target, &library, &source, &["-shared", "-fPIC", &soname]);
        }
        let mut all = vec!["foo/lib/libfoo.so.1", "bar/lib/libbar.so.1"];
        all.extend_from_slice(arguments);
        // With room for a stub: on some architectures, the rest of the code is shorter.
        let source = "__asm__(\".text\\n.skip 256\\n\");
            int foo(void), bar(void); int main(void) { return foo() + bar() - 2; }";
        self.compile(target, "app/main", source, &all)
    }

    /// Wraps with these arguments and an empty directory for the loader, even programs that start without wrapping.
    pub fn wrap(&self, arguments: &[&dyn AsRef<OsStr>]) -> Report {
        self.try_wrap(arguments).unwrap()
    }

    /// Wraps `path`, a file for `target`, with this machine's dynamic linker for it.
    pub fn wrap_for(
        &self,
        target: Arch,
        path: &dyn AsRef<OsStr>,
        more: &[&dyn AsRef<OsStr>],
    ) -> Report {
        let interpreter = target.interpreter();
        let all: [&dyn AsRef<OsStr>; 4] = [&"--paths", path, &"--interpreter", &interpreter];
        self.wrap(&[&all[..], more].concat())
    }

    /// The same, with the libraries of [`Self::walk_through`].
    pub fn wrap_with_libs(&self, target: Arch, path: &dyn AsRef<OsStr>, more: &[&str]) -> Report {
        let [of_foo, of_bar] = ["foo/lib", "bar/lib"].map(|name| self.path(name));
        let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"--libs", &of_foo, &of_bar];
        all.extend(more.iter().map(|word| word as &dyn AsRef<OsStr>));
        self.wrap_for(target, path, &all)
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
/// The reason for which the only file was left alone.
#[track_caller]
pub fn refusal(report: &Report) -> Refusal {
    match reason(report, Status::Failed) {
        Reason::Refusal(refusal) => refusal.clone(),
        Reason::Skip(skipped) => panic!("{skipped}"),
    }
}

pub fn reason(report: &Report, status: Status) -> &Reason {
    let file = only(report);
    assert_eq!(file.status, status, "{:?}", file.reason);
    file.reason.as_ref().unwrap()
}

/// Runs a program of any architecture.
pub fn run(target: Arch, program: &Path) -> io::Result<Output> {
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
pub fn run_once(target: Arch, program: &Path) -> io::Result<Output> {
    match target.is_native() {
        true => Command::new(program).output(),
        false => Command::new(target.qemu_path()).arg(program).output(),
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
