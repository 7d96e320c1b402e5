//! Plans changes of the search path, DT_NEEDED and PT_INTERP in the file itself, without moving a byte. Strings go into padding that is
//! mapped; entries of .dynamic and PT_INTERP are changed to point to them.
//!
//! This module only decides which bytes change.

use std::mem::offset_of;
use std::ops::Range;

use anyhow::{Context, Result, bail};
use object::{LittleEndian, elf};
use sidecar::EditKind;

use crate::plan::reason::{NoRoom, Refusal};
use elf_file::{
    self, Dynamic, Elf, Padding, Section, Segment, Source, own_search_path, unused_header,
};
use sys::arch::Arch;

/// Length of p_type, the first field of a program header.
const TYPE_LEN: u64 = size_of::<u32>() as u64;

/// Marks a prelinked file (elf.h).
const DT_GNU_PRELINKED: u32 = 0x6fff_fdf5;

/// The settings that a file is to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The dynamic linker, for a program with a PT_INTERP.
    pub interpreter: Option<&'a [u8]>,
    /// The search path; empty means that the file's own stays.
    pub search: &'a [u8],
    /// Names to add to DT_NEEDED.
    pub needed: &'a [&'a [u8]],
    /// Put the names before the file's own.
    pub in_front: bool,
    /// Use DT_RPATH, which libraries inherit.
    pub inherited: bool,
}

/// New bytes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: EditKind,
    /// File offset.
    pub offset: u64,
    /// The new bytes.
    pub after: Vec<u8>,
}

/// Whether tools that read strings from the file find a string outside of the string table. They add its offset to the table's position in
/// the file; ld.so adds it to the table's address in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// After the table, at the same distance in file and memory: all tools show it once DT_STRSZ covers it.
    Listed,
    /// Before the table, with a negative offset: tools that check DT_STRSZ do not show it.
    Unlisted,
    /// At another distance in memory than in the file: only ld.so finds it.
    Hidden,
}

/// A free range for strings.
#[derive(Clone, Copy, Debug)]
struct FreeSpace {
    padding: Padding,
    visibility: Visibility,
    /// The bytes of the file's own search path, which only another search path may replace: the present one is used until .dynamic is
    /// written.
    is_own: bool,
    /// The rest of the program header PT_PHDR, which has to become a PT_NULL in the same write.
    is_header: bool,
}

