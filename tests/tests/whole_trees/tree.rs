//! Unpacks a tree, wraps it, and checks that it is complete again when it is restored.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use e2e::{Arch, Libc, Root, Run, assert_fails_unwrapped, debian};

/// The directory of the tree.
const TREE: &str = "/app/tree";

/// The new directory of a relocatable tree: at another depth, so that no relative path leads out of it by chance.
const MOVED: &str = "/srv/moved/to/here";

/// Debian's directories for most libraries. Packages use both.
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

const INTERPRETER: &str = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// The way to wrap a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Default,
    Auto,
    Frozen,
    /// With paths relative to each file; then the tree is moved.
    Relocatable,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::Default, Mode::Auto, Mode::Frozen, Mode::Relocatable];
    const QUICK: [Mode; 2] = [Mode::Default, Mode::Relocatable];

    fn flags(self) -> &'static [&'static str] {
        match self {
            Mode::Default => &[],
            Mode::Auto => &["--strategy", "auto"],
            Mode::Frozen => &["--search", "frozen"],
            Mode::Relocatable => &["--relocatable"],
        }
    }
}

/// Packages, and their use.
pub struct Tree {
    /// Names of Debian packages, the main one first.
    pub packages: &'static [&'static str],
    /// A program in the tree that must not start before it is wrapped.
    pub program: &'static str,
    /// Adds files that a packager would add before wrapping.
    pub prepare: fn(&Place<'_>),
    /// Uses the wrapped programs.
    pub make_use: fn(&Place<'_>),
}

/// A tree in a root, at any path.
pub struct Place<'r> {
    root: &'r Root,
    at: &'static str,
}

impl Tree {
    /// Wraps, uses and restores the tree in each mode. A tree that takes long is tested in two modes, or in all if the variable
    /// `CI` is set.
    pub fn works(&self, takes_long: bool) {
        let root = Root::for_programs_of(&[(Arch::X86_64, Libc::Glibc)]);
        let tree = root.mkdir(TREE);
        debian::unpack(self.packages, &tree);
        let mut place = Place {
            root: &root,
            at: TREE,
        };
        place.link();
        (self.prepare)(&place);
        assert_fails_unwrapped(root.command(&place.path(self.program)));
        let original = place.content();
        let modes = match takes_long && env::var_os("CI").is_none() {
            true => &Mode::QUICK[..],
            false => &Mode::ALL[..],
        };
        for &mode in modes {
            self.wrap(&place, mode);
            if mode == Mode::Relocatable {
                place = place.moved_to(MOVED);
            }
            root.mkdir("/app/work");
            (self.make_use)(&place);
            fs::remove_dir_all(root.path("/app/work")).expect("remove what was written");
            let restore = root.wrap_buddy().args(["restore", place.at]);
            restore.timeout(TIMEOUT).output().success();
            assert_same(&original, &place.content());
            if mode == Mode::Relocatable {
                place = place.moved_to(TREE);
            }
        }
    }

    fn wrap(&self, place: &Place<'_>, mode: Mode) {
        let wrap = place.root.wrap(place.at).only_libs([""; 0]);
        let wrap = wrap.interpreter(&place.path(INTERPRETER));
        let wrap = wrap.args(mode.flags().iter().copied());
        let wrap = match mode {
            Mode::Relocatable => wrap.without_loader_dir(),
            _ => wrap,
        };
        let output = wrap.command().timeout(TIMEOUT).output().success();
        let summary = output.stdout.lines().last().unwrap_or_default();
        println!("{mode:?}: {summary}");
    }
}

const TIMEOUT: Duration = Duration::from_secs(120);

impl<'r> Place<'r> {
    /// A path in the tree, as programs see it.
    pub fn path(&self, inside: &str) -> String {
        format!("{}/{inside}", self.at)
    }

    /// The root that the tree is in.
    pub fn root(&self) -> &'r Root {
        self.root
    }

    /// Wraps a file that a program of the tree has written, with libraries of the tree.
    pub fn wrap(&self, path: &str) {
        let libs = LIBRARIES.map(|directory| self.path(directory));
        let wrap = self.root.wrap(path).only_libs(libs);
        wrap.interpreter(&self.path(INTERPRETER)).run();
    }

    /// A program of the tree, to start. It has no terminal and a home of its own, and its children end with it.
    pub fn command(&self, program: &str) -> Run<'r> {
        self.root
            .command(&self.path(program))
            .env("HOME", "/tmp")
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("LOCPATH", self.path("usr/lib/locale"))
            .cwd("/app/work")
            .as_pid_1()
            .timeout(TIMEOUT)
    }

    /// Writes `name` in /app/work, for programs to read and write.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = format!("/app/work/{name}");
        self.root.write(&path, content);
        path
    }

    /// Reads it.
    pub fn read(&self, name: &str) -> Vec<u8> {
        self.root.read(&format!("/app/work/{name}"))
    }

    /// Links programs, settings and data to the absolute paths that programs expect, as on most systems without an FHS linker,
    /// which have at least a /bin/sh. Libraries are not linked: there is no /lib, /lib64 or /usr/lib.
    fn link(&self) {
        for directory in ["bin", "sbin", "etc", "usr/bin", "usr/share"] {
            let link = self.root.path(directory);
            let _ = fs::remove_file(&link);
            let parent = link.parent().expect("a path in the root");
            fs::create_dir_all(parent).expect("create a directory");
            symlink(self.path(directory), &link).expect("link to a directory of the tree");
        }
    }

    fn moved_to(self, at: &'static str) -> Place<'r> {
        let (from, to) = (self.root.path(self.at), self.root.path(at));
        fs::create_dir_all(to.parent().expect("a path in the root")).expect("create a directory");
        fs::rename(from, to).expect("move the tree");
        let moved = Place { at, ..self };
        moved.link();
        moved
    }

    /// A line for the content of each file, and one for its mode, time of modification and target.
    fn content(&self) -> BTreeSet<String> {
        let script = "find . -type f -exec cksum {} +; \
            find . -type d -printf '%p %m\\n' -o -type l -printf '%p %l\\n' -o -printf '%p %m %T@\\n'";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.root.path(self.at))
            .output()
            .expect("start sh");
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8_lossy(&output.stdout);
        lines.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let changed: Vec<&String> = before.symmetric_difference(after).take(20).collect();
    assert!(changed.is_empty(), "not as before: {changed:#?}");
}
