//! Bytes that look unused and are not, and files that are left alone.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use e2e::offsets::OF_64;
use elf_file::{Elf, Padding, Source, paddings, sections, unused_header};
use object::elf;
use sidecar::EditKind;
use wrap_buddy::plan::FileEdit;
use wrap_buddy::plan::edits::{Visibility, Wanted};
use wrap_buddy::plan::outcome::Status;

use super::memory::Memory;
use super::subjects::{Kind, Layout, LinkDir, NEEDS, Original};
use crate::fixture::*;
use crate::lifecycle::restore;

const DT_GNU_PRELINKED: u64 = 0x6fff_fdf5;

/// A 64-bit library in the layout of GNU ld, and the padding after its first segment.
fn padded(link_dir: &LinkDir) -> (Original, Padding) {
    let path = link_dir.link("libsubject.so", &Layout::usual(Linker::Bfd));
    let original = Original::read(&path);
    let padding = padding_of(&original)[0];
    assert!(padding.len > 1000, "{padding:?}");
    (original, padding)
}

fn padding_of(original: &Original) -> Vec<Padding> {
    paddings(&original.elf, &mut original.source()).unwrap()
}

/// The same file with other bytes at an offset.
fn with(link_dir: &LinkDir, original: &Original, offset: u64, bytes: &[u8]) -> Original {
    let mut changed = original.bytes.clone();
    changed[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    let path = link_dir.dir.write("changed/libsubject.so", changed);
    Original::read(&path)
}

/// The offset of the value, or the tag, of entry `index` of .dynamic in a 64-bit file.
fn entry(original: &Original, index: usize) -> u64 {
    original.elf.loaded_dynamic().unwrap().1.offset + 16 * index as u64
}

/// The offset of a program header in a 64-bit file.
fn header(original: &Original, index: usize) -> u64 {
    original.elf.phoff + (OF_64.phdr_len * index) as u64
}

/// Replaces PT_PHDR, which has room for a string, by a header that belongs to other tools.
fn without_unused_header(original: &Original, bytes: &mut [u8]) {
    let mut segments = original.elf.segments.iter();
    if let Some(index) = segments.position(|one| one.kind == elf::PT_PHDR) {
        let at = header(original, index) as usize;
        bytes[at..at + 4].copy_from_slice(&elf::PT_LOPROC.to_le_bytes());
    }
}

#[test]
fn padding_ends_at_a_nonzero_byte() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, padding) = padded(&link_dir);
    let changed = with(&link_dir, &original, padding.offset + 200, &[1]);
    assert_eq!(
        padding_of(&changed)[0],
        Padding {
            len: 200,
            ..padding
        }
    );
    let changed = with(&link_dir, &original, padding.offset, &[1]);
    assert!(
        padding_of(&changed)
            .iter()
            .all(|other| other.offset != padding.offset)
    );
}

#[test]
fn padding_ends_at_a_section_of_zeros() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, padding) = padded(&link_dir);
    let comment = {
        let sections = sections(&original.elf, &mut original.source()).unwrap();
        let unloaded = |kind| kind == elf::SHT_PROGBITS;
        let mut found = sections.into_iter().rev();
        found
            .find(|one| unloaded(one.kind) && one.address == 0)
            .unwrap()
    };
    let sh_offset = comment.header_at + 24;
    for (at, left) in [(padding.offset + 200, 200), (padding.offset - 1, 0)] {
        let changed = with(&link_dir, &original, sh_offset, &at.to_le_bytes());
        let mut found = padding_of(&changed).into_iter();
        let found = found.find(|other| other.offset == padding.offset);
        assert_eq!(found.map_or(0, |padding| padding.len), left);
    }
}

#[test]
fn padding_ends_at_any_segment() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, padding) = padded(&link_dir);
    let mut segments = original.elf.segments.iter();
    let index = segments.position(|one| one.kind == elf::PT_GNU_STACK);
    let header = header(&original, index.unwrap());
    let p_offset = (padding.offset + 200).to_le_bytes();
    let changed = with(
        &link_dir,
        &original,
        header + OF_64.p_offset as u64,
        &p_offset,
    );
    assert_eq!(padding_of(&changed)[0], padding, "it is empty");
    let changed = with(&link_dir, &changed, header + OF_64.p_filesz as u64, &[1]);
    assert_eq!(
        padding_of(&changed)[0],
        Padding {
            len: 200,
            ..padding
        }
    );
}

