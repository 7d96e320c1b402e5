//! Random trees: libraries in random directories that need each other, with random search paths, copies for another machine, other
//! files, ld.so.cache, and hwcaps subdirectories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use e2e::arch::musl_ld_so;
use e2e::{Arch, Build, Kind, Libc, Root, Variant, matrix, run, source, tool};
use ldso::Interpreter;
use ldso::{ProbeCache, Processor, Surroundings};

use crate::ld_so::{Listed, difference};

matrix!(systems: trees);

const LIBRARIES: usize = 7;
const ROUNDS: usize = 6;

/// Directories for search paths; `$ORIGIN` is one of them, or /app.
const PLACES: [&str; 5] = ["/opt/a", "/opt/b", "/opt/c", "/opt/d", "/opt/link"];

/// The default directory, and the one that ld.so.cache lists.
fn defaults(variant: Variant) -> [String; 2] {
    let cached = match variant.libc {
        Libc::Glibc => "/opt/cached",
        Libc::Musl => "/opt/listed",
    };
    [variant.default_library_dir(), cached.into()]
}

/// The hwcaps subdirectories of a directory.
fn below(variant: Variant) -> &'static [&'static str] {
    match variant.arch {
        Arch::X86_64 => &[
            "glibc-hwcaps/x86-64-v2",
            "glibc-hwcaps/x86-64-v4",
            "tls/x86_64",
        ],
        Arch::I686 => &["tls", "i686"],
        Arch::Aarch64 => &["tls", "aarch64"],
        Arch::Riscv64 => &["tls", "riscv64"],
        // Not v7l and neon: QEMU 7.2 emulates a newer processor, and this machine has another one.
        Arch::Armv7 => &["tls", "vfp"],
    }
}

fn trees(variant: Variant) {
    for round in 0..ROUNDS {
        let mut random = fastrand::Rng::with_seed(round as u64 * 7 + 1);
        Forest::grow(variant, &mut random).compare(round);
    }
}

struct Forest {
    variant: Variant,
    root: Root,
    programs: Vec<String>,
    interpreter: String,
}

/// A linker flag for a search path, or none.
fn search_path(variant: Variant, random: &mut fastrand::Rng) -> Vec<String> {
    let tag = match random.u8(0..4) {
        0 => return Vec::new(),
        1 => "--enable-new-dtags",
        _ => "--disable-new-dtags",
    };
    let entries = (0..random.usize(1..4)).map(|_| match random.u8(0..8) {
        0 => "$ORIGIN/../b".to_owned(),
        1 => "${ORIGIN}".to_owned(),
        2 if variant.libc == Libc::Glibc => "/opt/$LIB".to_owned(),
        3 => "/none".to_owned(),
        _ => random.choice(PLACES).expect("some").to_owned(),
    });
    let entries: Vec<String> = entries.collect();
    let path = format!("-Wl,-rpath,{}", entries.join(":"));
    let mut flags = vec![format!("-Wl,{tag}"), path];
    if random.u8(0..6) == 0 {
        flags.push("-Wl,-z,nodefaultlib".to_owned());
    }
    flags
}

fn needs(build: Build, libraries: &[PathBuf], random: &mut fastrand::Rng) -> Build {
    let flags = ["-Wl,--no-as-needed", "-Wl,--unresolved-symbols=ignore-all"];
    let mut build = build.flags(flags);
    for library in libraries {
        if random.u8(0..3) > 0 {
            build = build.link(library);
        }
    }
    build
}

impl Forest {
    fn grow(variant: Variant, random: &mut fastrand::Rng) -> Forest {
        let root = Root::new(variant);
        let [default, cached] = defaults(variant);
        symlink("/opt/c", root.mkdir("/opt").join("link")).expect("a symbolic link");
        let interpreter = variant.fhs_interpreter();
        root.install(&variant.dynamic_linker(), &interpreter);
        if variant.libc == Libc::Glibc {
            let libc = variant.arch.glibc();
            root.install(&libc, &format!("{default}/libc.so.6"));
        }

        let mut built: Vec<PathBuf> = Vec::new();
        for number in (0..LIBRARIES).rev() {
            let name = format!("lib{number}.so");
            let build = Build::library(variant, source("lib/foo.c"), &name);
            let build = needs(build.flags(search_path(variant, random)), &built, random);
            let built_one = build.build();
            for _ in 0..random.usize(1..3) {
                let directory = match random.u8(0..8) {
                    0 => default.clone(),
                    1 => cached.clone(),
                    2 => "/app".to_owned(),
                    _ => random.choice(PLACES).expect("some").replace("link", "c"),
                };
                let directory = match random.u8(0..4) {
                    0 => format!(
                        "{directory}/{}",
                        random.choice(below(variant)).expect("some")
                    ),
                    _ => directory,
                };
                root.install(&built_one, &format!("{directory}/{name}"));
            }
            Self::mislead(variant, &root, &name, random);
            built.push(built_one);
        }
        let programs = (0..4).map(|number| {
            let build = Build::program(variant, source("hello.c"));
            let build = needs(build.flags(search_path(variant, random)), &built, random);
            root.install(&build.build(), &format!("/app/program{number}"))
        });
        let mut programs: Vec<String> = programs.collect();
        let libraries = (0..LIBRARIES).flat_map(|number| {
            let places = PLACES
                .iter()
                .map(move |place| format!("{place}/lib{number}.so"));
            places.filter(|path| !path.contains("link") && is_whole(&root.path(path), variant))
        });
        programs.extend(libraries);

        let forest = Forest {
            variant,
            root,
            programs,
            interpreter,
        };
        forest.make_searched(&cached, &default);
        forest
    }