impl FreeSpace {
    fn new(padding: Padding, visibility: Visibility) -> Self {
        Self {
            padding,
            visibility,
            is_own: false,
            is_header: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    address: u64,
    offset: u64,
    visibility: Visibility,
}

/// The free space for strings in one file, and the entries of .dynamic that may point to it.
#[derive(Debug)]
pub struct PatchSpace<'a> {
    elf: &'a Elf,
    arch: &'a Arch,
    dynamic: &'a Dynamic,
    segment: &'a Segment,
    /// DT_STRTAB.
    strings: u64,
    /// Sorted by visibility, then by address.
    spaces: Vec<FreeSpace>,
    sections: Sections,
}

/// The section headers that other tools use.
#[derive(Debug, Default)]
struct Sections {
    interp: Option<Section>,
    dynamic: Option<Section>,
    /// .dynstr.
    strings: Option<Section>,
    /// .comment, with the name of the compiler.
    comment: Option<Section>,
}

impl Sections {
    fn of(elf: &Elf, strings: u64, source: &mut Source) -> Result<Self> {
        let all = elf_file::sections(elf, source)?;
        let of_segment = |segment: u32, section: u32| {
            let mut segments = elf.segments.iter();
            let segment = segments.find(|one| one.kind == segment)?;
            let found = all.iter().find(|one| {
                one.kind == section
                    && (one.address, one.offset) == (segment.address, segment.offset)
            });
            found.copied()
        };
        let dynamic = of_segment(elf::PT_DYNAMIC, elf::SHT_DYNAMIC);
        let link = dynamic.and_then(|dynamic| all.get(dynamic.link as usize).copied());
        let mut strings = link.filter(|one| one.kind == elf::SHT_STRTAB && one.address == strings);
        strings = strings.filter(|one| elf_file::is_called(one, b".dynstr", &all, elf, source));
        let comment = all.iter().find(|one| {
            let unloaded =
                one.kind == elf::SHT_PROGBITS && one.flags & u64::from(elf::SHF_ALLOC) == 0;
            unloaded && elf_file::is_called(one, b".comment", &all, elf, source)
        });
        Ok(Self {
            interp: of_segment(elf::PT_INTERP, elf::SHT_PROGBITS),
            dynamic,
            strings,
            comment: comment.copied(),
        })
    }
}

impl<'a> PatchSpace<'a> {
    /// Collects the free space of a file.
    ///
    /// # Errors
    /// If the file cannot be edited.
    pub fn new(elf: &'a Elf, arch: &'a Arch, source: &mut Source) -> Result<Self> {
        let (dynamic, segment) = elf.loaded_dynamic().context("it has no loaded .dynamic")?;
        let strings = dynamic
            .value(elf::DT_STRTAB)
            .context("it has no DT_STRTAB")?;
        if dynamic.value(DT_GNU_PRELINKED).is_some() {
            bail!(Refusal::Prelinked);
        }
        let mut spaces = Vec::new();
        for padding in elf_file::paddings(elf, source)? {
            spaces.push(FreeSpace::new(padding, visibility(elf, strings, &padding)));
        }
        spaces.extend(own_search_path(elf, source).map(|padding| FreeSpace {
            is_own: true,
            ..FreeSpace::new(padding, visibility(elf, strings, &padding))
        }));
        spaces.extend(unused_header(elf).map(|padding| FreeSpace {
            is_header: true,
            // DT_STRSZ is not raised for it.
            ..FreeSpace::new(
                padding,
                visibility(elf, strings, &padding).max(Visibility::Unlisted),
            )
        }));
        let sections = Sections::of(elf, strings, source)?;
        let mut patch_space = Self {
            elf,
            arch,
            dynamic,
            segment,
            strings,
            spaces,
            sections,
        };
        patch_space.add_spare_entries(source)?;
        patch_space.spaces.sort_by_key(|space| {
            let is_used = space.is_own || space.is_header;
            (space.visibility, is_used, space.padding.address)
        });
        Ok(patch_space)
    }

    /// Nothing reads the entries after the DT_NULL that will end .dynamic. Those that are not needed as entries have room for a short
    /// string.
    fn add_spare_entries(&mut self, source: &mut Source) -> Result<()> {
        let entry_len = 2 * self.elf.word() as u64;
        // Keep one for a search path, if there is none yet, and the DT_NULL.
        let kept = u64::from(self.dynamic.search_entry().is_none() && self.dynamic.spare > 0) + 1;
        let from = (self.dynamic.end() as u64 + kept) * entry_len;
        let end = (self.dynamic.entries + self.dynamic.spare) as u64 * entry_len;
        let Some(len) = end.checked_sub(from).filter(|&len| len > 0) else {
            return Ok(());
        };
        let padding = Padding {
            offset: self.segment.offset + from,
            address: self.segment.address + from,
            len,
        };
        if source
            .read(padding.offset, len)?
            .iter()
            .all(|&byte| byte == 0)
        {
            let visibility = visibility(self.elf, self.strings, &padding);
            self.spaces.push(FreeSpace::new(padding, visibility));
        }
        Ok(())
    }