#[test]
fn bytes_that_the_kernel_clears_are_not_padding() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, padding) = padded(&link_dir);
    let mut segments = original.elf.segments.iter();
    let index =
        segments.position(|one| one.kind == elf::PT_LOAD && one.file_end() == padding.offset);
    let p_memsz = header(&original, index.unwrap()) + OF_64.p_memsz as u64;
    let more = original.elf.segments[index.unwrap()].memory_len + 1;
    let changed = with(&link_dir, &original, p_memsz, &more.to_le_bytes());
    assert!(
        padding_of(&changed)
            .iter()
            .all(|other| other.offset != padding.offset)
    );
}

#[test]
fn page_of_a_later_segment_is_not_padding() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, padding) = padded(&link_dir);
    let mut segments = original.elf.segments.iter();
    let later = |offset: u64| offset > padding.offset;
    let index = segments.position(|one| one.kind == elf::PT_LOAD && later(one.offset));
    let header = header(&original, index.unwrap());
    // At the end of the padding's page, from another page of the file.
    let address = padding.address / 4096 * 4096 + 4095;
    let changed = [0x1000 + address, address].map(u64::to_le_bytes).concat();
    let changed = with(
        &link_dir,
        &original,
        header + OF_64.p_offset as u64,
        &changed,
    );
    // The first segment begins at address 0 and offset 0, so its last nonzero byte has the same address and offset.
    let mut in_front = original.bytes[..padding.offset as usize].iter();
    let last = in_front.rposition(|&byte| byte != 0).unwrap() as u64;
    let last_of = |file: &Original| {
        let memory = Memory::of(&file.elf, &file.bytes, 4096).unwrap();
        memory.string(last).unwrap()
    };
    assert_eq!(last_of(&original).len(), 1);
    assert_ne!(last_of(&changed), last_of(&original), "not mapped over");
    assert!(
        padding_of(&changed)
            .iter()
            .all(|other| other.offset != padding.offset)
    );
}

#[test]
fn padding_ends_at_the_end_of_the_file() {
    // Without data, and with a read-only .dynamic, nothing follows the read-only segments.
    let dir = TestDir::new();
    let mut arguments = Linker::Lld.flags();
    let of_library = [
        "-shared",
        "-nostdlib",
        "-s",
        "-Wl,-z,rodynamic,-z,separate-code,-rpath,/own",
    ];
    arguments.extend(of_library.map(String::from));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let path = dir.compile(Arch::X86_64, "libend.so", "const int end = 1;", &arguments);
    let original = Original::read(&path);
    let last = original
        .elf
        .loads()
        .map(|load| load.file_end())
        .max()
        .unwrap();
    for (after, padding) in [
        (0, None),
        (1, Some(1)),
        (40, Some(40)),
        (9000, Some(4096 - last % 4096)),
    ] {
        let mut bytes = original.bytes[..last as usize].to_vec();
        bytes.resize(last as usize + after, 0);
        // No section headers: e_shoff, e_shnum.
        bytes[40..48].fill(0);
        bytes[60..62].fill(0);
        without_unused_header(&original, &mut bytes);
        let changed = Original::read(&dir.write("changed.so", &bytes));
        let mut found = padding_of(&changed).into_iter();
        let found = found
            .find(|padding| padding.offset == last)
            .map(|padding| padding.len);
        assert_eq!(found, padding, "{after} bytes after the segment");
        // A NUL alone is not a search path.
        let Some(padding) = padding.filter(|&padding| padding > 1) else {
            continue;
        };
        let search = vec![b'x'; padding as usize];
        let wanted = |len: usize| Wanted {
            search: &search[..len],
            ..Wanted::default()
        };
        let longest = changed
            .edit(&wanted(search.len() - 1), Visibility::Hidden)
            .unwrap();
        let memory = Memory::of(&longest.elf, &longest.bytes, 4096).unwrap();
        let dynamic = longest.elf.dynamic.as_ref().unwrap();
        let at = dynamic.value(elf::DT_STRTAB).unwrap() + dynamic.value(elf::DT_RUNPATH).unwrap();
        assert_eq!(memory.string(at).unwrap(), &search[1..]);
        assert!(
            changed
                .edit(&wanted(search.len()), Visibility::Hidden)
                .is_err()
        );
    }
}

