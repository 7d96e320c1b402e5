//! Chooses the entry slot: the bytes of the program that the stub and its trailer take.
//!
//! For each trailer from the longest to the shortest: first the entry point, which needs no other change; then the end of the entry's
//! segment with the padding after it, where e_entry is moved. A longer trailer is worth moving e_entry: with it the program finds its
//! sidecar after it was renamed or copied.
//!
//! ld.so calls the functions in DT_PREINIT_ARRAY before the entry point, also if it was started with the wrapped program as its
//! argument. On riscv64, each program has one that follows `_start` (glibc sysdeps/riscv/start.S, load_gp), so the code after it comes
//! first there. It is not the end of the segment, because strip clears the padding.

use std::ops::Range;

use anyhow::Result;
use object::elf;

use crate::plan::reason::{BadEntry, NoSlot};
use elf_file::{Elf, Segment};
use sys::arch::Arch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotPosition {
    /// At the original entry point.
    Entry,
    /// After `_start` and the functions with it; e_entry is moved there.
    AfterStart,
    /// At the end of the entry's segment; e_entry is moved there.
    SegmentEnd,
}

/// The bytes for the stub and its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub position: SlotPosition,
    /// File offset.
    pub offset: u64,
    /// Virtual address in the file.
    pub address: u64,
    /// Bytes of stub and trailer.
    pub len: u64,
    /// Bytes available.
    pub room: u64,
}

/// Properties of the file that are read only if needed.
pub trait Surroundings {
    /// Length of the zero padding after a segment's file bytes that is mapped with it and unused.
    fn zeros_after(&mut self, segment: &Segment) -> Result<u64>;
    /// Whether ld.so relocates anything in this range.
    fn relocates(&mut self, addresses: &Range<u64>) -> Result<bool>;
}

/// The executable segment that contains the entry point.
#[derive(Debug)]
pub struct PatchSpace {
    /// The address of the entry point.
    entry: u64,
    segment: Segment,
    align: u64,
    /// Ranges that the kernel or other tools read while the program is wrapped.
    kept: Vec<(Range<u64>, &'static str)>,
    check_relocations: bool,
    /// Bytes from the entry point on that should stay: see [`Arch::start_len`].
    start_len: u64,
}

impl PatchSpace {
    /// Finds the segment of e_entry.
    ///
    /// # Errors
    /// Why no stub can be placed.
    pub fn new(elf: &Elf, arch: &Arch) -> Result<Self, BadEntry> {
        let entry = elf.entry_address();
        let segment = elf.load_of(entry).ok_or(BadEntry::InNoSegment(elf.entry))?;
        // The stub reads the paths after it.
        if segment.flags & (elf::PF_X | elf::PF_R) != elf::PF_X | elf::PF_R {
            return Err(BadEntry::NotExecutable(elf.entry));
        }
        let table_end = elf.phoff + elf.program_headers.len() as u64;
        let mut kept = vec![
            (0..elf.header.len() as u64, "the ELF header"),
            (elf.phoff..table_end, "the program headers"),
        ];
        kept.extend(elf.segments.iter().filter_map(|segment| {
            let what = match segment.kind {
                elf::PT_INTERP => "PT_INTERP",
                elf::PT_DYNAMIC => ".dynamic",
                elf::PT_NOTE | elf::PT_GNU_PROPERTY => "a note",
                _ => return None,
            };
            Some((segment.offset..segment.file_end(), what))
        }));
        let dynamic = elf.dynamic.as_ref();
        let text_relocations = dynamic.is_some_and(|dynamic| dynamic.text_relocations);
        let early_functions = dynamic.and_then(|dynamic| dynamic.value(elf::DT_PREINIT_ARRAYSZ));
        Ok(Self {
            entry,
            align: arch.entry_align,
            kept,
            check_relocations: text_relocations || segment.flags & elf::PF_W != 0,
            segment: *segment,
            start_len: match early_functions.unwrap_or(0) {
                0 => 0,
                _ => arch.start_len,
            },
        })
    }

    /// File offset of the entry point.
    pub fn entry_offset(&self) -> u64 {
        self.segment.offset + (self.entry - self.segment.address)
    }

    /// PROT_READ, PROT_WRITE and PROT_EXEC of the segment.
    pub fn protection(&self) -> u32 {
        let protections = [(elf::PF_R, 1), (elf::PF_W, 2), (elf::PF_X, 4)];
        let given = protections
            .iter()
            .filter(|(flag, _)| self.segment.flags & flag != 0);
        given.map(|(_, protection)| protection).sum()
    }

