//! C fixtures whose header says how they are built and wrapped, and what they have to print.
//!
//! ```c
//! //# both                                 or: pie, exec
//! //# libc any                             or: glibc, musl
//! //# arch x86_64 aarch64                  only these
//! //# cflags -fno-stack-protector
//! //# ldflags -Wl,-z,now
//! //# lib libfoo.so lib/foo.c -DX : libbar.so   linked; in a package of its own; links to libbar.so itself
//! //# plugin libfoo.so lib/foo.c           not linked; its directory is a --runtime-dependencies
//! //# sibling libfoo.so lib/foo.c          linked; in /app/lib, next to the program, not on the search path
//! //# needed libfoo.so                     --needed
//! //# args one two
//! //# env NAME=VALUE
//! //# expect-stdout one line               again for the next line
//! //# expect-status 3
//! //# expect-signal 6
//! ```

use std::fs;
use std::path::PathBuf;

use crate::arch::{Kind, Libc, Variant};
use crate::cache;
use crate::check::{Wrapped, assert_fails_unwrapped};
use crate::root::Root;
use crate::run::Run;
use crate::toolchain::{Build, source};

/// The path of each fixture in its root.
const PROGRAM: &str = "/app/program";

/// A fixture: its source and the directives in its header.
#[derive(Clone, Debug)]
pub struct Fixture {
    source: PathBuf,
    kinds: Vec<Kind>,
    libcs: Vec<Libc>,
    arches: Vec<String>,
    flags: Vec<String>,
    libraries: Vec<Library>,
    needed: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdout: String,
    status: Option<i32>,
    signal: Option<i32>,
}

#[derive(Clone, Debug)]
struct Library {
    place: Place,
    soname: String,
    source: PathBuf,
    flags: Vec<String>,
    links: Vec<String>,
}

/// A library that was built and installed in a root.
struct Installed {
    place: Place,
    soname: String,
    file: PathBuf,
    dir: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Package,
    Plugin,
    Sibling,
}

