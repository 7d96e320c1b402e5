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
    Needed::sidecar(variant).refuses_each([Vec::new()]);
}

fn sidecar_truncated(variant: Variant) {
    let needed = Needed::sidecar(variant);
    let len = needed.good.len();
    let lengths = [len / 4, len / 2, len * 3 / 4, len - 1, sidecar::HEADER_LEN];
    needed.refuses_each(lengths.map(|len| needed.good[..len].to_vec()));
}

fn sidecar_garbage(variant: Variant) {
    let needed = Needed::sidecar(variant);
    let len = needed.good.len();
    // A valid beginning, with spans that point outside the file.
    let valid_beginning = [&needed.good[..40], &vec![0xff; len - 40]].concat();
    needed.refuses_each([vec![0x5a; len], valid_beginning]);
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
    let needed = Needed::sidecar(variant);
    let mut newer = needed.good.clone();
    newer[7] += 1;
    needed.refuses_each([newer]);
}

fn sidecar_is_a_directory(variant: Variant) {
    let sample = Sample::new(variant);
    let path = sidecar_of(&sample.program);
    fs::remove_file(sample.root.path(&path)).expect("there was a sidecar");
    sample.root.mkdir(&path);
    refuses(&sample, &path);
}

fn sidecar_with_a_changed_byte(variant: Variant) {
    let needed = Needed::sidecar(variant);
    let header = 0..sidecar::HEADER_LEN;
    let checked = sidecar::checked_part(&needed.good).expect("whole");
    let text = sidecar::CHECKED_FROM + checked.len();
    let places = header.chain((sidecar::HEADER_LEN..text).step_by(19));
    needed.refuses_each(places.map(|at| {
        let mut bad = needed.good.clone();
        bad[at] ^= 0x80 >> (at % 8);
        bad
    }));
}

fn loader_missing(variant: Variant) {
    let sample = Sample::new(variant);
    fs::remove_file(sample.root.path(&sample.loader())).expect("there was a loader");
    refuses(&sample, &sample.loader());
}

fn loader_empty(variant: Variant) {
    Needed::loader(variant).refuses_each([Vec::new()]);
}

fn loader_truncated(variant: Variant) {
    // The last byte is zero, so a file without it reads the same.
    let needed = Needed::loader(variant);
    needed.refuses_each([1, 20, 2048, 4094].map(|len| needed.good[..len].to_vec()));
}

fn loader_garbage(variant: Variant) {
    let needed = Needed::loader(variant);
    needed.refuses_each([vec![0x90; needed.good.len()]]);
}

fn loader_of_another_architecture(variant: Variant) {
    Needed::loader(variant).refuses_each(others(variant.arch).map(|other| {
        let stage = stages::for_machine(other.machine()).expect("every architecture is built");
        stage.loader.to_vec()
    }));
}

fn loader_is_a_directory(variant: Variant) {
    let sample = Sample::new(variant);
    fs::remove_file(sample.root.path(&sample.loader())).expect("there was a loader");
    sample.root.mkdir(&sample.loader());
    refuses(&sample, &sample.loader());
}

fn interpreter_missing(variant: Variant) {
    let needed = Needed::interpreter(variant);
    needed.remove();
    let line = refuses(&needed.sample, &needed.path);
    assert!(
        line.contains(": cannot load: does not exist; wrap"),
        "{line}"
    );
}

fn interpreter_empty(variant: Variant) {
    Needed::interpreter(variant).refuses_each([Vec::new()]);
}

fn interpreter_not_elf(variant: Variant) {
    let script = b"#!/bin/sh\nexit 0\n".repeat(500);
    Needed::interpreter(variant).refuses_each([script, b"\x7fELF".to_vec()]);
}

