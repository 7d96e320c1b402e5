//! A file that a wrapped program needs is missing or invalid: it prints a line that names the file and exits with 127, without a
//! signal.

use std::fs;

use e2e::check::{segments, sidecar_of};
use e2e::offsets::{E_MACHINE, E_TYPE, OF_32, OF_64};
use e2e::{Arch, Build, Sample, Variant, matrix, source, toolchain};
use object::elf;

matrix!(all:
    sidecar_missing, sidecar_empty, sidecar_truncated, sidecar_garbage, sidecar_of_another_program,
    sidecar_of_another_version, sidecar_is_a_directory,
    loader_missing, loader_empty, loader_truncated, loader_garbage, loader_of_another_architecture,
    loader_is_a_directory,
    interpreter_missing, interpreter_empty, interpreter_not_elf, interpreter_of_another_machine,
    interpreter_truncated, interpreter_is_a_program, interpreter_with_absurd_headers,
    sidecar_with_a_changed_byte,
);

fn sidecar_missing(variant: Variant) {
    let sample = Sample::new(variant);
    fs::remove_file(sample.root.path(&sidecar_of(&sample.program))).expect("there was a sidecar");
    let line = refuses(&sample, &sidecar_of(&sample.program));
    assert!(
        line.contains(": no sidecar: does not exist; put it back"),
        "{line}"
    );
    // It does not start under another name or without /proc either.
    sample
        .root
        .install(&sample.root.path(&sample.program), "/srv/copy");
    sample
        .root
        .command("/srv/copy")
        .output()
        .refuses(&[".program.wrapbuddy"]);
    sample
        .command()
        .without_proc()
        .output()
        .refuses(&[".program.wrapbuddy"]);
}

fn sidecar_empty(variant: Variant) {
    with_sidecar(variant, |_| Vec::new());
}

fn sidecar_truncated(variant: Variant) {
    for part in [1, 2, 3] {
        with_sidecar(variant, |sidecar| {
            sidecar[..sidecar.len() * part / 4].to_vec()
        });
    }
    with_sidecar(variant, |sidecar| sidecar[..sidecar.len() - 1].to_vec());
    with_sidecar(variant, |sidecar| sidecar[..sidecar::HEADER_LEN].to_vec());
}

fn sidecar_garbage(variant: Variant) {
    with_sidecar(variant, |sidecar| vec![0x5a; sidecar.len()]);
    // A valid beginning, with spans that point outside the file.
    with_sidecar(variant, |sidecar| {
        [&sidecar[..40], &vec![0xff; sidecar.len() - 40]].concat()
    });
}

fn sidecar_of_another_program(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.install(
        &Build::program(variant, source("hello.c")).build(),
        "/app/other",
    );
    sample.root.wrap("/app/other").run();
    let path = sidecar_of(&sample.program);
    sample
        .root
        .write(&path, sample.root.read(&sidecar_of("/app/other")));
    refuses(&sample, &path);
}

fn sidecar_of_another_version(variant: Variant) {
    with_sidecar(variant, |sidecar| {
        let mut newer = sidecar.to_vec();
        newer[7] += 1;
        newer
    });
}

fn sidecar_is_a_directory(variant: Variant) {
    let sample = Sample::new(variant);
    let path = sidecar_of(&sample.program);
    fs::remove_file(sample.root.path(&path)).expect("there was a sidecar");
    sample.root.mkdir(&path);
    refuses(&sample, &path);
}

fn sidecar_with_a_changed_byte(variant: Variant) {
    let sample = Sample::new(variant);
    let path = sidecar_of(&sample.program);
    let good = sample.root.read(&path);
    let header = 0..sidecar::HEADER_LEN;
    let text = sidecar::CHECKED_FROM + sidecar::checked_part(&good).expect("whole").len();
    for at in header.chain((sidecar::HEADER_LEN..text).step_by(19)) {
        let mut bad = good.clone();
        bad[at] ^= 0x80 >> (at % 8);
        sample.root.write(&path, &bad);
        refuses(&sample, &path);
    }
}

fn loader_missing(variant: Variant) {
    let sample = Sample::new(variant);
    fs::remove_file(sample.root.path(&sample.loader())).expect("there was a loader");
    refuses(&sample, &sample.loader());
}

fn loader_empty(variant: Variant) {
    with_loader(variant, |_| Vec::new());
}

fn loader_truncated(variant: Variant) {
    // The last byte is zero, so a file without it reads the same.
    for len in [1, 20, 2048, 4094] {
        with_loader(variant, |loader| loader[..len].to_vec());
    }
}

fn loader_garbage(variant: Variant) {
    with_loader(variant, |loader| vec![0x90; loader.len()]);
}

fn loader_of_another_architecture(variant: Variant) {
    for other in Arch::ALL {
        if other != variant.arch {
            let stage = stages::for_machine(other.machine()).expect("every architecture is built");
            with_loader(variant, |_| stage.loader.to_vec());
        }
    }
}

fn loader_is_a_directory(variant: Variant) {
    let sample = Sample::new(variant);
    fs::remove_file(sample.root.path(&sample.loader())).expect("there was a loader");
    sample.root.mkdir(&sample.loader());
    refuses(&sample, &sample.loader());
}