impl Fixture {
    /// Every fixture with directives.
    pub fn all() -> Vec<Fixture> {
        let dir = cache::fixtures();
        let mut sources: Vec<PathBuf> = fs::read_dir(&dir)
            .unwrap_or_else(|error| panic!("read {}: {error}", dir.display()))
            .map(|entry| entry.expect("an entry of a directory").path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|end| end == "c" || end == "cc")
            })
            .collect();
        sources.sort();
        sources.into_iter().filter_map(Fixture::read).collect()
    }

    /// The file name without its extension.
    pub fn name(&self) -> String {
        let stem = self.source.file_stem().expect("a source has a name");
        stem.to_string_lossy().into_owned()
    }

    /// The cells of the matrix that it is for.
    pub fn variants(&self) -> Vec<Variant> {
        let mut all = Variant::all();
        all.retain(|variant| {
            self.kinds.contains(&variant.kind)
                && self.libcs.contains(&variant.libc)
                && (self.arches.is_empty() || self.arches.iter().any(|a| a == variant.arch.name()))
        });
        all
    }

    /// Builds it, asserts that it cannot run, wraps it, checks the file, runs it, and compares the output.
    #[track_caller]
    pub fn run_wrapped(&self, variant: Variant) {
        let (root, built, flags) = self.unwrapped(variant);
        root.wrap(PROGRAM).args(flags).run();
        Wrapped::read(&root, PROGRAM, fs::read(&built).expect("built above")).check();
        self.judge(root.command(PROGRAM));
    }

    /// Builds it, asserts that it cannot run, starts it with `wrap-buddy run`, compares the output, and asserts that no file has
    /// changed.
    #[track_caller]
    pub fn run_once(&self, variant: Variant) {
        let (root, built, mut flags) = self.unwrapped(variant);
        for directory in root.library_dirs() {
            flags.extend(["--libs".to_string(), directory]);
        }
        let interpreter = root.interpreter(variant.arch, variant.libc);
        let flags = ["run".into(), "--interpreter".into(), interpreter]
            .into_iter()
            .chain(flags);
        let tool = root.tool_itself();
        self.judge(root.command(&tool).args(flags).arg(PROGRAM));
        let built = fs::read(&built).expect("built above");
        assert!(root.read(PROGRAM) == built, "the program was changed");
        let app = fs::read_dir(root.path("/app")).expect("a directory");
        let names = app.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.retain(|name| name != "lib");
        assert_eq!(names, ["program"]);
    }

    /// A root with the program, which cannot run there, its file on this machine, and the flags for its libraries.
    #[track_caller]
    fn unwrapped(&self, variant: Variant) -> (Root, PathBuf, Vec<String>) {
        let root = Root::new(variant);
        let libraries = self.install_libraries(variant, &root);
        let links = libraries
            .iter()
            .filter(|library| library.place != Place::Plugin);
        let build = Build::program(variant, &self.source).flags(&self.flags);
        let built = links
            .fold(build, |build, library| build.link(&library.file))
            .build();
        root.install(&built, PROGRAM);
        assert_fails_unwrapped(root.command(PROGRAM));

        let mut flags = Vec::new();
        for library in &libraries {
            match library.place {
                Place::Package => flags.extend(["--libs".to_string(), library.dir.clone()]),
                Place::Plugin => {
                    flags.extend(["--runtime-dependencies".to_string(), library.dir.clone()]);
                }
                Place::Sibling => {}
            }
        }
        for soname in &self.needed {
            flags.extend(["--needed".to_string(), soname.clone()]);
        }
        (root, built, flags)
    }

    /// Builds it for its root, as if it had been compiled there, runs it, and compares the output. This shows that the fixture
    /// expects the normal behaviour of a program.
    #[track_caller]
    pub fn run_linked(&self, variant: Variant) {
        let root = Root::new(variant);
        let libraries = self.install_libraries(variant, &root);
        let mut dirs = root.library_dirs();
        let mut build = Build::program(variant, &self.source).flags(&self.flags);
        for library in &libraries {
            if library.place != Place::Plugin {
                build = build.link(&library.file);
            } else if self.needed.contains(&library.soname) {
                build = build.flag("-Wl,--no-as-needed").link(&library.file);
            }
            dirs.push(library.dir.clone());
        }
        let interpreter = root.interpreter(variant.arch, variant.libc);
        let built = build
            .flag(format!("-Wl,--dynamic-linker={interpreter}"))
            .flag(format!("-Wl,--disable-new-dtags,-rpath,{}", dirs.join(":")))
            .build();
        root.install(&built, PROGRAM);
        self.judge(root.command(PROGRAM));
    }

    #[track_caller]
    fn judge(&self, run: Run<'_>) {
        let mut run = run.args(self.args.iter());
        for (name, value) in &self.env {
            run = run.env(name, value);
        }
        let output = run.output();
        match self.signal {
            Some(signal) => assert_eq!(output.signal, Some(signal), "signal; {output}"),
            None => {
                let expected = self.status.unwrap_or(0);
                assert_eq!(output.status, Some(expected), "exit status; {output}");
            }
        }
        assert_eq!(output.stdout, self.stdout, "stdout; {output}");
    }

    fn install_libraries(&self, variant: Variant, root: &Root) -> Vec<Installed> {
        let mut installed: Vec<Installed> = Vec::new();
        for library in &self.libraries {
            let mut build =
                Build::library(variant, &library.source, &library.soname).flags(&library.flags);
            for soname in &library.links {
                let other = installed
                    .iter()
                    .find(|other| other.soname == *soname)
                    .unwrap_or_else(|| {
                        panic!("{} links to {soname}, which comes later", library.soname)
                    });
                build = build.link(&other.file);
            }
            let file = build.build();
            let dir = match library.place {
                Place::Sibling => {
                    root.install(&file, &format!("/app/lib/{}", library.soname));
                    "/app/lib".into()
                }
                Place::Package | Place::Plugin => root.package(&library.soname, &[&file]),
            };
            let soname = library.soname.clone();
            installed.push(Installed {
                place: library.place,
                soname,
                file,
                dir,
            });
        }
        installed
    }

    fn read(path: PathBuf) -> Option<Fixture> {
        let text = fs::read_to_string(&path).expect("a fixture is UTF-8");
        let mut directives = text
            .lines()
            .filter_map(|line| line.strip_prefix("//#"))
            .peekable();
        directives.peek()?;
        let mut fixture = Fixture {
            source: path.clone(),
            kinds: vec![Kind::Pie, Kind::Exec],
            libcs: vec![Libc::Glibc, Libc::Musl],
            arches: Vec::new(),
            flags: Vec::new(),
            libraries: Vec::new(),
            needed: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            stdout: String::new(),
            status: None,
            signal: None,
        };
        for directive in directives {
            fixture
                .directive(directive.trim_start())
                .unwrap_or_else(|| panic!("{}: what is {directive:?}?", path.display()));
        }
        Some(fixture)
    }

    fn directive(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = || rest.split_whitespace().map(String::from);
        match word {
            "both" => self.kinds = vec![Kind::Pie, Kind::Exec],
            "pie" => self.kinds = vec![Kind::Pie],
            "exec" => self.kinds = vec![Kind::Exec],
            "libc" => {
                self.libcs = match rest {
                    "glibc" => vec![Libc::Glibc],
                    "musl" => vec![Libc::Musl],
                    "any" => vec![Libc::Glibc, Libc::Musl],
                    _ => return None,
                }
            }
            "arch" => self.arches = words().collect(),
            "cflags" | "ldflags" => self.flags.extend(words()),
            "lib" => self.libraries.push(Library::parse(Place::Package, rest)?),
            "plugin" => self.libraries.push(Library::parse(Place::Plugin, rest)?),
            "sibling" => self.libraries.push(Library::parse(Place::Sibling, rest)?),
            "needed" => self.needed.extend(words()),
            "args" => self.args.extend(words()),
            "env" => {
                let (name, value) = rest.split_once('=')?;
                self.env.push((name.into(), value.into()));
            }
            "expect-stdout" => {
                self.stdout.push_str(rest);
                self.stdout.push('\n');
            }
            "expect-status" => self.status = Some(rest.parse().ok()?),
            "expect-signal" => self.signal = Some(rest.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

impl Library {
    fn parse(place: Place, rest: &str) -> Option<Library> {
        let (own, links) = rest.split_once(" : ").unwrap_or((rest, ""));
        let mut words = own.split_whitespace().map(String::from);
        Some(Library {
            place,
            soname: words.next()?,
            source: source(&words.next()?),
            flags: words.collect(),
            links: links.split_whitespace().map(String::from).collect(),
        })
    }
}