    /// The changes for the settings `wanted`, strings first. No string is less visible than `allowed`.
    ///
    /// # Errors
    /// What there is no room for.
    pub fn changes(&self, wanted: &Wanted<'_>, allowed: Visibility) -> Result<Changes, NoRoom> {
        let mut work = Work {
            patch_space: self,
            free: self.spaces.clone(),
            changes: Changes::default(),
        };
        let more = wanted.needed.len();
        let tag = self.dynamic.search_tag(wanted.inherited);
        let own_search = self.dynamic.search_entries(tag);
        let new_search = !wanted.search.is_empty() && own_search.is_empty();
        // Strings in spare entries are for a search path only. With names to add, the entries are used as entries.
        let entries = self.dynamic.free_entries();
        if more > 0 {
            work.free.retain(|space| !self.is_spare(&space.padding));
        }
        if entries.len() < more + usize::from(new_search) {
            return Err(NoRoom::Entries {
                spare: entries.len(),
                takes: more + usize::from(new_search),
            });
        }
        let mut entries = entries.into_iter();
        let mut strings = Vec::new();
        for name in wanted.needed {
            strings.push(work.put(name, allowed, false)?);
        }
        let offset = |placed: &Placed| placed.address.wrapping_sub(self.strings);
        let offsets = strings.iter().map(offset);
        let needed = (self.dynamic).with_needed(offsets, &mut entries, wanted.in_front, Some);
        let mut pointers: Vec<(usize, u32, u64)> = needed
            .into_iter()
            .map(|(index, offset)| (index, elf::DT_NEEDED, offset))
            .collect();
        if !wanted.search.is_empty() {
            let placed = work.put(wanted.search, allowed, true)?;
            strings.push(placed);
            let new = new_search.then(|| entries.next()).flatten();
            let spaces = own_search.into_iter().chain(new);
            pointers.extend(spaces.map(|index| (index, tag, offset(&placed))));
        }
        let interpreter = match wanted.interpreter {
            Some(path) => work.interpreter(path)?,
            None => Vec::new(),
        };
        work.raise_string_table(&strings);
        for (index, tag, offset) in pointers {
            // A search path that replaces the bytes of the file's own.
            if self.dynamic.tags().get(index) != Some(&(u64::from(tag), offset)) {
                work.entry(index, tag, offset);
            }
        }
        work.changes.list.extend(interpreter);
        Ok(work.changes)
    }

    /// Size of the largest space for a string, with its NUL, that is at least as visible as `allowed`.
    pub fn largest(&self, allowed: Visibility) -> u64 {
        let spaces = self.spaces.iter();
        let allowed = spaces.filter(|space| space.visibility <= allowed);
        allowed.map(|space| space.padding.len).max().unwrap_or(0)
    }

    fn is_spare(&self, padding: &Padding) -> bool {
        (self.segment.offset..self.segment.file_end()).contains(&padding.offset)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// In the order in which they are to be written.
    pub list: Vec<Change>,
    /// Whether tools other than ld.so will not find a string.
    pub hidden: bool,
}

/// Changes in the making.
struct Work<'g> {
    patch_space: &'g PatchSpace<'g>,
    free: Vec<FreeSpace>,
    changes: Changes,
}

impl Work<'_> {
    /// Puts a string into the best space. `is_search`: it is a search path.
    fn put(&mut self, text: &[u8], allowed: Visibility, is_search: bool) -> Result<Placed, NoRoom> {
        let found = self.free.iter().position(|space| {
            space.visibility <= allowed
                && space.padding.len > text.len() as u64
                && (is_search || !space.is_own)
        });
        let Some(index) = found else {
            return Err(NoRoom::Text {
                len: text.len() + 1,
                largest: self.patch_space.largest(allowed),
            });
        };
        Ok(self.put_into(index, text))
    }

    fn put_into(&mut self, index: usize, text: &[u8]) -> Placed {
        let FreeSpace {
            padding,
            visibility,
            is_header,
            ..
        } = &mut self.free[index];
        let placed = Placed {
            address: padding.address,
            offset: padding.offset,
            visibility: *visibility,
        };
        let after = [text, b"\0"].concat();
        let len = after.len() as u64;
        (padding.offset, padding.address, padding.len) = (
            padding.offset + len,
            padding.address + len,
            padding.len - len,
        );
        self.changes.hidden |= *visibility != Visibility::Listed;
        let mut change = Change {
            kind: EditKind::Text,
            offset: placed.offset,
            after,
        };
        if *is_header {
            change.offset -= TYPE_LEN;
            change.after.splice(0..0, elf::PT_NULL.to_le_bytes());
            // A second string would be another write.
            padding.len = 0;
        }
        self.changes.list.push(change);
        placed
    }