fn interpreter_of_another_machine(variant: Variant) {
    let needed = Needed::interpreter(variant);
    let foreign = others(variant.arch).map(|other| {
        let foreign = other
            .find_library(other.ld_so())
            .expect("a cross toolchain's ld.so");
        fs::read(&foreign).expect("readable")
    });
    // The right class, and a machine that does not exist.
    let mut unknown = needed.good.clone();
    unknown[E_MACHINE] ^= 0x40;
    needed.refuses_each(foreign.chain([unknown]));
}

fn interpreter_truncated(variant: Variant) {
    let needed = Needed::interpreter(variant);
    needed.refuses_each([64, 1000, 4096, 100_000].map(|len| needed.good[..len].to_vec()));
}

fn interpreter_is_a_program(variant: Variant) {
    let needed = Needed::interpreter(variant);
    let mut program = needed.good.clone();
    program[E_TYPE] = elf::ET_EXEC as u8;
    needed.refuses_each([program]);
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
    let needed = Needed::interpreter(variant);
    let changed = |at: usize, bytes: &[u8]| {
        let mut absurd = needed.good.clone();
        absurd[at..at + bytes.len()].copy_from_slice(bytes);
        absurd
    };
    let mut all: Vec<Vec<u8>> = header_edits
        .iter()
        .map(|&(at, bytes)| changed(at, bytes))
        .collect();
    let mut loads = segments(&needed.good);
    loads.retain(|segment| segment.kind == elf::PT_LOAD);
    let [first, .., last] = &loads[..] else {
        panic!("ld.so has segments");
    };
    for field in [
        offsets.p_offset,
        offsets.p_vaddr,
        offsets.p_filesz,
        offsets.p_memsz,
    ] {
        for top in [0x7f, 0xff] {
            let huge = [&vec![0xff; word - 1][..], &[top]].concat();
            all.extend([first, last].map(|load| changed(load.header_at + field, &huge)));
        }
    }
    // Without any PT_LOAD.
    let mut none = needed.good.clone();
    for load in &loads {
        none[load.header_at] = elf::PT_NOTE as u8;
    }
    needed.refuses_each(all.into_iter().chain([none]));
}

fn others(arch: Arch) -> impl Iterator<Item = Arch> {
    Arch::ALL.into_iter().filter(move |other| *other != arch)
}

#[track_caller]
fn refuses(sample: &Sample, file: &str) -> String {
    sample.command().output().refuses(&[file])
}

/// A file that the wrapped sample needs.
struct Needed {
    sample: Sample,
    path: String,
    good: Vec<u8>,
}

impl Needed {
    fn sidecar(variant: Variant) -> Self {
        let sample = Sample::new(variant);
        let path = sidecar_of(&sample.program);
        Self::read(sample, path)
    }

    fn loader(variant: Variant) -> Self {
        let sample = Sample::new(variant);
        let path = sample.loader();
        Self::read(sample, path)
    }

    /// A copy of the real dynamic linker.
    fn interpreter(variant: Variant) -> Self {
        let sample = Sample::unwrapped(variant);
        let real = sample.root.lookup(&sample.interpreter());
        let path = format!("/srv/{}", toolchain::file_name(&real));
        sample
            .root
            .write(&path, fs::read(&real).expect("the real ld.so"));
        sample.wrapping().interpreter(&path).run();
        Self::read(sample, path)
    }

    fn read(sample: Sample, path: String) -> Self {
        let good = sample.root.read(&path);
        Self { sample, path, good }
    }

    fn remove(&self) {
        fs::remove_file(self.sample.root.path(&self.path)).expect("it was there");
    }

    /// Asserts that the sample refuses each of `contents` in this file, and runs with the good one again.
    #[track_caller]
    fn refuses_each(&self, contents: impl IntoIterator<Item = Vec<u8>>) {
        for content in contents {
            self.remove();
            self.sample.root.write(&self.path, content);
            refuses(&self.sample, &self.path);
        }
        self.sample.root.write(&self.path, &self.good);
        self.sample.run();
    }
}
