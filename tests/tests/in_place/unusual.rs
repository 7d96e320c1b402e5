//! Unusual libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::check::{dynamic_tags, segments, word};
use e2e::{Build, Edited, Variant, matrix, source};
use object::elf;

use super::{Opener, SAYS, bar, foo};

matrix!(systems: library_with_an_entry_point, library_with_an_empty_interpreter, prelinked_library);
// Only i686 has 32-bit relocations for code.
matrix!([i686_glibc_pie]: (library_with_text_relocations, text_relocations_with_packed_ones));

/// It has a PT_INTERP like a program, and keeps it. A plugin may also lack a DT_SONAME, such as Debian's pam_cap.so.
fn library_with_an_entry_point(variant: Variant) {
    for has_soname in [true, false] {
        library_that_starts(variant, has_soname);
    }
}

fn library_that_starts(variant: Variant, has_soname: bool) {
    let opener = Opener::new(variant);
    let interpreter = opener.root.interpreter(variant.arch, variant.libc);
    let built = Build::library(variant, source("lib/entry.c"), "libbar.so")
        .flags(["-Wl,-e,start", &format!("-DINTERPRETER=\"{interpreter}\"")])
        .link(foo(variant))
        .build();
    let mut built = fs::read(built).expect("built above");
    if !has_soname {
        retag(&mut built, elf::DT_SONAME.into(), DT_CHECKSUM);
    }
    let plugin = "/app/plugins/libbar.so";
    opener.root.write(plugin, &built);
    make_executable(&opener.root.path(plugin));
    let dir = opener.root.package("foo", &[foo(variant)]);
    // A library that is started like this has no libc, because no other file has loaded it; with musl it has.
    let started = || {
        let libc = interpreter.rsplit_once('/').expect("a path").0;
        let run = opener.root.command(plugin).env("LD_LIBRARY_PATH", libc);
        run.output()
    };
    started().exits_with(127);
    opener.refuses(plugin, "No such file");
    let check = opener.root.wrap_buddy().args(["check", plugin]).output();
    assert!(check.stdout.contains("shared library"), "{check}");
    opener.wrap(plugin, &[&dir]).run();
    let edited = Edited::read(&opener.root, plugin, built);
    edited.searches("RUNPATH", &[&dir]);
    let interp = |file: &[u8]| {
        let mut segments = segments(file).into_iter();
        let segment = segments.find(|segment| segment.kind == elf::PT_INTERP);
        file[segment.expect("built with one").file].to_vec()
    };
    assert_eq!(
        interp(&edited.file),
        [interpreter.as_bytes(), b"\0"].concat()
    );
    opener.says(plugin, SAYS);
    let output = started().success();
    assert_eq!(output.stdout, SAYS, "{output}");
    // It need not be executable.
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(opener.root.path(plugin), mode).expect("its mode");
    let check = opener.root.wrap_buddy().args(["check", plugin]).output();
    assert!(!check.stdout.contains("execute"), "{check}");
}

/// The Qt in wheels of OpenCV is built so.
fn library_with_an_empty_interpreter(variant: Variant) {
    let opener = Opener::new(variant);
    let built = Build::library(variant, source("lib/entry.c"), "libbar.so")
        .flags(["-Wl,-e,start", "-DINTERPRETER=\"\""])
        .link(foo(variant))
        .build();
    let plugin = "/app/plugins/libbar.so";
    opener.root.install(&built, plugin);
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.refuses(plugin, "No such file");
    opener.wrap(plugin, &[&dir]).run();
    let built = fs::read(built).expect("built above");
    Edited::read(&opener.root, plugin, built).searches("RUNPATH", &[&dir]);
    opener.says(plugin, SAYS);
}

/// A tag that ld.so ignores.
const DT_CHECKSUM: u64 = 0x6fff_fdf8;
const DT_GNU_PRELINKED: u64 = 0x6fff_fdf5;

/// Changes the first entry of .dynamic with the tag `from` to the tag `to`.
fn retag(file: &mut [u8], from: u64, to: u64) {
    let mut segments = segments(file).into_iter();
    let dynamic = segments.find(|segment| segment.kind == elf::PT_DYNAMIC);
    let entry = dynamic_tags(file).iter().position(|&tag| tag == from);
    let word = word(file);
    let at = dynamic.expect("a library").file.start + entry.expect("such an entry") * 2 * word;
    file[at..at + word].copy_from_slice(&to.to_le_bytes()[..word]);
}

fn make_executable(path: &Path) {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).expect("its mode");
}

/// `prelink --undo` and `prelink --verify` rely on the original bytes.
fn prelinked_library(variant: Variant) {
    let opener = Opener::new(variant);
    let mut file = fs::read(bar(variant, &[])).expect("built");
    retag(&mut file, elf::DT_NULL.into(), DT_GNU_PRELINKED);
    opener.root.write("/app/plugins/libbar.so", &file);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let wrap = opener.wrap("/app/plugins/libbar.so", &[&dir]);
    let report = wrap.report().exits_with(1);
    report
        .file("/app/plugins/libbar.so")
        .is("failed", &["prelink"]);
    assert!(
        opener.root.read("/app/plugins/libbar.so") == file,
        "it was changed"
    );
}

/// ld.so writes to its code, but not to the bytes after that.
fn library_with_text_relocations(variant: Variant) {
    let opener = Opener::new(variant);
    let built = bar(variant, &TEXT_RELOCATIONS);
    assert!(dynamic_tags(&fs::read(&built).expect("built")).contains(&u64::from(elf::DT_TEXTREL)));
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener
        .edit(&built, &plugin, &[&dir])
        .searches("RUNPATH", &[&dir]);
    opener.says(&plugin, SAYS);
}

const TEXT_RELOCATIONS: [&str; 3] = ["-fno-pic", "-Wl,-z,notext", "-Wl,--no-warnings"];

/// The addresses of packed relocations are not looked up: these are for data, but in such a library they may not be.
fn text_relocations_with_packed_ones(variant: Variant) {
    let opener = Opener::new(variant);
    let packed = [&TEXT_RELOCATIONS[..], &["-Wl,-z,pack-relative-relocs"]].concat();
    let built = bar(variant, &packed);
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let report = opener.wrap(&plugin, &[&dir]).report().exits_with(1);
    report
        .file(&plugin)
        .is("failed", &["code that is relocated"]);
    opener.is_untouched(&built, &plugin);
}