    /// Points PT_INTERP to `path`, which replaces the old string if that is long enough. The kernel and debuggers use the program header,
    /// so any space will do; the last ones are left over by the strings of .dynamic.
    fn interpreter(&mut self, path: &[u8]) -> Result<Vec<Change>, NoRoom> {
        let PatchSpace { elf, arch, .. } = self.patch_space;
        let mut segments = elf.segments.iter().enumerate();
        let Some((index, own)) = segments.find(|(_, one)| one.kind == elf::PT_INTERP) else {
            return Err(NoRoom::NoInterp);
        };
        if let Some(len) = self.string_at(own).filter(|&len| path.len() < len) {
            let mut after = path.to_vec();
            after.resize(len, 0);
            self.changes.list.push(Change {
                kind: EditKind::Text,
                offset: own.offset,
                after,
            });
            return Ok(Vec::new());
        }
        let large_enough = |space: &FreeSpace| {
            space.padding.len > path.len() as u64
                && !space.is_own
                && !space.is_header
                && !self.patch_space.is_spare(&space.padding)
        };
        let Some(space) = self.free.iter().rposition(large_enough) else {
            return Err(NoRoom::Interpreter {
                len: path.len() + 1,
            });
        };
        let hidden = self.changes.hidden;
        let placed = self.put_into(space, path);
        self.changes.hidden = hidden;

        let word = elf.word();
        let len = path.len() as u64 + 1;
        let header = |index: usize| elf.phoff + (index * arch.phentsize()) as u64;
        // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz follow each other in both classes.
        let fields = [placed.offset, placed.address, placed.address, len, len];
        let first_field = match word {
            8 => offset_of!(elf::ProgramHeader64<LittleEndian>, p_offset),
            _ => offset_of!(elf::ProgramHeader32<LittleEndian>, p_offset),
        } as u64;
        let mut changes = vec![Change {
            kind: EditKind::Segment,
            offset: header(index) + first_field,
            after: words(word, &fields),
        }];
        // Debuggers find the dynamic linker by the section, and expect each section to be in a segment.
        if let Some(section) = self.patch_space.sections.interp {
            let shift = placed.address.wrapping_sub(placed.offset);
            let in_front = |one: &Segment| {
                one.kind == elf::PT_LOAD
                    && one.file_len > 0
                    && one.address.wrapping_sub(one.offset) == shift
                    && one.file_end() <= placed.offset
            };
            let segments = elf.segments.iter().enumerate();
            // The last one that ends before the string.
            let load = segments
                .filter(|(_, one)| in_front(one))
                .max_by_key(|(_, one)| one.file_end());
            changes.extend(load.map(|(index, load)| {
                let len = placed.offset + len - load.offset;
                Change {
                    kind: EditKind::Segment,
                    offset: header(index) + first_field + 3 * word as u64,
                    after: words(word, &[len, len]),
                }
            }));
            changes.push(Change {
                kind: EditKind::Section,
                offset: section.header_at + address_field(word),
                after: words(word, &[placed.address, placed.offset, len]),
            });
        }
        Ok(changes)
    }

    /// Length of the PT_INTERP string with its NUL; `None` if it shares bytes with the headers. The segment may be longer than its string
    /// and cover other data.
    fn string_at(&self, own: &Segment) -> Option<usize> {
        let Elf {
            interp,
            header,
            program_headers,
            phoff,
            ..
        } = self.patch_space.elf;
        let len = interp.as_ref()?.path.len() + 1;
        let end = own.offset + len as u64;
        let is_in = |from: u64, bytes: &[u8]| own.offset < from + bytes.len() as u64 && from < end;
        (!is_in(0, header) && !is_in(*phoff, program_headers)).then_some(len)
    }

    /// Raises DT_STRSZ so that it covers the strings that tools will find by it.
    fn raise_string_table(&mut self, placed: &[Placed]) {
        let PatchSpace {
            dynamic, strings, ..
        } = self.patch_space;
        let listed = placed
            .iter()
            .filter(|one| one.visibility == Visibility::Listed);
        let ends = self.changes.list.iter().filter_map(|change| {
            let placed = listed.clone().find(|one| one.offset == change.offset)?;
            Some(placed.address + change.after.len() as u64 - strings)
        });
        let end = ends.max().unwrap_or(0);
        if let (Some(index), Some(len)) = (
            dynamic.position(elf::DT_STRSZ),
            dynamic.value(elf::DT_STRSZ),
        ) && end > len
        {
            self.entry(index, elf::DT_STRSZ, end);
            self.raise_string_section(end);
        }
    }