fn interpreter_missing(variant: Variant) {
    let line = with_interpreter(variant, |_| None);
    assert!(
        line.contains(": cannot load: does not exist; wrap"),
        "{line}"
    );
}

fn interpreter_empty(variant: Variant) {
    with_interpreter(variant, |_| Some(Vec::new()));
}

fn interpreter_not_elf(variant: Variant) {
    with_interpreter(variant, |_| Some(b"#!/bin/sh\nexit 0\n".repeat(500)));
    with_interpreter(variant, |_| Some(b"\x7fELF".to_vec()));
}

fn interpreter_of_another_machine(variant: Variant) {
    for other in Arch::ALL {
        if other != variant.arch {
            let foreign = other
                .find_library(other.ld_so())
                .expect("a cross toolchain's ld.so");
            with_interpreter(variant, |_| Some(fs::read(&foreign).expect("readable")));
        }
    }
    // The right class, and a machine that does not exist.
    with_interpreter(variant, |file| {
        let mut other = file.to_vec();
        other[E_MACHINE] ^= 0x40;
        Some(other)
    });
}

fn interpreter_truncated(variant: Variant) {
    for len in [64, 1000, 4096, 100_000] {
        with_interpreter(variant, |file| Some(file[..len].to_vec()));
    }
}

fn interpreter_is_a_program(variant: Variant) {
    with_interpreter(variant, |file| {
        let mut program = file.to_vec();
        program[E_TYPE] = elf::ET_EXEC as u8;
        Some(program)
    });
}

fn interpreter_with_absurd_headers(variant: Variant) {
    let (word, offsets) = match variant.arch.is_64() {
        true => (8, &OF_64),
        false => (4, &OF_32),
    };
    let header_edits: [(usize, &[u8]); 6] = [
        (offsets.e_phnum, &[0, 0]),
        (offsets.e_phnum, &[0xff, 0xff]),
        (offsets.e_phentsize, &[1, 0]),
        (offsets.e_phentsize, &[0xff, 0xff]),
        (offsets.e_phoff, &[0xff, 0xff, 0xff, 0x7f]),
        (offsets.e_phoff, &[0xf0, 0xff, 0xff, 0xff]),
    ];
    for (at, bytes) in header_edits {
        with_interpreter(variant, |file| {
            let mut absurd = file.to_vec();
            absurd[at..at + bytes.len()].copy_from_slice(bytes);
            Some(absurd)
        });
    }
    // In a PT_LOAD.
    let huge = |top: u8| [&vec![0xff; word - 1][..], &[top]].concat();
    let cases = [
        (offsets.p_offset, huge(0x7f)),
        (offsets.p_offset, huge(0xff)),
        (offsets.p_vaddr, huge(0x7f)),
        (offsets.p_vaddr, huge(0xff)),
        (offsets.p_filesz, huge(0x7f)),
        (offsets.p_filesz, huge(0xff)),
        (offsets.p_memsz, huge(0x7f)),
        (offsets.p_memsz, huge(0xff)),
    ];
    for (field, value) in &cases {
        for last in [false, true] {
            with_interpreter(variant, |file| {
                let mut loads = segments(file);
                loads.retain(|segment| segment.kind == elf::PT_LOAD);
                let load = if last { loads.last() } else { loads.first() };
                let at = load.expect("ld.so has segments").header_at + field;
                let mut absurd = file.to_vec();
                absurd[at..at + word].copy_from_slice(value);
                Some(absurd)
            });
        }
    }
    // Without any PT_LOAD.
    with_interpreter(variant, |file| {
        let mut absurd = file.to_vec();
        for load in segments(file)
            .iter()
            .filter(|segment| segment.kind == elf::PT_LOAD)
        {
            absurd[load.header_at] = elf::PT_NOTE as u8;
        }
        Some(absurd)
    });
}

#[track_caller]
fn refuses(sample: &Sample, file: &str) -> String {
    sample.command().output().refuses(&[file])
}

#[track_caller]
fn with_sidecar(variant: Variant, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let sample = Sample::new(variant);
    let path = sidecar_of(&sample.program);
    let changed = change(&sample.root.read(&path));
    sample.root.write(&path, changed);
    refuses(&sample, &path);
}

#[track_caller]
fn with_loader(variant: Variant, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let sample = Sample::new(variant);
    let changed = change(&sample.root.read(&sample.loader()));
    sample.root.write(&sample.loader(), changed);
    refuses(&sample, &sample.loader());
}

/// Wraps with a copy of the real dynamic linker, then replaces that by another file or removes it.
#[track_caller]
fn with_interpreter(variant: Variant, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> String {
    let sample = Sample::unwrapped(variant);
    let real = sample.root.lookup(&sample.interpreter());
    let path = format!("/srv/{}", toolchain::file_name(&real));
    let good = fs::read(&real).expect("the real ld.so");
    sample.root.write(&path, &good);
    sample.wrapping().interpreter(&path).run();
    sample.run();
    fs::remove_file(sample.root.path(&path)).expect("written above");
    if let Some(changed) = change(&good) {
        sample.root.write(&path, changed);
    }
    refuses(&sample, &path)
}