/// A 32-bit library whose code is relocated.
fn with_text_relocations(dir: &TestDir) -> Original {
    let source = "extern int there; void code(void) { asm(\".long there\"); }";
    let arguments = [
        "-shared",
        "-fno-pic",
        "-nostdlib",
        "-Wl,-z,notext,-z,separate-code",
    ];
    Original::read(&dir.compile(Arch::I686, "libtext.so", source, &arguments))
}

#[test]
fn relocated_bytes_are_not_padding() {
    let dir = TestDir::new();
    let original = with_text_relocations(&dir);
    let dynamic = original.elf.dynamic.as_ref().unwrap();
    assert!(dynamic.text_relocations);
    let all = padding_of(&original);
    assert!(all.len() > 1, "{all:?}");
    let table = dynamic.value(elf::DT_REL).unwrap();
    let table = original.elf.offset_of(table).unwrap() as usize;
    for padding in &all {
        for (into, is_room) in [(0, false), (padding.len - 1, false), (padding.len, true)] {
            let mut bytes = original.bytes.clone();
            let place = (padding.address + into) as u32;
            bytes[table..table + 4].copy_from_slice(&place.to_le_bytes());
            let changed = Original::read(&dir.write("changed.so", bytes));
            let found = padding_of(&changed).contains(padding);
            assert_eq!(found, is_room, "a relocation {into} bytes into {padding:?}");
        }
    }
}

#[test]
fn a_prelinked_library_is_left_alone() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (original, _) = padded(&link_dir);
    let spare = entry(&original, original.elf.dynamic.as_ref().unwrap().end());
    let prelinked = DT_GNU_PRELINKED.to_le_bytes();
    let changed = with(&link_dir, &original, spare, &prelinked);
    let directory = link_dir.dir.path("changed");
    let library = directory.join("libsubject.so");
    let before = snapshot(&directory);
    let report = link_dir
        .dir
        .wrap(&[&"--paths", &library, &"--libs", &link_dir.dir.root]);
    assert_eq!(refusal(&report), Refusal::Prelinked);
    assert!(snapshot(&directory) == before && changed.bytes == before[0].1);
}

/// A library with spare entries of .dynamic and no other free bytes.
fn crowded(link_dir: &LinkDir, linker: Linker) -> (PathBuf, Range<u64>) {
    let path = link_dir.link("app/libsubject.so", &Layout::usual(linker));
    let original = Original::read(&path);
    let mut bytes = original.bytes.clone();
    for padding in padding_of(&original) {
        bytes[padding.offset as usize..][..padding.len as usize].fill(0xff);
    }
    fs::write(&path, bytes).unwrap();
    let (_, segment) = original.elf.loaded_dynamic().unwrap();
    (path, segment.offset..segment.file_end())
}

#[test]
fn spare_entries_hold_a_short_string_if_nothing_else_is_free() {
    // In 32-bit files, spare entries are half as large, and too few even for the path of links.
    for target in [Arch::X86_64, Arch::Aarch64] {
        let link_dir = LinkDir::new(target);
        let (path, dynamic) = crowded(&link_dir, Linker::Bfd);
        let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
        let report = link_dir.dir.wrap_for(
            target,
            &path,
            &[
                &"--libs",
                &link_dir.library_directory(NEEDS[0], 200, "a"),
                &link_dir.library_directory(NEEDS[1], 200, "b"),
            ],
        );
        let plan = edited(&report);
        for edit in plan
            .edits
            .iter()
            .filter(|edit| edit.kind == sidecar::EditKind::Text)
        {
            assert!(
                dynamic.contains(&edit.offset),
                "{}: {edit:x?}",
                target.name()
            );
        }
        // The search path does not fit, but one to links does.
        let links = plan.links().unwrap();
        assert!(
            NEEDS
                .iter()
                .all(|need| links.directory.join(need).is_file())
        );
        assert!(
            run(target, &main).unwrap().status.success(),
            "{}",
            target.name()
        );
    }
}

