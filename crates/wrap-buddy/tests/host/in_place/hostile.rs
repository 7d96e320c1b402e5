//! Damaged libraries, and damaged sidecars next to libraries: no panic, no change of size, and no change after a refusal.

use std::fs;
use std::path::PathBuf;

use e2e::offsets::OF_64;
use elf_file::{Elf, Source};
use object::elf;
use sidecar::{InPlace, InPlaceDraft, Written};
use wrap_buddy::plan::outcome::Status;

use super::memory::Memory;
use super::subjects::{Layout, LinkDir};
use crate::fixture::*;
use crate::hostile::dynamic_range;

/// A library in a directory of its own.
struct Victim {
    link_dir: LinkDir,
    target: Arch,
    path: PathBuf,
    sidecar: PathBuf,
    good: Vec<u8>,
}

impl Victim {
    fn new(target: Arch, linker: Linker) -> Self {
        let link_dir = LinkDir::new(target);
        let path = link_dir.link("app/libsubject.so", &Layout::usual(linker));
        Self {
            target,
            sidecar: path.with_file_name(".libsubject.so.wrapbuddy"),
            good: fs::read(&path).unwrap(),
            path,
            link_dir,
        }
    }

    fn run(&self) -> Status {
        let report = self.link_dir.dir.wrap_for(
            self.target,
            &self.path,
            &[&"--libs", &self.link_dir.dir.root, &"-j", &"1"],
        );
        only(&report).status
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// Asserts that these `bytes` are either edited completely or unchanged.
    fn survives(&self, bytes: &[u8], what: &str) -> Status {
        fs::write(&self.path, bytes).unwrap();
        let status = self.run();
        if status != Status::Edited {
            assert!(self.bytes() == bytes, "{what}");
            assert!(!self.sidecar.exists(), "{what}");
            return status;
        }
        let after = self.bytes();
        assert_eq!(after.len(), bytes.len(), "{what}");
        let sidecar = fs::read(&self.sidecar).unwrap();
        let mut restored = after.clone();
        for one in InPlace::parse(&sidecar).unwrap().edits() {
            let place = one.edit.offset as usize..one.edit.end().unwrap() as usize;
            restored[place].copy_from_slice(one.edit.original);
        }
        assert!(restored == bytes, "{what}: not undone");
        self.is_found_in_memory(bytes, &after, what);
        fs::remove_file(&self.sidecar).unwrap();
        let links = self.path.with_file_name(".libsubject.so.wrapbuddy.d");
        if links.exists() {
            fs::remove_dir_all(links).unwrap();
        }
        status
    }

    /// If a machine would have loaded the damaged library, it finds the search path in the edited one, and everything else
    /// unchanged.
    fn is_found_in_memory(&self, before: &[u8], after: &[u8], what: &str) {
        let read = |bytes: &[u8]| {
            let path = self.link_dir.dir.write("read", bytes);
            Elf::read(&mut Source::open(&path).unwrap()).unwrap()
        };
        let (original, edited) = (read(before), read(after));
        let Some(of_original) = Memory::of(&original, before, 4096) else {
            return;
        };
        let in_memory = Memory::of(&edited, after, 4096).unwrap();
        let changed = of_original.differences(&in_memory);
        let changed = changed.unwrap_or_else(|at| panic!("{what}: {at:#x} is not of the file"));
        let planned = |&at: &u64| before[at as usize] != after[at as usize];
        assert!(changed.iter().all(planned), "{what}");
        let dynamic = edited.dynamic.as_ref().unwrap();
        let tag = dynamic.value(dynamic.search_tag(false)).unwrap();
        let strings = dynamic.value(elf::DT_STRTAB).unwrap();
        let mask = if edited.word() == 8 {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        let found = in_memory.string(strings.wrapping_add(tag) & mask);
        let search = dynamic.search_path().unwrap().as_encoded_bytes();
        assert!(found.as_deref() == Some(search), "{what}: {found:?}");
    }
}

#[test]
fn every_truncation_of_a_library() {
    let victim = Victim::new(Arch::X86_64, Linker::Bfd);
    assert_eq!(victim.survives(&victim.good, "whole"), Status::Edited);
    let headers = OF_64.ehdr_len + OF_64.phdr_len * usize::from(victim.good[OF_64.e_phnum]);
    let loaded = dynamic_range(&victim.good).end;
    for len in (0..headers)
        .step_by(3)
        .chain((headers..loaded).step_by(509))
    {
        let status = victim.survives(&victim.good[..len], &format!("{len} bytes"));
        assert_ne!(status, Status::Edited, "{len} bytes");
    }
}

/// Changes bytes on which a plan depends: headers, .dynamic, section headers.
fn changed_bytes(target: Arch, linker: Linker) {
    let victim = Victim::new(target, linker);
    let good = &victim.good;
    let elf = Elf::read(&mut Source::open(&victim.path).unwrap()).unwrap();
    let dynamic = dynamic_range(good);
    let (shoff, shentsize, shnum) = elf.sections;
    let sections = shoff as usize..(shoff + shentsize * shnum) as usize;
    let headers = 0..elf.phoff as usize + elf.program_headers.len();
    let places = [headers, dynamic, sections, 0..4096];
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(target.machine()));
    let mut count = [0, 0];
    for round in 0..600 {
        let place = &places[round % places.len()];
        let mut changed = good.clone();
        let mut at = Vec::new();
        for _ in 0..1 + round % 3 {
            at.push(place.start + random.below(place.len()));
            changed[at[at.len() - 1]] = match random.below(4) {
                0 => 0xff,
                1 => 0,
                2 => 1 << random.below(8),
                _ => random.below(256) as u8,
            };
        }
        let what = format!("{} {linker:?} round {round}, bytes {at:x?}", target.name());
        let edited = victim.survives(&changed, &what) == Status::Edited;
        count[usize::from(edited)] += 1;
    }
    let [refused, edited] = count;
    assert!(
        refused > 50 && edited > 50,
        "{refused} refused, {edited} edited"
    );
}

#[test]
fn changed_bytes_of_a_64_bit_library() {
    changed_bytes(Arch::X86_64, Linker::Bfd);
}

#[test]
fn changed_bytes_of_a_32_bit_library() {
    changed_bytes(Arch::I686, Linker::Bfd);
}

#[test]
fn changed_bytes_of_a_library_by_lld() {
    changed_bytes(Arch::X86_64, Linker::Lld);
}

#[test]
fn hostile_sidecars_next_to_a_library() {
    let victim = Victim::new(Arch::X86_64, Linker::Bfd);
    let original = &victim.good;
    assert_eq!(victim.run(), Status::Edited);
    let edited = victim.bytes();
    let sidecar = fs::read(&victim.sidecar).unwrap();
    let checked = sidecar::checked_part(&sidecar).unwrap().len();
    let main = victim
        .link_dir
        .program_that_loads("app/libsubject.so", Linker::Bfd);
    let mut random = Random(7);
    for round in 0..120 {
        let mut damaged = sidecar.clone();
        let at = random.below(damaged.len());
        damaged[at] ^= 1 << (round % 8);
        // Next to the original, a valid sidecar is a leftover, and any other is left alone.
        fs::write(&victim.path, original).unwrap();
        fs::write(&victim.sidecar, &damaged).unwrap();
        if InPlace::parse(&damaged).is_err() {
            for library in [original, &edited] {
                fs::write(&victim.path, library).unwrap();
                assert_eq!(victim.run(), Status::Failed, "byte {at}");
                assert!(victim.bytes() == *library, "byte {at} of the sidecar");
                assert!(fs::read(&victim.sidecar).unwrap() == damaged, "byte {at}");
            }
            continue;
        }
        assert_eq!(victim.run(), Status::Edited, "byte {at}");
        assert!(victim.bytes() == edited, "byte {at} of the sidecar");
        assert!(
            fs::read(&victim.sidecar).unwrap() == sidecar,
            "byte {at} of the sidecar"
        );
        // Next to the edited library, it is no reason to write, unless it has another path.
        fs::write(&victim.sidecar, &damaged).unwrap();
        let is_text = at >= sidecar::CHECKED_FROM + checked;
        let status = victim.run();
        assert!(is_text || status == Status::Skipped, "byte {at}");
        assert!(victim.bytes() == edited, "byte {at} of the sidecar");
    }
    assert!(run(Arch::X86_64, &main).unwrap().status.success());
}

#[test]
fn the_sidecar_of_another_file() {
    let victim = Victim::new(Arch::X86_64, Linker::Bfd);
    let other = Victim::new(Arch::X86_64, Linker::Lld);
    let program = {
        let dir = TestDir::new();
        let main = dir.walk_through(Arch::X86_64, &[]);
        let report = dir.wrap_with_libs(Arch::X86_64, &main, &[]);
        fs::read(&wrapped(&report).sidecar_path).unwrap()
    };
    assert_eq!(other.run(), Status::Edited);
    let library = fs::read(&other.sidecar).unwrap();
    for foreign in [library, program, Vec::new()] {
        fs::write(&victim.path, &victim.good).unwrap();
        fs::write(&victim.sidecar, &foreign).unwrap();
        assert_eq!(victim.run(), Status::Edited);
        assert!(fs::read(&victim.sidecar).unwrap() != foreign);
        fs::remove_file(&victim.sidecar).unwrap();
        let edited = victim.bytes();
        fs::write(&victim.path, &victim.good).unwrap();
        assert_eq!(victim.run(), Status::Edited);
        assert!(
            victim.bytes() == edited,
            "a foreign sidecar made a difference"
        );
    }
}

/// A sidecar with the identity of the file and arbitrary edits. Edits outside the file cause neither a panic nor a write there.
#[test]
fn forged_sidecars_next_to_a_library() {
    let victim = Victim::new(Arch::X86_64, Linker::Bfd);
    assert_eq!(victim.run(), Status::Edited);
    let edited = victim.bytes();
    let sidecar = fs::read(&victim.sidecar).unwrap();
    let record = InPlace::parse(&sidecar).unwrap();
    let own: Vec<Written<'_>> = record.edits().collect();
    let len = edited.len() as u64;
    let zeros = [0; 64];
    let mut random = Random(11);
    for round in 0..150 {
        let mut edits = own.clone();
        let index = random.below(edits.len());
        let offsets = [
            len,
            len - 1,
            len - 63,
            u64::MAX - 64,
            u64::MAX / 2,
            random.below(64) as u64,
        ];
        let mut forged = edits[index];
        forged.edit.offset = offsets[round % offsets.len()];
        let side = random.below(64);
        (forged.edit.original, forged.written) = (&zeros[..side], &zeros[..side]);
        match round % 3 {
            0 => edits[index] = forged,
            1 => edits.push(forged),
            _ => edits.insert(0, forged),
        }
        let draft = InPlaceDraft {
            machine: record.machine,
            class: record.class,
            tool: sidecar::ToolVersion::default(),
            id: record.id,
            edits: &edits,
            links: &[b"..", b"a/b", b"libdep0.so"],
        };
        let mut bytes = vec![0; draft.encoded_len()];
        draft.encode(&mut bytes).unwrap();
        fs::write(&victim.path, &edited).unwrap();
        fs::write(&victim.sidecar, &bytes).unwrap();
        victim.run();
        assert_eq!(victim.bytes().len() as u64, len, "round {round}");
        assert!(victim.link_dir.dir.path("libdep0.so").is_file());
    }
}
