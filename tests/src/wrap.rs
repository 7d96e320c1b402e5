//! Runs wrap-buddy on a program of a [`Root`].

use crate::root::Root;
use crate::run::{Output, Run};

/// A call of wrap-buddy: `--paths`, `--libs`, `--interpreter` and `--loader-dir-path` are filled in from the root.
pub struct Wrap<'r> {
    root: &'r Root,
    path: String,
    libs: Vec<String>,
    interpreters: Vec<String>,
    loader_dir: String,
    more: Vec<String>,
}

impl<'r> Wrap<'r> {
    pub(crate) fn new(root: &'r Root, program: &str) -> Wrap<'r> {
        Wrap {
            root,
            path: program.into(),
            libs: root.library_dirs(),
            interpreters: root.interpreters(),
            loader_dir: root.loader_dir(),
            more: Vec::new(),
        }
    }

    /// More library directories, searched before those of the system.
    pub fn libs<T: Into<String>>(mut self, dirs: impl IntoIterator<Item = T>) -> Self {
        self.libs.splice(0..0, dirs.into_iter().map(Into::into));
        self
    }

    /// Only these library directories.
    pub fn only_libs<T: Into<String>>(mut self, dirs: impl IntoIterator<Item = T>) -> Self {
        self.libs = dirs.into_iter().map(Into::into).collect();
        self
    }

    /// Another dynamic linker than the root's own.
    pub fn interpreter(mut self, path: &str) -> Self {
        self.interpreters = vec![path.into()];
        self
    }

    /// Another directory with the loaders.
    pub fn loader_dir(mut self, dir: &str) -> Self {
        self.loader_dir = dir.into();
        self
    }

    /// More arguments, behind all others.
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.more.extend(args.into_iter().map(Into::into));
        self
    }

    /// The command, to be started.
    pub fn command(self) -> Run<'r> {
        let mut run = self.root.wrap_buddy().args(["--paths", &self.path]);
        if !self.libs.is_empty() {
            run = run.arg("--libs").args(self.libs);
        }
        for interpreter in self.interpreters {
            run = run.arg("--interpreter").arg(interpreter);
        }
        run.args(["--loader-dir-path", &self.loader_dir])
            .args(self.more)
    }

    /// Runs it; it must succeed.
    #[track_caller]
    pub fn run(self) -> Output {
        self.command().output().success()
    }
}