    /// Makes .dynstr `len` bytes long. readelf and GNU ld use it, and ld rejects a library with a string outside.
    ///
    /// The section would then overlap others, and strip would move them apart. So another header becomes .dynstr: the one of .comment,
    /// which is not loaded. The section with the loaded bytes stays under another name. A file without .comment has been stripped already.
    fn raise_string_section(&mut self, len: u64) {
        let Sections {
            dynamic,
            strings,
            comment,
            ..
        } = &self.patch_space.sections;
        let (Some(dynamic), Some(strings)) = (dynamic, strings) else {
            return;
        };
        let word = self.patch_space.elf.word();
        let address_at = address_field(word);
        let mut change = |offset: u64, after: Vec<u8>| {
            self.changes.list.push(Change {
                kind: EditKind::Section,
                offset,
                after,
            });
        };
        let Some(comment) = comment else {
            let size = strings.header_at + address_at + 2 * word as u64;
            return change(size, words(word, &[len]));
        };
        let mut header = Vec::new();
        header.extend(strings.name.to_le_bytes());
        header.extend(elf::SHT_STRTAB.to_le_bytes());
        // sh_flags, sh_addr, sh_offset, sh_size.
        header.extend(words(word, &[0, 0, strings.offset, len]));
        // sh_link, sh_info; sh_addralign, sh_entsize.
        header.extend([0; 8]);
        header.extend(words(word, &[1, 0]));
        change(comment.header_at, header);
        // The name `dynstr`, the end of `.dynstr`.
        change(strings.header_at, (strings.name + 1).to_le_bytes().to_vec());
        let link = dynamic.header_at + address_at + 3 * word as u64;
        change(link, (comment.index as u32).to_le_bytes().to_vec());
    }

    /// Sets an entry of .dynamic.
    fn entry(&mut self, index: usize, tag: u32, value: u64) {
        let PatchSpace { elf, segment, .. } = self.patch_space;
        let word = elf.word();
        self.changes.list.push(Change {
            kind: EditKind::Dynamic,
            offset: segment.offset + (index * 2 * word) as u64,
            after: words(word, &[u64::from(tag), value]),
        });
    }
}

/// Offset of sh_addr in a section header; sh_offset, sh_size and sh_link follow it.
fn address_field(word: usize) -> u64 {
    let offset = match word {
        8 => offset_of!(elf::SectionHeader64<LittleEndian>, sh_addr),
        _ => offset_of!(elf::SectionHeader32<LittleEndian>, sh_addr),
    };
    offset as u64
}

fn words(word: usize, values: &[u64]) -> Vec<u8> {
    let bytes = values.iter().map(|value| value.to_le_bytes());
    bytes
        .flat_map(|value| value.into_iter().take(word))
        .collect()
}

fn visibility(elf: &Elf, strings: u64, padding: &Padding) -> Visibility {
    let shift = |address: u64, offset: u64| address.wrapping_sub(offset);
    let table = elf.offset_of(strings);
    let same =
        table.is_some_and(|table| shift(strings, table) == shift(padding.address, padding.offset));
    match same {
        true if padding.address >= strings => Visibility::Listed,
        // In the 32-bit class, tools add the negative offset with 64 bits, which gives another result.
        true if elf.word() == 8 => Visibility::Unlisted,
        _ => Visibility::Hidden,
    }
}

/// The parts of `range` that no range of `covered` contains.
pub fn outside(range: Range<u64>, covered: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = vec![range];
    for other in covered {
        left = left
            .into_iter()
            .flat_map(|range| {
                let before = range.start..range.end.min(other.start);
                let after = range.start.max(other.end)..range.end;
                [before, after]
            })
            .filter(|range| !range.is_empty())
            .collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_range() {
        let left = |range: (u64, u64), covered: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let covered: Vec<Range<u64>> = covered.iter().map(|&(from, to)| from..to).collect();
            let left = outside(range.0..range.1, &covered).into_iter();
            left.map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(left((0, 10), &[]), [(0, 10)]);
        assert_eq!(left((0, 10), &[(3, 5)]), [(0, 3), (5, 10)]);
        assert_eq!(left((0, 10), &[(3, 5), (0, 4), (9, 20)]), [(5, 9)]);
        assert_eq!(left((0, 10), &[(0, 10)]), []);
        assert_eq!(left((5, 10), &[(0, 5), (10, 20)]), [(5, 10)]);
    }
}