/// lld makes libraries with a PT_PHDR, which no dynamic linker needs. (gold and mold do too, but leave more room in .dynamic.)
#[test]
fn the_header_of_the_program_headers_holds_a_short_string() {
    for target in Arch::ALL {
        let what = target.name();
        let link_dir = LinkDir::new(target);
        let (path, _) = crowded(&link_dir, Linker::Lld);
        let untouched = fs::read(&path).unwrap();
        let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
        assert!(!run(target, &main).unwrap().status.success(), "{what}");
        let original = Original::read(&path);
        let mut segments = original.elf.segments.iter();
        let index = segments.position(|one| one.kind == elf::PT_PHDR);
        let header_len = original.elf.program_headers.len() / original.elf.segments.len();
        let header = original.elf.phoff + (index.expect(what) * header_len) as u64;
        // A path that fills the header.
        let libs = link_dir.library_directory(NEEDS[0], header_len - 5, "l");
        link_dir.library_directory(NEEDS[1], header_len - 5, "l");
        let wrap = || link_dir.dir.wrap_for(target, &path, &[&"--libs", &libs]);
        let report = wrap();
        let plan = edited(&report);
        assert!(plan.links().is_none(), "{what}");
        let texts = plan.edits.iter().filter(|edit| edit.kind == EditKind::Text);
        let texts: Vec<&FileEdit> = texts.collect();
        // One write, so that a stopped run leaves a PT_PHDR, or a PT_NULL with the string.
        assert_eq!(texts.len(), 1, "{what}");
        assert_eq!(
            (texts[0].offset, texts[0].after.len()),
            (header, header_len),
            "{what}"
        );
        let now = Elf::read(&mut Source::open(&path).unwrap()).unwrap();
        assert_eq!(now.segments[index.unwrap()].kind, elf::PT_NULL, "{what}");
        assert!(run(target, &main).unwrap().status.success(), "{what}");
        assert_eq!(*reason(&wrap(), Status::Skipped), SkipReason::Edited.into());

        restore(&[path.to_str().unwrap()]);
        assert!(fs::read(&path).unwrap() == untouched, "{what}");

        // strip clears a string that leaves p_align alone, and the header stays free.
        let libs = link_dir.library_directory(NEEDS[0], header_len * 5 / 7, "s");
        link_dir.library_directory(NEEDS[1], header_len * 5 / 7, "s");
        let wrap = || link_dir.dir.wrap_for(target, &path, &[&"--libs", &libs]);
        edited(&wrap());
        if target == Arch::X86_64 {
            let stripped = Command::new("strip").arg(&path).status();
            assert!(stripped.unwrap().success(), "{what}");
            assert!(!run(target, &main).unwrap().status.success(), "{what}");
            edited(&wrap());
        }
        assert!(run(target, &main).unwrap().status.success(), "{what}");
    }
}

/// The bytes of a program's PT_PHDR are no room: ld.so reads the address of the program from it.
#[test]
fn the_header_of_the_program_headers_of_a_program_stays() {
    let link_dir = LinkDir::new(Arch::X86_64);
    for linker in Linker::installed() {
        let layout = Layout {
            kind: Kind::Pie,
            ..Layout::usual(linker)
        };
        let original = Original::read(&link_dir.link("program", &layout));
        assert_eq!(unused_header(&original.elf), None, "{linker:?}");
    }
}

#[test]
fn spare_entries_are_kept_for_new_entries() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let (path, _) = crowded(&link_dir, Linker::Bfd);
    let original = Original::read(&path);
    let spare = original.elf.dynamic.as_ref().unwrap().spare;
    let names: Vec<Vec<u8>> = (0..spare).map(|number| vec![b'a' + number as u8]).collect();
    let needed: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let wanted = Wanted {
        needed: &needed,
        ..Wanted::default()
    };
    // The names would occupy their own entries.
    assert!(original.edit(&wanted, Visibility::Hidden).is_err());
}

