//! Damaged and malicious files: each is refused with a reason, without a panic, and unchanged.

use std::fs;
use std::path::Path;

use elf_file::{Elf, Source};
use object::elf;
use wrap_buddy::plan::outcome::Status;

use crate::fixture::*;
use e2e::check::segments;
use e2e::offsets::{E_ENTRY, OF_64};

/// Asserts that wrapping a file with these `bytes` does not panic, and does not change it unless it is wrapped.
fn survives(dir: &TestDir, path: &Path, bytes: &[u8]) -> Status {
    fs::write(path, bytes).unwrap();
    let report = dir.wrap(&[&"--paths", &path, &"-j", &"1"]);
    let status = only(&report).status;
    if status == Status::Wrapped {
        assert_eq!(fs::metadata(path).unwrap().len(), bytes.len() as u64);
        fs::remove_file(&report.files[0].plan.as_ref().unwrap().sidecar_path).unwrap();
    } else {
        assert_eq!(fs::read(path).unwrap(), bytes);
        assert!(report.files[0].reason.is_some());
    }
    status
}

fn program(dir: &TestDir, target: Arch) -> Vec<u8> {
    let path = dir.compile(target, "program", "int main(void) { return 0; }", &["-s"]);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

#[test]
fn every_truncation_of_the_headers() {
    let dir = TestDir::new();
    let path = dir.path("cut");
    let bytes = program(&dir, Arch::X86_64);
    assert_eq!(survives(&dir, &path, &bytes), Status::Wrapped);
    let headers = OF_64.ehdr_len + OF_64.phdr_len * usize::from(bytes[OF_64.e_phnum]);
    // After .dynamic and the data, there are only sections that are not loaded.
    let loaded = dynamic_range(&bytes).end;
    for len in (0..headers).chain((headers..loaded).step_by(509)) {
        assert_ne!(
            survives(&dir, &path, &bytes[..len]),
            Status::Wrapped,
            "{len} bytes"
        );
    }
}

#[test]
fn changed_bytes_anywhere_in_the_first_page_and_in_dynamic() {
    for target in [Arch::X86_64, Arch::I686] {
        let dir = TestDir::new();
        let path = dir.path("changed");
        let bytes = program(&dir, target);
        let dynamic = dynamic_range(&bytes);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut refused = 0;
        for round in 0..600 {
            let mut changed = bytes.clone();
            for _ in 0..1 + round % 4 {
                let at = match round % 3 {
                    0 => random.below(4096),
                    1 => random.below(0x300),
                    _ => dynamic.start + random.below(dynamic.len()),
                };
                let value = random.next();
                changed[at] = if value & 1 == 0 {
                    0xff
                } else {
                    (value >> 8) as u8
                };
            }
            refused += usize::from(survives(&dir, &path, &changed) != Status::Wrapped);
        }
        assert!(
            refused > 50,
            "{}: only {refused} were refused",
            target.name()
        );
    }
}

/// The range of .dynamic in the file, by its program header.
pub fn dynamic_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let mut all = segments(bytes).into_iter();
    all.find(|one| one.kind == object::elf::PT_DYNAMIC)
        .unwrap()
        .file
}

#[test]
fn absurd_headers_are_refused_without_reading_much() {
    let dir = TestDir::new();
    let path = dir.path("absurd");
    let bytes = program(&dir, Arch::X86_64);
    let with = |at: usize, value: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + value.len()].copy_from_slice(value);
        changed
    };
    let max = u64::MAX.to_le_bytes();
    for (what, changed) in [
        ("e_phoff", with(OF_64.e_phoff, &max)),
        ("e_phnum", with(OF_64.e_phnum, &[0xff, 0xff])),
        ("many e_phnum", with(OF_64.e_phnum, &[0xfe, 0xff])),
        ("e_phentsize", with(OF_64.e_phentsize, &[1, 0])),
        ("e_entry", with(E_ENTRY, &max)),
    ] {
        assert_eq!(survives(&dir, &path, &changed), Status::Failed, "{what}");
    }
}

#[test]
fn number_of_libraries_that_a_file_names_is_limited() {
    let dir = TestDir::new();
    let read = |number: usize, tag: u32| {
        let filtees: Vec<String> = (0..number).map(|n| format!("-Wl,-f,l{n}.so")).collect();
        let mut flags: Vec<&str> = filtees.iter().map(String::as_str).collect();
        flags.extend(["-shared", "-nostdlib"]);
        let path = dir.compile(Arch::X86_64, "libmany.so", "", &flags);
        let mut bytes = fs::read(&path).unwrap();
        let range = dynamic_range(&bytes);
        for entry in bytes[range].chunks_exact_mut(16) {
            if entry[..8] == u64::from(elf::DT_AUXILIARY).to_le_bytes() {
                entry[..8].copy_from_slice(&u64::from(tag).to_le_bytes());
            }
        }
        fs::write(&path, bytes).unwrap();
        Elf::read(&mut Source::open(&path).unwrap())
    };
    for (tag, name) in [(elf::DT_NEEDED, "DT_NEEDED"), (elf::DT_FILTER, "DT_FILTER")] {
        assert!(read(4096, tag).is_ok(), "{name}");
        let error = format!("{:#}", read(4097, tag).unwrap_err());
        assert!(error.contains(&format!("too many {name}")), "{error}");
    }
}

