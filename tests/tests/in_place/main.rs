//! Files that are edited in place: libraries, and programs with `--strategy`.

mod chains;
mod far_programs;
mod links;
mod no_room;
mod own_bytes;
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

/// The sum that the libraries below compute.
const SAYS: &str = "42\n";

/// `libfoo.so`, which needs only libc and returns 40.
fn foo(variant: Variant) -> PathBuf {
    Build::library(variant, source("lib/foo.c"), "libfoo.so").build()
}

/// `lib{name}.so`. Its function `name` calls `calls` of another library and adds 2.
fn calling(variant: Variant, name: &str, calls: &str) -> Build {
    let build = Build::library(variant, source("lib/bar.c"), &format!("lib{name}.so"));
    build.flags([format!("-DNAME={name}"), format!("-DCALLS={calls}")])
}

/// `libbar.so`, which needs `libfoo.so`.
fn bar(variant: Variant, flags: &[&str]) -> PathBuf {
    let build = calling(variant, "bar", "foo").flags(flags.iter().copied());
    build.link(foo(variant)).build()
}

/// A library that needs only libc and is never called.
fn other(variant: Variant, soname: &str) -> PathBuf {
    let build = Build::library(variant, source("lib/foo.c"), soname);
    build.flag("-Dfoo=unused").build()
}

/// Links libraries as DT_NEEDED even if they are never called.
const ALL_NEEDED: &str = "-Wl,--no-as-needed";

/// The directory of links next to the library at `path`.
fn links_of(path: &str) -> String {
    format!("{}.d", sidecar_of(path))
}

/// A root with a program that opens the library in its argument, and whose search path does not help that library.
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

    /// Installs a library where it can be opened by its full path only, and returns that.
    fn install(&self, library: &Path) -> String {
        let name = toolchain::file_name(library);
        self.root.install(library, &format!("/app/plugins/{name}"))
    }

    /// The call of wrap-buddy that edits the library at `path`, with the directories of its needs.
    fn wrap(&self, path: &str, libs: &[&str]) -> Wrap<'_> {
        self.root.wrap(path).libs(libs.iter().copied())
    }

    /// Edits the library `built`, which is installed at `path`. Asserts that it could not be opened before.
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

    /// Asserts that the library `built`, installed at `path`, is unchanged, without a sidecar or links.
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

    /// Asserts that the library at `path` can be opened and returns `says`.
    #[track_caller]
    fn says(&self, path: &str, says: &str) {
        let output = self.open(path).success();
        assert_eq!(output.stdout, says, "{output}");
    }

    /// Asserts that the library at `path` cannot be opened, because of a file called `what`.
    #[track_caller]
    fn refuses(&self, path: &str, what: &str) {
        let output = self.open(path).exits_with(1);
        assert!(output.stdout.contains(what), "{output}");
    }
}

/// A directory below `base` whose path has `len` bytes, with `files`. Two paths of 2500 bytes do not fit into a page.
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