    /// Files that ld.so has to pass over and, rarely, one at which it fails.
    fn mislead(variant: Variant, root: &Root, name: &str, random: &mut fastrand::Rng) {
        let place = random.choice(&PLACES[..4]).expect("some");
        let path = format!("{place}/{name}");
        if root.path(&path).exists() {
            return;
        }
        let other = variant.arch.other(Libc::Glibc);
        match random.u8(0..10) {
            0..4 => {
                let other = Variant::new(other, Libc::Glibc, Kind::Pie);
                let foreign = Build::library(other, source("lib/foo.c"), name).build();
                root.install(&foreign, &path);
            }
            4 => root.write(&path, "INPUT(libother.so)\n"),
            _ => {}
        }
    }

    /// Makes the dynamic linker search directories that no file names.
    fn make_searched(&self, cached: &str, default: &str) {
        match self.variant.libc {
            Libc::Glibc => {
                self.root.write("/etc/ld.so.conf", format!("{cached}\n"));
                self.root.mkdir(cached);
                let root = self.root.path("/").display().to_string();
                run::on_host("/sbin/ldconfig", &["-r", &root, "-X"]).success();
            }
            Libc::Musl => {
                let name = musl_ld_so(self.variant.arch).replace(".so.1", ".path");
                let list = format!("{default}\n{cached}:/none\n");
                self.root.write(&format!("/etc/{name}"), list);
            }
        }
    }

    fn compare(&self, round: usize) {
        let (mut found, mut missing) = (0, 0);
        let root = ldso::Root::at(&self.root.path("/")).expect("a directory");
        let interpreter = Interpreter::open_in(&root, Path::new(&self.interpreter));
        let interpreter = interpreter.expect("the dynamic linker");
        let environment = format!("{}:/opt/d", defaults(self.variant)[1]);
        for library_path in ["", &environment] {
            let directories = library_path.split(':').filter(|text| !text.is_empty());
            let surroundings = Surroundings {
                library_path: directories.map(PathBuf::from).collect(),
                processor: Processor::Own,
                ..Surroundings::default()
            };
            let probe_cache = ProbeCache::new(root.clone(), Vec::new());
            for program in &self.programs {
                let mut command = self.root.command(&self.interpreter);
                if !library_path.is_empty() {
                    command = command.args(["--library-path", library_path]);
                }
                // With --list, glibc's ld.so stops at the first missing library. musl's does not.
                let command = match self.variant.libc {
                    Libc::Glibc => command.env("LD_TRACE_LOADED_OBJECTS", "1"),
                    Libc::Musl => command.arg("--list"),
                };
                let says = command.arg(program).output();
                let says = Listed::parse(&says, &interpreter);
                found += says.found.len();
                missing += says.missing.len();
                let path = Path::new(program);
                let model = Listed::modelled(&interpreter, &probe_cache, &surroundings, path);
                if library_path.is_empty() && program.starts_with("/app/program") {
                    self.compare_tree(program, &says, &interpreter);
                }
                if let Some(difference) = difference(&interpreter, path, &says, &model) {
                    let near_misses = model.1.join(", ");
                    panic!(
                        "round {round}, LD_LIBRARY_PATH={library_path}: {difference}\n  near: {near_misses}"
                    );
                }
            }
        }
        println!(
            "round {round}: {} files, {found} found, {missing} not",
            self.programs.len()
        );
        assert!(found > 10, "too few to tell anything: {found}");
    }
}

impl Forest {
    /// Compares the tree that `check --tree` prints with the list of ld.so.
    fn compare_tree(&self, program: &str, says: &Listed, interpreter: &Interpreter) {
        if says.is_silent || says.fatal.is_some() {
            return;
        }
        let root = self.root.path("/").display().to_string();
        let arguments = ["check", "--tree", "--root", &root, program];
        let output = run::on_host(tool::path(), &arguments);
        let tree = Listed::of_tree(output.stdout.lines(), interpreter);
        assert_eq!(tree.paths(), says.paths(), "{output}");
        assert_eq!(tree.missing, says.missing, "{output}");
    }
}

fn is_whole(path: &Path, variant: Variant) -> bool {
    fs::metadata(path).is_ok() && Arch::of_file(path) == Some(variant.arch)
}
