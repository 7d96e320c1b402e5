//! Every layout with strings of many lengths: only free bytes change, and ld.so finds the intended values in memory.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use elf_file::{Elf, sections};
use object::{Object, ObjectSymbol, elf};
use sidecar::EditKind;
use wrap_buddy::plan::edits::{Visibility, Wanted};

use super::memory::Memory;
use super::subjects::{Edited, Kind, Layout, LinkDir, Original, layouts};
use crate::fixture::*;

const VISIBILITIES: [Visibility; 3] =
    [Visibility::Listed, Visibility::Unlisted, Visibility::Hidden];

const PAGES: [u64; 3] = [4096, 16384, 65536];

/// A random search path of `len` bytes.
fn search_path(len: usize, random: &mut Random) -> Vec<u8> {
    let letter = |_| match random.below(12) {
        0 => b'/',
        1 => b':',
        number => b'a' + number as u8,
    };
    (0..len).map(letter).collect()
}

/// The counts of a run through all layouts.
#[derive(Debug, Default)]
struct Tally {
    edited: usize,
    refused: usize,
    hidden: usize,
    mapped: [usize; 3],
}

fn every_layout(target: Arch) {
    let link_dir = LinkDir::new(target);
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(target.machine()));
    let mut tally = Tally::default();
    for layout in layouts(target, &mut random) {
        let original = Original::read(&link_dir.link("subject", &layout));
        let largest = VISIBILITIES.map(|allowed| original.largest(allowed));
        let mut lengths = vec![1, 75, 151, 600, 5000, 1 + random.below(5000)];
        // The longest that fits, and the shortest that does not.
        lengths.extend(
            largest
                .iter()
                .flat_map(|&room| [room.max(2) - 1, room.max(1)]),
        );
        for len in lengths {
            let search = search_path(len, &mut random);
            for (allowed, room) in VISIBILITIES.into_iter().zip(largest) {
                let name = search_path(1 + random.below(40), &mut random);
                let interpreter = search_path(1 + random.below(120), &mut random);
                let wanted = Wanted {
                    search: &search,
                    ..Wanted::default()
                };
                let more = Wanted {
                    interpreter: (layout.kind != Kind::Library).then_some(&interpreter),
                    needed: &[&name],
                    ..wanted
                };
                let alone = Trial::of(&original, &layout, &wanted, allowed, &mut tally);
                if has_entry(&original.elf) {
                    assert_eq!(alone, len < room, "{layout:?}, {len} bytes of {room}");
                }
                let both = Trial::of(&original, &layout, &more, allowed, &mut tally);
                // Space that other tools do not show is used only if the rest is too small.
                if alone && both {
                    break;
                }
            }
        }
        shows_in_readelf(&link_dir.dir, &layout, &original, &mut random);
    }
    // If all edits were refused, or no kernel would map the files, the test would prove nothing.
    assert!(tally.edited > 300 && tally.refused > 300, "{tally:?}");
    assert!(tally.hidden > 20, "{tally:?}");
    assert!(tally.mapped.iter().all(|&mapped| mapped > 100), "{tally:?}");
}

/// Whether .dynamic has an entry for a search path.
fn has_entry(elf: &Elf) -> bool {
    let dynamic = elf.dynamic.as_ref().unwrap();
    dynamic.search_entry().is_some() || !dynamic.free_entries().is_empty()
}

/// The bytes of the search path that a file has, with the NUL.
fn own_search_path(elf: &Elf) -> Range<u64> {
    let dynamic = elf.dynamic.as_ref().unwrap();
    let Some((text, entry)) = dynamic.search_path().zip(dynamic.search_entry()) else {
        return 0..0;
    };
    let (_, at) = dynamic.tags()[entry];
    let strings = dynamic.value(elf::DT_STRTAB).unwrap();
    let start = elf.offset_of(strings + at).unwrap();
    start..start + text.len() as u64 + 1
}

/// The names of the dynamic symbols, and the versions that they require.
fn symbols(bytes: &[u8]) -> Vec<Vec<u8>> {
    let file = object::File::parse(bytes).unwrap();
    let names = file.dynamic_symbols();
    names
        .map(|symbol| symbol.name_bytes().unwrap().to_vec())
        .collect()
}

/// One edit with all its checks.
struct Trial<'a> {
    original: &'a Original,
    edited: Edited,
    wanted: &'a Wanted<'a>,
    what: String,
}

