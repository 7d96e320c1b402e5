//! Libraries out of the ordinary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::check::{dynamic_tags, segments, word};
use e2e::{Build, Edited, Variant, matrix, source};
use object::elf;

use super::{Opener, SAYS, bar, foo};

matrix!(systems: library_with_an_entry_point, prelinked_library);
// Nobody else has relocations of 32 bits for code.
matrix!([i686_glibc_pie]: (library_with_text_relocations, text_relocations_beside_packed_ones));

/// It has a PT_INTERP as programs have, and keeps it. A plugin may have no DT_SONAME either, such as Debian's pam_cap.so.
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
    // Started that way it has no libc yet, which others would have loaded; with musl it has.
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
    // Nobody has to be able to start it.
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(opener.root.path(plugin), mode).expect("its mode");
    let check = opener.root.wrap_buddy().args(["check", plugin]).output();
    assert!(!check.stdout.contains("execute"), "{check}");
}

/// A tag that ld.so makes nothing of.
const DT_CHECKSUM: u64 = 0x6fff_fdf8;
const DT_GNU_PRELINKED: u64 = 0x6fff_fdf5;

/// Makes the first entry of .dynamic with the tag `from` one with the tag `to`.
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

/// `prelink --undo` and `prelink --verify` go by what the file was.
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

/// ld.so writes to its code, and not to the bytes behind that.
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

/// What packed relocations write to is not looked up: they are for data, and in such a library perhaps not.
fn text_relocations_beside_packed_ones(variant: Variant) {
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
