//! The imports of files, compared with those that readelf prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::toolchain;
use elf_file::{Elf, Source, imports};

use crate::fixture::{Arch, TestDir};

const NAMES: [&str; 9] = [
    "dlopen",
    "dlmopen",
    "pthread_exit",
    "pthread_cancel",
    "backtrace",
    "iconv_open",
    "malloc",
    "printf",
    // This name is the end of others.
    "puts",
];

/// Those of `NAMES` that readelf prints as undefined, sorted.
fn shown_by_readelf(path: &Path) -> Vec<&'static str> {
    let output = Command::new("readelf")
        .args(["--wide", "--dyn-syms"])
        .arg(path)
        .output()
        .expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let undefined: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(" UND ").nth(1))
        .filter_map(|name| name.split(['@', ' ']).next())
        .collect();
    let mut names: Vec<&str> = NAMES.into_iter().collect();
    names.retain(|name| undefined.contains(name));
    names.sort_unstable();
    names
}

fn agrees(path: &Path) -> usize {
    let mut source = Source::open(path).expect("a file");
    let elf = Elf::read(&mut source).expect("an ELF file");
    let found = imports(&elf, &mut source, &NAMES);
    assert_eq!(found, shown_by_readelf(path), "{}", path.display());
    found.len()
}

/// All programs in /usr/bin that begin with one letter, and libraries of the system.
#[test]
fn of_files_of_the_system() {
    let of = |directory: &Path, begins: &[&str]| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let is_wanted = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let magic = || {
                fs::File::open(path).is_ok_and(|mut file| {
                    let mut magic = [0; 4];
                    std::io::Read::read_exact(&mut file, &mut magic).is_ok() && magic == *b"\x7fELF"
                })
            };
            begins.iter().any(|one| name.starts_with(one)) && path.is_file() && magic()
        };
        paths.filter(is_wanted).collect()
    };
    let programs = of(Path::new("/usr/bin"), &["b", "g", "p"]);
    let libraries = Arch::host().library_dirs().into_iter();
    let libraries = libraries.flat_map(|dir| of(&dir, &["libg", "libp", "libs"]));
    let files: Vec<PathBuf> = programs.into_iter().chain(libraries).collect();
    let imported: usize = files.iter().map(|path| agrees(path)).sum();
    assert!(imported > files.len(), "{imported} of {}", files.len());
}

/// With each kind of hash table, without exported symbols, and without section headers.
#[test]
fn of_files_of_several_linkers() {
    let dir = TestDir::new();
    let text = "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) { return !dlopen(\"x\", 1) + puts(\"\"); }\n";
    let [lld, directory] = &toolchain::lld();
    for (index, flags) in [
        &["-Wl,--hash-style=sysv"][..],
        &["-Wl,--hash-style=gnu"],
        &["-Wl,--hash-style=both"],
        &["-Wl,--hash-style=gnu", "-rdynamic"],
        &[lld, directory, "-Wl,--hash-style=gnu"],
        &["-fuse-ld=mold"],
        &["-shared", "-fPIC", lld, directory],
    ]
    .into_iter()
    .enumerate()
    {
        let file = dir.compile(Arch::host(), &index.to_string(), text, flags);
        assert_eq!(agrees(&file), 2, "{flags:?}");
        let mut bytes = fs::read(&file).expect("linked above");
        // e_shoff, and e_shnum with e_shstrndx.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        fs::write(&file, bytes).expect("written");
        let mut opened = Source::open(&file).expect("a file");
        let elf = Elf::read(&mut opened).expect("an ELF file");
        let found = imports(&elf, &mut opened, &["dlopen", "puts", "main"]);
        assert_eq!(found, ["dlopen", "puts"], "{flags:?}, no section headers");
    }
}
