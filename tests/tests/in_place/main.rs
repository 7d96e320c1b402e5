//! Files that are edited in place: libraries, and programs by `--strategy`.

mod chains;
mod far_programs;
mod links;
mod no_room;
mod plugins;
mod preloaders;
mod programs;
mod runs;
mod tools;
mod unusual;

use std::fs;
use std::path::{Path, PathBuf};

use e2e::check::sidecar_of;
use e2e::{Build, Edited, Output, Root, Variant, Wrap, source, toolchain};

/// What the libraries below add up to.
const SAYS: &str = "42\n";

/// `libfoo.so`, which needs nothing but libc and says 40.
fn foo(variant: Variant) -> PathBuf {
    Build::library(variant, source("lib/foo.c"), "libfoo.so").build()
}

/// `lib{name}.so`, whose function of that name calls `calls` of a library it is to be linked to, and adds 2.
fn calling(variant: Variant, name: &str, calls: &str) -> Build {
    let build = Build::library(variant, source("lib/bar.c"), &format!("lib{name}.so"));
    build.flags([format!("-DNAME={name}"), format!("-DCALLS={calls}")])
}

/// `libbar.so`, which needs `libfoo.so` and has more flags.
fn bar(variant: Variant, flags: &[&str]) -> PathBuf {
    let build = calling(variant, "bar", "foo").flags(flags.iter().copied());
    build.link(foo(variant)).build()
}

/// A library with nothing to call in it, that needs nothing but libc either.
fn other(variant: Variant, soname: &str) -> PathBuf {
    let build = Build::library(variant, source("lib/foo.c"), soname);
    build.flag("-Dfoo=unused").build()
}

/// Libraries are needed whether they are called or not.
const ALL_NEEDED: &str = "-Wl,--no-as-needed";

/// The directory of links beside the library at `path`.
fn links_of(path: &str) -> String {
    format!("{}.d", sidecar_of(path))
}

/// A root with a program that opens the library it is told to, and has no search path that would be of any use to that.
struct Opener {
    root: Root,
}

impl Opener {
    fn new(variant: Variant) -> Opener {
        let root = Root::new(variant);
        let built = Build::program(variant, source("open.c"))
            .flag("-ldl")
            .build();
        root.install(&built, "/app/open");
        root.wrap("/app/open").run();
        Opener { root }
    }

    /// Puts a library where nothing but its full path leads to it, and returns that.
    fn install(&self, library: &Path) -> String {
        let name = toolchain::file_name(library);
        self.root.install(library, &format!("/app/plugins/{name}"))
    }

    /// The call of wrap-buddy that edits the library at `path`, given directories with what it needs.
    fn wrap(&self, path: &str, libs: &[&str]) -> Wrap<'_> {
        self.root.wrap(path).libs(libs.iter().copied())
    }

    /// Edits the library `built`, installed at `path`, which must not be possible to open before.
    #[track_caller]
    fn edit(&self, built: &Path, path: &str, libs: &[&str]) -> Edited {
        self.refuses(path, "No such file");
        self.wrap(path, libs).run();
        self.edited(built, path)
    }

    /// The library `built`, edited in place at `path`, checked.
    #[track_caller]
    fn edited(&self, built: &Path, path: &str) -> Edited {
        Edited::read(&self.root, path, fs::read(built).expect("built before"))
    }

    /// Asserts that the library `built`, installed at `path`, is as it was built, and has neither sidecar nor links.
    #[track_caller]
    fn is_untouched(&self, built: &Path, path: &str) {
        let unchanged = self.root.read(path) == fs::read(built).expect("built before");
        assert!(unchanged, "it was changed");
        for left in [sidecar_of(path), links_of(path)] {
            assert!(!self.root.path(&left).exists(), "{left} was left");
        }
    }

    fn open(&self, path: &str) -> Output {
        self.root.command("/app/open").arg(path).output()
    }

    /// Asserts that the library at `path` can be opened, and what it says.
    #[track_caller]
    fn says(&self, path: &str, says: &str) {
        let output = self.open(path).success();
        assert_eq!(output.stdout, says, "{output}");
    }

    /// Asserts that the library at `path` cannot be opened, because of something called `what`.
    #[track_caller]
    fn refuses(&self, path: &str, what: &str) {
        let output = self.open(path).exits_with(1);
        assert!(output.stdout.contains(what), "{output}");
    }
}

/// A directory below `base` whose path is `len` bytes long, with `files` in it. No two of 2500 fit into a page.
fn long_directory(root: &Root, base: &str, len: usize, files: &[&Path]) -> String {
    let mut path = base.to_string();
    while path.len() < len {
        path.push('/');
        path.push_str(&"d".repeat(200.min((len - path.len()).max(1))));
    }
    root.mkdir(&path);
    for file in files {
        root.install(file, &format!("{path}/{}", toolchain::file_name(file)));
    }
    path
}