impl Trial<'_> {
    /// Whether there was room.
    fn of(
        original: &Original,
        layout: &Layout,
        wanted: &Wanted<'_>,
        allowed: Visibility,
        tally: &mut Tally,
    ) -> bool {
        let what = format!("{layout:?}, {} bytes, {allowed:?}", wanted.search.len());
        let edited = match original.edit(wanted, allowed) {
            Ok(edited) => edited,
            Err(reason) => {
                assert!(reason.is::<NoRoom>(), "{what}: {reason:#}");
                tally.refused += 1;
                return false;
            }
        };
        tally.edited += 1;
        tally.hidden += usize::from(edited.changes.hidden);
        assert!(
            allowed != Visibility::Listed || !edited.changes.hidden,
            "{what}"
        );
        let trial = Trial {
            original,
            edited,
            wanted,
            what,
        };
        trial.only_free_bytes();
        trial.says_what_was_wanted();
        for (page, mapped) in PAGES.into_iter().zip(&mut tally.mapped) {
            *mapped += usize::from(trial.is_in_memory(page));
        }
        true
    }

    /// Asserts that strings go to unused bytes, other data into its own tables, and that no byte is written twice.
    fn only_free_bytes(&self) {
        let Self {
            original,
            edited,
            what,
            ..
        } = self;
        assert_eq!(edited.bytes.len(), original.bytes.len(), "{what}");
        let ranges = edited.ranges();
        let mut pairs = ranges.windows(2);
        assert!(
            pairs.all(|pair| pair[0].end <= pair[1].start),
            "{what}: {ranges:x?}"
        );

        let elf = &original.elf;
        let sections = sections(elf, &mut original.source()).unwrap();
        let (shoff, entry_len, count) = elf.sections;
        let (_, dynamic) = elf.loaded_dynamic().unwrap();
        let headers = elf.phoff..elf.phoff + elf.program_headers.len() as u64;
        let header_len = elf.program_headers.len() / elf.segments.len();
        let mut interp = elf.segments.iter().filter(|one| one.kind == elf::PT_INTERP);
        let interp = interp.next().map_or(0..0, |one| one.offset..one.file_end());
        let own = own_search_path(elf);
        for change in &edited.changes.list {
            let range = change.offset..change.offset + change.after.len() as u64;
            let within =
                |outer: &std::ops::Range<u64>| outer.start <= range.start && range.end <= outer.end;
            let entries = dynamic.offset..dynamic.file_end();
            let right = match change.kind {
                EditKind::Dynamic => within(&entries),
                EditKind::Segment => within(&headers),
                EditKind::Section => within(&(shoff..shoff + entry_len * count)),
                EditKind::Text if within(&interp) => true,
                EditKind::Text if within(&headers) => {
                    let start = (range.start - elf.phoff) as usize;
                    let index = start / header_len;
                    start.is_multiple_of(header_len)
                        && elf.segments[index].kind == elf::PT_PHDR
                        && elf.interp.is_none()
                        && edited.elf.segments[index].kind == elf::PT_NULL
                }
                EditKind::Text if within(&own) => {
                    change.after == [self.wanted.search, b"\0"].concat()
                }
                EditKind::Text => {
                    let zero = |at: u64| original.bytes[at as usize] == 0;
                    let free = sections.iter().all(|section| {
                        let of_section = section.offset..section.offset + section.len;
                        section.kind == elf::SHT_NOBITS
                            || range.end <= of_section.start
                            || of_section.end <= range.start
                    });
                    range.clone().all(zero) && (free || within(&entries))
                }
                _ => false,
            };
            assert!(right, "{what}: {:?} at {range:x?}", change.kind);
        }
    }

    /// Asserts that the headers have the intended values.
    fn says_what_was_wanted(&self) {
        let Self {
            original,
            edited,
            wanted,
            what,
        } = self;
        let (before, after) = (
            original.elf.dynamic.as_ref().unwrap(),
            edited.elf.dynamic.as_ref().unwrap(),
        );
        let search = after.search_path().unwrap().as_bytes();
        assert!(search == wanted.search, "{what}");
        assert_eq!(after.is_inherited(), before.is_inherited(), "{what}");
        let mut needed: Vec<&[u8]> = before.needed.iter().map(|name| name.as_bytes()).collect();
        needed.extend(wanted.needed);
        let mut now: Vec<&[u8]> = after.needed.iter().map(|name| name.as_bytes()).collect();
        needed.sort_unstable();
        now.sort_unstable();
        assert!(now == needed, "{what}");
        assert_eq!(after.soname, before.soname, "{what}");
        let names = [&original.bytes, &edited.bytes].map(|bytes| symbols(bytes));
        assert_eq!(names[0], names[1], "{what}");
        let interp = edited
            .elf
            .interp
            .as_ref()
            .map(|interp| interp.path.as_os_str());
        let own = original
            .elf
            .interp
            .as_ref()
            .map(|interp| interp.path.as_os_str());
        assert_eq!(
            interp,
            wanted.interpreter.map(OsStr::from_bytes).or(own),
            "{what}"
        );
    }

    /// Whether a machine with such pages loads the file. Asserts that ld.so finds the intended values.
    fn is_in_memory(&self, page: u64) -> bool {
        let Self {
            original,
            edited,
            wanted,
            what,
        } = self;
        let Some(before) = Memory::of(&original.elf, &original.bytes, page) else {
            return false;
        };
        let after = Memory::of(&edited.elf, &edited.bytes, page);
        let after = after.unwrap_or_else(|| panic!("{what}: not loaded any more"));
        let ranges = edited.ranges();
        let mut changed = before.differences(&after).unwrap_or_else(|address| {
            panic!("{what}: {address:#x} changed, pages of {page}, and is not of the file")
        });
        changed.retain(|offset| !ranges.iter().any(|range| range.contains(offset)));
        assert!(
            changed.is_empty(),
            "{what}: {changed:x?} in pages of {page}"
        );

        let dynamic = edited.elf.dynamic.as_ref().unwrap();
        let strings = dynamic.value(elf::DT_STRTAB).unwrap();
        let mask = if edited.elf.word() == 8 {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        let (_, entries) = edited.elf.loaded_dynamic().unwrap();
        let string = |offset: u64| {
            let address = strings.wrapping_add(offset) & mask;
            // With larger pages, a writable segment may be mapped over a part of an earlier one.
            let may_change = page == PAGES[0] && after.is_writable(address);
            assert!(!may_change || entries.contains(address), "{what}");
            after.string(address)
        };
        let tag = dynamic.value(dynamic.search_tag(false)).unwrap();
        assert!(
            string(tag).as_deref() == Some(wanted.search),
            "{what}, pages of {page}"
        );
        for name in wanted.needed {
            let mut needed = dynamic.tags().iter();
            assert!(
                needed.any(|&(tag, value)| tag == u64::from(elf::DT_NEEDED)
                    && string(value).as_deref() == Some(*name)),
                "{what}, pages of {page}"
            );
        }
        if let Some(interpreter) = wanted.interpreter {
            let mut segments = edited.elf.segments.iter();
            let segment = segments.find(|one| one.kind == elf::PT_INTERP).unwrap();
            let found = after.string(segment.address);
            assert!(
                found.as_deref() == Some(interpreter),
                "{what}, pages of {page}"
            );
        }
        true
    }
}

/// readelf uses section headers, or else PT_DYNAMIC.
fn shows_in_readelf(dir: &TestDir, layout: &Layout, original: &Original, random: &mut Random) {
    let room = original.largest(Visibility::Listed);
    let search = search_path(room.clamp(20, 300) - 19, random);
    let alone = Wanted {
        search: &search,
        ..Wanted::default()
    };
    let more = Wanted {
        needed: &[b"libmore.so"],
        ..alone
    };
    let mut trials = [more, alone].into_iter();
    let found = trials.find_map(|wanted| {
        let edited = original.edit(&wanted, Visibility::Listed).ok()?;
        Some((wanted, edited))
    });
    let Some((wanted, edited)) = found else {
        return;
    };
    let path = dir.path("shown");
    fs::write(&path, &edited.bytes).unwrap();
    let shown = Command::new("readelf")
        .arg("-dW")
        .arg(&path)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = format!("path: [{}]", String::from_utf8_lossy(&search));
    assert!(shown.contains(&line), "{layout:?}: no {line} in\n{shown}");
    let is_needed = shown.contains("library: [libmore.so]");
    assert_eq!(is_needed, !wanted.needed.is_empty(), "{layout:?}:\n{shown}");
}

e2e::architectures!(every_layout);
