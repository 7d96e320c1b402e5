//! Libraries out of the ordinary.

use std::fs;

use e2e::check::{dynamic_tags, segments, word};
use e2e::{Build, Variant, matrix, source};
use object::elf;

use super::{Opener, SAYS, bar, foo};

matrix!(systems: library_with_an_entry_point, prelinked_library);
// Nobody else has relocations of 32 bits for code.
matrix!([i686_glibc_pie]: (library_with_text_relocations, text_relocations_beside_packed_ones));

/// It has a PT_INTERP as programs have, and keeps it.
fn library_with_an_entry_point(variant: Variant) {
    let opener = Opener::new(variant);
    let interpreter = opener.root.interpreter(variant.arch, variant.libc);
    let built = Build::library(variant, source("lib/entry.c"), "libbar.so")
        .flags(["-Wl,-e,start", &format!("-DINTERPRETER=\"{interpreter}\"")])
        .link(foo(variant))
        .build();
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    // Started that way it has no libc yet, which others would have loaded; with musl it has.
    let started = || {
        let libc = interpreter.rsplit_once('/').expect("a path").0;
        let run = opener.root.command(&plugin).env("LD_LIBRARY_PATH", libc);
        run.output()
    };
    started().exits_with(127);
    let edited = opener.edit(&built, &plugin, &[&dir]);
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
    opener.says(&plugin, SAYS);
    let output = started().success();
    assert_eq!(output.stdout, SAYS, "{output}");
}

const DT_GNU_PRELINKED: u64 = 0x6fff_fdf5;

/// `prelink --undo` and `prelink --verify` go by what the file was.
fn prelinked_library(variant: Variant) {
    let opener = Opener::new(variant);
    let mut file = fs::read(bar(variant, &[])).expect("built");
    let mut segments = segments(&file).into_iter();
    let dynamic = segments.find(|segment| segment.kind == elf::PT_DYNAMIC);
    let end = dynamic_tags(&file).iter().position(|&tag| tag == 0);
    let word = word(&file);
    let at = dynamic.expect("a library").file.start + end.expect("an end") * 2 * word;
    let tag = DT_GNU_PRELINKED.to_le_bytes();
    file[at..at + word].copy_from_slice(&tag[..word]);
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