    /// Whether the slot lies entirely after the segment's own bytes, so that nothing uses it.
    pub fn is_unused(&self, slot: &Slot) -> bool {
        slot.offset >= self.segment.file_end()
    }

    /// Bytes from the entry point to the end of its segment in the file.
    pub fn room_at_entry(&self) -> u64 {
        self.segment.file_end().saturating_sub(self.entry_offset())
    }

    /// The best slot for one of `lengths`, which are sorted by preference, and the index of that length.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(
        &self,
        lengths: &[u64],
        around: &mut impl Surroundings,
    ) -> Result<(Slot, usize), NoSlot> {
        let mut zeros = None;
        let mut reason = NoSlot::NoLength;
        for (index, &len) in lengths.iter().enumerate() {
            for &position in self.positions() {
                let slot = match position {
                    SlotPosition::Entry => self.at_entry(position, 0, len),
                    SlotPosition::AfterStart => self.at_entry(position, self.start_len, len),
                    SlotPosition::SegmentEnd => {
                        // With invalid section headers, nothing after the segment is known to be unused.
                        let after = || around.zeros_after(&self.segment).unwrap_or(0);
                        self.at_segment_end(len, *zeros.get_or_insert_with(after))
                    }
                };
                match slot.and_then(|slot| self.check(slot, around)) {
                    Ok(slot) => return Ok((slot, index)),
                    Err(why) => reason = why,
                }
            }
        }
        Err(reason)
    }

    /// A slot in the padding after the segment, for the first of `lengths` that fits there with `more` bytes, and the index of that length.
    pub fn after_segment(
        &self,
        lengths: &[u64],
        more: u64,
        around: &mut impl Surroundings,
    ) -> Option<(Slot, usize)> {
        let zeros = around.zeros_after(&self.segment).unwrap_or(0);
        lengths.iter().enumerate().find_map(|(index, &len)| {
            let slot = self.at_segment_end(len + more, zeros).ok()?;
            let slot = self.check(slot, around).ok()?;
            self.is_unused(&slot).then_some((slot, index))
        })
    }

