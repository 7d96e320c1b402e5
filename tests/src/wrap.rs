//! Runs wrap-buddy on a program of a [`Root`].

use crate::output::Output;
use crate::report::Report;
use crate::root::Root;
use crate::run::Run;
use crate::watching::{Watching, event};

/// A call of wrap-buddy. `--paths`, `--libs`, `--interpreter` and `--loader-dir-path` are filled in from the root.
pub struct Wrap<'r> {
    root: &'r Root,
    paths: Vec<String>,
    libs: Vec<String>,
    interpreters: Vec<String>,
    loader_dir: Option<String>,
    more: Vec<String>,
}

impl Root {
    /// wrap-buddy on `program`, with the interpreters, libraries and loaders of this root.
    pub fn wrap(&self, program: &str) -> Wrap<'_> {
        self.install_loaders();
        Wrap::new(self, program)
    }
}

impl<'r> Wrap<'r> {
    pub(crate) fn new(root: &'r Root, program: &str) -> Wrap<'r> {
        Wrap {
            root,
            paths: vec![program.into()],
            libs: root.library_dirs(),
            interpreters: root.interpreters(),
            loader_dir: Some(root.loader_dir()),
            more: Vec::new(),
        }
    }

    /// Adds programs, libraries or directories.
    pub fn and<T: Into<String>>(mut self, paths: impl IntoIterator<Item = T>) -> Self {
        self.paths.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds library directories, which are searched before those of the system.
    pub fn libs<T: Into<String>>(mut self, dirs: impl IntoIterator<Item = T>) -> Self {
        self.libs.splice(0..0, dirs.into_iter().map(Into::into));
        self
    }

    /// Sets the library directories.
    pub fn only_libs<T: Into<String>>(mut self, dirs: impl IntoIterator<Item = T>) -> Self {
        self.libs = dirs.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the dynamic linker.
    pub fn interpreter(mut self, path: &str) -> Self {
        self.interpreters = vec![path.into()];
        self
    }

    /// Sets the directory with the loaders.
    pub fn loader_dir(mut self, dir: &str) -> Self {
        self.loader_dir = Some(dir.into());
        self
    }

    /// Omits `--loader-dir-path`.
    pub fn without_loader_dir(mut self) -> Self {
        self.loader_dir = None;
        self
    }

    /// Adds arguments after all others.
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.more.extend(args.into_iter().map(Into::into));
        self
    }

    /// The command, to start.
    pub fn command(self) -> Run<'r> {
        self.command_after(&["--paths"])
    }

    /// The command that watches the paths, which have to be directories. It prints lines of JSON.
    pub fn watch_command(self) -> Run<'r> {
        self.args(["--format", "json"]).command_after(&["watch"])
    }

    /// Starts a watch, and returns when it is ready.
    #[track_caller]
    pub fn watch(self) -> Watching {
        let watching = Watching::start(self.watch_command());
        watching.wait("it is ready", |lines| {
            event(lines, "watching").next().map(drop)
        });
        watching
    }

    fn command_after(self, words: &[&str]) -> Run<'r> {
        let mut run = self
            .root
            .wrap_buddy()
            .args(words.iter().copied())
            .args(self.paths);
        if !self.libs.is_empty() {
            run = run.arg("--libs").args(self.libs);
        }
        for interpreter in self.interpreters {
            run = run.arg("--interpreter").arg(interpreter);
        }
        let own = self.more.iter().any(|word| word == "--self-contained");
        if let Some(dir) = self.loader_dir.filter(|_| !own) {
            run = run.args(["--loader-dir-path", &dir]);
        }
        run.args(self.more)
    }

    /// Runs it, and asserts success.
    #[track_caller]
    pub fn run(self) -> Output {
        self.command().output().success()
    }

    /// Runs it and parses its report. It may fail.
    #[track_caller]
    pub fn report(self) -> Report {
        Report::of(self.args(["--format", "json"]).command().output())
    }
}
