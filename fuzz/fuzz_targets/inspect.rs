//! Reads arbitrary bytes as an ELF file, with everything that planner and resolver ask for, and as an ld.so.cache.
#![no_main]

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fs;

use elf_file::{Elf, Identity, Source, has_property, identify, paddings, relocates};
use elf_file::{sections, zeros_after};
use ldso::Interpreter;
use ldso::cache::Cache;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(cache) = Cache::parse(bytes) {
        cache.lookup(OsStr::new("libc.so.6"), &[0], &[], &[]);
    }
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(fuzz::directory);
        // The file name of glibc's dynamic linker, so that its directories are searched for.
        let path = directory.path().join("ld-linux-x86-64.so.2");
        fs::write(&path, bytes).expect("a file in memory");
        let mut source = Source::open(&path).expect("just written");
        let identity = identify(&mut source).expect("the file is there");
        let is_elf = matches!(
            identity,
            Identity::Elf {
                little_endian: true,
                ..
            }
        );
        if is_elf && let Ok(elf) = Elf::read(&mut source) {
            look_at(&elf, &mut source);
            if let Ok(interpreter) = Interpreter::open(&path) {
                interpreter.built_in();
            }
        }
    });
});

fn look_at(elf: &Elf, source: &mut Source) {
    for section in sections(elf, source).unwrap_or_default() {
        elf.offset_of(section.offset);
    }
    for load in elf.loads() {
        if let Ok(zeros) = zeros_after(elf, load, source) {
            assert!(load.file_end() + zeros <= source.file_len());
        }
    }
    for room in paddings(elf, source).unwrap_or_default() {
        let bytes = source.read_raw(room.offset, room.len);
        assert!(
            bytes
                .expect("a room is in the file")
                .iter()
                .all(|&byte| byte == 0)
        );
    }
    let _ = relocates(elf, &(elf.entry..elf.entry.saturating_add(200)), source);
    if let Some(arch) = elf.target().arch()
        && let Some(protection) = &arch.branch_protection
    {
        let _ = has_property(elf, protection, source);
    }
    if let Some((dynamic, segment)) = elf.loaded_dynamic() {
        assert!(segment.file_end() <= source.file_len());
        let entries = segment.file_len as usize / (2 * elf.word());
        assert!(dynamic.end() < entries);
        assert!(dynamic.free_entries().iter().all(|&entry| entry < entries));
        dynamic.search_path();
    }
}