    /// In order of preference.
    fn positions(&self) -> &'static [SlotPosition] {
        use SlotPosition::{AfterStart, Entry, SegmentEnd};
        match self.start_len {
            0 => &[Entry, SegmentEnd],
            _ => &[AfterStart, SegmentEnd, Entry],
        }
    }

    fn at_entry(&self, position: SlotPosition, after: u64, len: u64) -> Result<Slot, NoSlot> {
        let room = self.room_at_entry().saturating_sub(after);
        if len > room {
            return Err(NoSlot::AtEntry { len, room });
        }
        Ok(Slot {
            position,
            offset: self.entry_offset() + after,
            address: self.entry + after,
            len,
            room,
        })
    }

    fn at_segment_end(&self, len: u64, zeros: u64) -> Result<Slot, NoSlot> {
        let segment = &self.segment;
        let room = segment.file_len + zeros;
        let too_small = NoSlot::AtSegmentEnd { len, room };
        let end = segment.address.checked_add(room);
        let Some(start) = end.and_then(|end| end.checked_sub(len)) else {
            return Err(too_small);
        };
        let address = start - start % self.align;
        let into = address.checked_sub(segment.address).ok_or(too_small)?;
        Ok(Slot {
            position: SlotPosition::SegmentEnd,
            offset: segment.offset + into,
            address,
            len,
            room,
        })
    }

    fn check(&self, slot: Slot, around: &mut impl Surroundings) -> Result<Slot, NoSlot> {
        let range = slot.offset..slot.offset + slot.len;
        let covered = self
            .kept
            .iter()
            .find(|(kept, _)| kept.start < range.end && range.start < kept.end);
        if let Some((_, what)) = covered {
            return Err(NoSlot::Covers {
                len: slot.len,
                what,
            });
        }
        if self.check_relocations {
            let addresses = slot.address..slot.address + slot.len;
            let relocated = around.relocates(&addresses);
            if relocated.map_err(|error| NoSlot::Unreadable(format!("{error:#}")))? {
                return Err(NoSlot::Relocated);
            }
        }
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        zeros: u64,
        relocated: Range<u64>,
    }

    impl Surroundings for Fake {
        fn zeros_after(&mut self, _: &Segment) -> Result<u64> {
            Ok(self.zeros)
        }
        fn relocates(&mut self, addresses: &Range<u64>) -> Result<bool> {
            Ok(self.relocated.start < addresses.end && addresses.start < self.relocated.end)
        }
    }

    /// A code segment of 0x200 bytes at offset 0x1000 and address 0x401000, with the entry point 0x100 bytes into it.
    fn patch_space() -> PatchSpace {
        PatchSpace {
            entry: 0x401100,
            segment: Segment {
                kind: elf::PT_LOAD,
                flags: elf::PF_R | elf::PF_X,
                offset: 0x1000,
                address: 0x401000,
                file_len: 0x200,
                memory_len: 0x200,
                align: 0x1000,
            },
            align: 16,
            kept: vec![(0..64, "the ELF header")],
            check_relocations: false,
            start_len: 0,
        }
    }

    fn choose(
        patch_space: &PatchSpace,
        lengths: &[u64],
        zeros: u64,
    ) -> Result<(Slot, usize), NoSlot> {
        let relocated = 0..0;
        patch_space.choose(lengths, &mut Fake { zeros, relocated })
    }

    #[test]
    fn entry_point_comes_first() {
        let (slot, index) = choose(&patch_space(), &[0x100, 0x10], 0xe00).unwrap();
        assert_eq!(
            (slot.position, slot.offset, index),
            (SlotPosition::Entry, 0x1100, 0)
        );
        assert_eq!((slot.address, slot.room), (0x401100, 0x100));
        assert!(!patch_space().is_unused(&slot));
        // A slot that begins before the segment's end is used.
        let (slot, _) = choose(&patch_space(), &[0xe10], 0xe00).unwrap();
        assert_eq!(
            (slot.position, slot.address),
            (SlotPosition::SegmentEnd, 0x4011f0)
        );
        assert!(!patch_space().is_unused(&slot));
    }

    #[test]
    fn the_longer_trailer_is_worth_moving_the_entry() {
        let (slot, index) = choose(&patch_space(), &[0x101, 0x10], 0xe00).unwrap();
        assert_eq!((slot.position, index), (SlotPosition::SegmentEnd, 0));
        assert_eq!((slot.address, slot.offset), (0x401ef0, 0x1ef0));
        assert!(patch_space().is_unused(&slot));
    }

    #[test]
    fn the_shorter_trailer_is_better_than_none() {
        let (slot, index) = choose(&patch_space(), &[0x201, 0x100], 0).unwrap();
        assert_eq!((slot.position, index), (SlotPosition::Entry, 1));
    }

    #[test]
    fn functions_before_the_entry_point_are_left_alone() {
        let mut patch_space = patch_space();
        patch_space.start_len = 0x40;
        let (slot, _) = choose(&patch_space, &[0xc0], 0xe00).unwrap();
        let expected = (SlotPosition::AfterStart, 0x401140, 0x1140, 0xc0);
        let found = (slot.position, slot.address, slot.offset, slot.room);
        assert_eq!(found, expected);
        let (slot, _) = choose(&patch_space, &[0xc1], 0xe00).unwrap();
        assert_eq!(slot.position, SlotPosition::SegmentEnd);
        // Most programs are started otherwise.
        patch_space.kept.push((0x11f0..0x1200, "a note"));
        let (slot, _) = choose(&patch_space, &[0xc1], 0).unwrap();
        assert_eq!(slot.position, SlotPosition::Entry);
    }

    #[test]
    fn the_slot_never_reaches_in_front_of_the_segment() {
        let (slot, _) = choose(&patch_space(), &[0x200], 0).unwrap();
        assert_eq!(slot.address, 0x401000);
        let reason = choose(&patch_space(), &[0x201], 0).unwrap_err();
        let (len, room) = (0x201, 0x200);
        assert_eq!(reason, NoSlot::AtSegmentEnd { len, room });
        assert!(choose(&patch_space(), &[u64::MAX], 0).is_err());
    }

    #[test]
    fn headers_inside_the_segment_stay() {
        let mut patch_space = patch_space();
        patch_space.segment.offset = 0;
        patch_space.entry = 0x401180;
        let (slot, _) = choose(&patch_space, &[0x1c0], 0).unwrap();
        assert_eq!(slot.offset, 0x40);
        let reason = choose(&patch_space, &[0x1c1], 0).unwrap_err();
        let (len, what) = (0x1c1, "the ELF header");
        assert_eq!(reason, NoSlot::Covers { len, what });
    }

    #[test]
    fn relocated_code_is_left_alone() {
        let mut patch_space = patch_space();
        patch_space.check_relocations = true;
        let mut fake = Fake {
            zeros: 0xe00,
            relocated: 0x401120..0x401124,
        };
        let (slot, _) = patch_space.choose(&[0x80], &mut fake).unwrap();
        assert_eq!(slot.position, SlotPosition::SegmentEnd);
        fake.relocated = 0x401000..0x402000;
        let reason = patch_space.choose(&[0x80], &mut fake).unwrap_err();
        assert_eq!(reason, NoSlot::Relocated);
    }
}