/// Without the first PT_INTERP, the kernel would use the second.
#[test]
fn a_program_with_two_interpreters() {
    let dir = TestDir::new();
    let path = dir.path("program");
    let mut bytes = program(&dir, Arch::X86_64);
    // PT_GNU_STACK becomes another PT_INTERP.
    let mut all = segments(&bytes).into_iter();
    let stack = all
        .find(|one| one.kind == object::elf::PT_GNU_STACK)
        .unwrap();
    bytes[stack.header_at..][..4].copy_from_slice(&object::elf::PT_INTERP.to_le_bytes());
    assert_eq!(survives(&dir, &path, &bytes), Status::Failed);
}

#[test]
fn hostile_sidecars_next_to_a_program() {
    let dir = TestDir::new();
    let main = dir.path("main");
    let bytes = program(&dir, Arch::X86_64);
    fs::write(&main, &bytes).unwrap();
    let report = dir.wrap(&[&"--paths", &main]);
    let sidecar_path = wrapped(&report).sidecar_path.clone();
    let sidecar = fs::read(&sidecar_path).unwrap();
    let checked = sidecar::checked_part(&sidecar).unwrap().len();
    let after = fs::read(&main).unwrap();
    let mut random = Random(1);
    for round in 0..300 {
        let mut changed = sidecar.clone();
        let at = random.below(changed.len());
        changed[at] ^= 1 << (round % 8);
        // Next to the original, a valid sidecar is a leftover, and any other is left alone.
        fs::write(&main, &bytes).unwrap();
        fs::write(&sidecar_path, &changed).unwrap();
        let report = dir.wrap(&[&"--paths", &main]);
        if sidecar::Sidecar::parse(&changed).is_err() {
            let why = reason(&report, Status::Failed);
            let is_unknown = matches!(
                why,
                Reason::Refusal(Refusal::Unusable(Unusable::UnknownSidecar { .. }))
            );
            assert!(is_unknown, "{why}");
            assert!(fs::read(&main).unwrap() == bytes);
            assert!(fs::read(&sidecar_path).unwrap() == changed);
            fs::write(&main, &after).unwrap();
            let report = dir.wrap(&[&"--paths", &main]);
            reason(&report, Status::Failed);
            assert!(fs::read(&main).unwrap() == after);
            assert!(fs::read(&sidecar_path).unwrap() == changed);
            continue;
        }
        wrapped(&report);
        assert!(
            fs::read(&main).unwrap() == after,
            "byte {at} of the sidecar"
        );
        assert!(
            fs::read(&sidecar_path).unwrap() == sidecar,
            "byte {at} of the sidecar"
        );
        // Next to the wrapped program, it is never a reason to write.
        fs::write(&sidecar_path, &changed).unwrap();
        let report = dir.wrap(&[&"--paths", &main]);
        // Other paths are other settings.
        let is_text = at >= sidecar::CHECKED_FROM + checked;
        assert!(is_text || only(&report).status != Status::Wrapped);
        assert!(fs::read(&main).unwrap() == after);
    }
}

fn fix_checksum(bytes: &mut [u8]) {
    let sum = sidecar::checksum_of(bytes).unwrap();
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// The sum of such an offset and a length overflowed once.
#[test]
fn a_sidecar_with_an_edit_at_the_end_of_all_offsets() {
    // The offset of the first edit, after the fixed part.
    const OFFSET: std::ops::Range<usize> = 48..56;
    let dir = TestDir::new();
    let main = dir.path("main");
    fs::write(&main, program(&dir, Arch::X86_64)).unwrap();
    let report = dir.wrap(&[&"--paths", &main, &"--strategy", &"inplace"]);
    let sidecar_path = only(&report).plan.as_ref().unwrap().sidecar_path.clone();
    let edited = fs::read(&main).unwrap();
    let mut sidecar = fs::read(&sidecar_path).unwrap();
    // The second is a valid offset, though not in any real file.
    for (offset, is_one) in [(u64::MAX, false), (u64::MAX >> 1, true)] {
        sidecar[OFFSET].copy_from_slice(&offset.to_le_bytes());
        fix_checksum(&mut sidecar);
        assert_eq!(sidecar::InPlace::parse(&sidecar).is_ok(), is_one);
        fs::write(&sidecar_path, &sidecar).unwrap();
        let report = dir.wrap(&[&"--paths", &main, &"--dry-run"]);
        assert_eq!(report.files.len(), 1);
        assert!(fs::read(&main).unwrap() == edited);
    }
}

#[test]
fn paths_that_are_not_regular_files() {
    let dir = TestDir::new();
    let fifo = dir.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        *reason(&dir.wrap(&[&"--paths", &fifo]), Status::Skipped),
        SkipReason::NotRegular.into()
    );
    let report = dir.wrap(&[&"--paths", &"/dev/zero"]);
    assert_eq!(
        *reason(&report, Status::Skipped),
        SkipReason::NotRegular.into()
    );
}

#[test]
fn a_library_directory_of_garbage() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    let good = fs::read(of_foo.join("libfoo.so.1")).unwrap();
    let garbage = dir.path("garbage");
    fs::create_dir(&garbage).unwrap();
    for content in [&b""[..], b"\x7fELF", &good[..64], &good[..500]] {
        fs::write(garbage.join("libfoo.so.1"), content).unwrap();
        let report = dir.wrap(&[
            &"--paths",
            &main,
            &"--libs",
            &garbage,
            &of_foo,
            &of_bar,
            &"--dry-run",
        ]);
        let plan = only(&report).plan.as_ref().unwrap();
        assert_eq!(
            plan.search,
            [of_foo.clone(), of_bar.clone()],
            "{} bytes",
            content.len()
        );
    }
}
