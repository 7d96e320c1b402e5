//! Every program and library of this system, of its cross compilers, and of the corpus.

use std::path::PathBuf;

use e2e::{Arch, Kind, Libc, Variant, cache, run, tool};
use ldso::Interpreter;
use ldso::Root;
use ldso::{ProbeCache, Processor, Surroundings};
use rayon::prelude::*;
use wrap_buddy::scan::{Wanted, scan};

use crate::ld_so::{Listed, difference, is_for};

/// The usual directories of programs and libraries.
const SYSTEM: [&str; 6] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local",
    "/opt",
];

/// Makes glibc's ld.so list all libraries; with `--list`, it stops at the first missing one.
const TRACE: &str = "LD_TRACE_LOADED_OBJECTS=1";

fn files(directories: &[PathBuf], interpreter: &Interpreter) -> Vec<PathBuf> {
    let (found, _) = scan(&Root::default(), directories, true, Wanted::Elf, None);
    let found = found.into_par_iter().map(|one| one.path);
    found
        // Separate debug files have no code to load.
        .filter(|path| !path.starts_with("/usr/lib/debug"))
        .filter(|path| is_for(interpreter, path))
        .collect()
}

/// Compares the model with the output of `command`, which starts the dynamic linker, for each file.
fn agree(
    command: &[&str],
    interpreter: &Interpreter,
    library_path: &[PathBuf],
    files: &[PathBuf],
    at_least: usize,
) {
    let probe_cache = ProbeCache::new(Root::default(), Vec::new());
    let surroundings = Surroundings {
        library_path: library_path.to_vec(),
        processor: Processor::Own,
        ..Surroundings::default()
    };
    let check = |path: &PathBuf| {
        let text = path.display().to_string();
        let arguments: Vec<&str> = command[1..].iter().copied().chain([&*text]).collect();
        let says = Listed::parse(&run::on_host(command[0], &arguments), interpreter);
        let model = Listed::modelled(interpreter, &probe_cache, &surroundings, path);
        difference(interpreter, path, &says, &model)
    };
    let differences: Vec<String> = files.par_iter().filter_map(check).collect();
    println!("{}: {} files", interpreter.path.display(), files.len());
    assert!(
        differences.is_empty(),
        "{} of {} files:\n{}",
        differences.len(),
        files.len(),
        differences.join("\n")
    );
    assert!(files.len() >= at_least, "only {} files", files.len());
}

fn host_interpreter() -> Interpreter {
    let arch = Arch::host();
    let path = arch
        .find_library(arch.ld_so())
        .expect("this machine's own ld.so");
    Interpreter::open(&path).expect("a dynamic linker")
}

fn corpus() -> PathBuf {
    let corpus = cache::target_dir().join("corpus");
    corpus.canonicalize().unwrap_or(corpus)
}

#[test]
fn this_system() {
    let interpreter = host_interpreter();
    let found = files(&SYSTEM.map(PathBuf::from), &interpreter);
    let path = interpreter.path.display().to_string();
    agree(&["env", TRACE, &path], &interpreter, &[], &found, 500);
}

/// The trees of all programs in one directory, as `check --tree` prints them.
#[test]
fn trees_of_this_system() {
    let interpreter = host_interpreter();
    let path = interpreter.path.display().to_string();
    let text = run::on_host(tool::path(), &["check", "--tree", "/usr/bin"]).stdout;
    let mut trees: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.split_once(": ").filter(|_| line.starts_with('/')) {
            Some((program, _)) => trees.push((program, Vec::new())),
            None => {
                if let Some((_, lines)) = trees.last_mut() {
                    lines.push(line);
                }
            }
        }
    }
    let compare = |(program, lines): &(&str, Vec<&str>)| {
        let says = run::on_host("env", &[TRACE, &path, program]);
        let says = Listed::parse(&says, &interpreter);
        let tree = Listed::of_tree(lines.iter().copied(), &interpreter);
        let same = tree.paths() == says.paths() && tree.missing == says.missing;
        (!same).then(|| format!("{program}: {tree:?} {says:?}"))
    };
    trees.retain(|(program, _)| is_for(&interpreter, program.as_ref()));
    let differences: Vec<String> = trees.par_iter().filter_map(compare).collect();
    println!("{} programs", trees.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(trees.len() > 100, "only {} programs", trees.len());
}

#[test]
fn this_system_musl() {
    let path = Variant::new(Arch::host(), Libc::Musl, Kind::Pie).dynamic_linker();
    let interpreter = Interpreter::open(&path).expect("musl's dynamic linker");
    let fixtures = cache::dir("build");
    let found = files(&[PathBuf::from("/usr"), fixtures], &interpreter);
    let path = path.display().to_string();
    agree(&[&path, "--list"], &interpreter, &[], &found, 10);
}

fn cross(arch: Arch) {
    let library = arch.find_library(arch.ld_so());
    let interpreter = Interpreter::open(&library.expect("a cross libc")).expect("its ld.so");
    let dir = interpreter.path.parent().expect("a directory").to_owned();
    let directories = [corpus(), dir.clone(), cache::dir("build")];
    let found = files(&directories, &interpreter);
    let (path, libs) = (
        interpreter.path.display().to_string(),
        dir.display().to_string(),
    );
    let qemu = arch.qemu_path().display().to_string();
    let ld_so = [&*path, "--library-path", &libs];
    let emulated: Vec<&str> = [&*qemu, "-E", TRACE].into_iter().chain(ld_so).collect();
    let native: Vec<&str> = ["env", TRACE].into_iter().chain(ld_so).collect();
    let command = if arch.is_native() { &native } else { &emulated };
    agree(command, &interpreter, &[dir], &found, 20);
}

#[test]
fn i686() {
    cross(Arch::I686);
}

#[test]
fn aarch64() {
    cross(Arch::Aarch64);
}

#[test]
fn riscv64() {
    cross(Arch::Riscv64);
}

#[test]
fn armv7() {
    cross(Arch::Armv7);
}

/// Real programs with their bundled libraries, and fixtures.
#[test]
fn corpus_and_fixtures() {
    let interpreter = host_interpreter();
    let found = files(&[corpus(), cache::dir("build")], &interpreter);
    let path = interpreter.path.display().to_string();
    agree(&["env", TRACE, &path], &interpreter, &[], &found, 0);
}