#[test]
fn only_the_string_of_a_dynamic_linker_is_written_over() {
    let link_dir = LinkDir::new(Arch::X86_64);
    let layout = Layout {
        kind: Kind::Pie,
        ..Layout::usual(Linker::Bfd)
    };
    let original = Original::read(&link_dir.link("program", &layout));
    let interp = original.elf.interp.as_ref().unwrap();
    let (header, own) = (
        header(&original, interp.index),
        original.elf.segments[interp.index],
    );
    let wanted = Wanted {
        interpreter: Some(b"/l"),
        ..Wanted::default()
    };
    let string = own.offset..own.offset + interp.path.len() as u64 + 1;
    // A segment that continues after the string.
    let longer = (own.file_len + 200).to_le_bytes();
    let changed = with(
        &link_dir,
        &original,
        header + OF_64.p_filesz as u64,
        &longer,
    );
    let edited = changed.edit(&wanted, Visibility::Hidden).unwrap();
    assert_eq!(edited.ranges(), [string]);
    assert_eq!(edited.elf.interp.unwrap().path, "/l");
    // A string in the ELF header, in bytes that the kernel ignores.
    let changed = with(&link_dir, &original, 8, b"/ld.so\0\0");
    let changed = with(
        &link_dir,
        &changed,
        header + OF_64.p_offset as u64,
        &8_u64.to_le_bytes(),
    );
    let changed = with(
        &link_dir,
        &changed,
        header + OF_64.p_filesz as u64,
        &8_u64.to_le_bytes(),
    );
    assert_eq!(changed.elf.interp.as_ref().unwrap().path, "/ld.so");
    let edited = changed.edit(&wanted, Visibility::Hidden).unwrap();
    let headers = original.elf.phoff + original.elf.program_headers.len() as u64;
    let mut texts = edited.changes.list.iter();
    assert!(texts.all(|one| one.kind != EditKind::Text || one.offset >= headers));
    assert_eq!(edited.elf.interp.unwrap().path, "/l");
}

#[test]
fn a_string_in_spare_entries_outlives_strip() {
    let mut tight = 0;
    for linker in Linker::installed() {
        let link_dir = LinkDir::new(Arch::X86_64);
        let layout = Layout {
            separate_code: false,
            ..Layout::usual(linker)
        };
        let path = link_dir.link("app/libsubject.so", &layout);
        let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
        let original = Original::read(&path);
        let mut bytes = original.bytes.clone();
        without_unused_header(&original, &mut bytes);
        fs::write(&path, bytes).unwrap();
        let original = Original::read(&path);
        // There is no room for two of these.
        let len = original.largest(Visibility::Hidden) * 2 / 3;
        if len <= link_dir.dir.path("l").as_os_str().len() {
            continue;
        }
        let [libs, _] = NEEDS.map(|need| link_dir.library_directory(need, len, "l"));
        let wrap = || link_dir.dir.wrap(&[&"--paths", &path, &"--libs", &libs]);
        let report = wrap();
        let texts = edited(&report).edits.iter();
        let mut texts = texts.filter(|edit| edit.kind == sidecar::EditKind::Text);
        let (_, dynamic) = original.elf.loaded_dynamic().unwrap();
        let in_dynamic =
            |edit: &FileEdit| (dynamic.offset..dynamic.file_end()).contains(&edit.offset);
        tight += usize::from(texts.all(in_dynamic));
        let stripped = Command::new("strip").arg(&path).status().unwrap();
        assert!(stripped.success());

        // The sidecar is not valid any more.
        let report = wrap();
        let plan = edited(&report);
        assert!(
            plan.links().is_none() && plan.search == [libs.as_os_str()],
            "{linker:?}"
        );
        assert!(
            run(Arch::X86_64, &main).unwrap().status.success(),
            "{linker:?}"
        );
        assert_eq!(*reason(&wrap(), Status::Skipped), SkipReason::Edited.into());
    }
    // Only mold leaves no other room, and it may not be installed.
    let expected = Linker::installed().any(|linker| linker == Linker::Mold);
    assert_eq!(tight > 0, expected);
}
