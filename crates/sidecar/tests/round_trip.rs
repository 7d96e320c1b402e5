//! Written sidecars and trailers are read back. Arbitrary bytes cause no panic and no access outside the slice.

use proptest::collection::vec;
use proptest::prelude::*;
use sidecar::{
    CHECKED_FROM, Draft, DraftPatch, Edit, EditKind, Flags, LINE_LEN_OFFSET, LINE_START, Sidecar,
    ToolVersion, Trailer, Value, checked_part, checksum_of, machine,
};

/// Number of bytes between two lengths at which the data is truncated: Miri needs minutes for every length.
const CUTS: usize = if cfg!(miri) { 61 } else { 1 };

fn blank() -> Draft<'static> {
    Draft {
        machine: machine::X86_64,
        class: 2,
        loader: &[],
        flags: Flags(0),
        id: *b"0123456789abcdef",
        tool: ToolVersion::new(1, 2, 3),
        stub_len: 24,
        entry: 0x1040,
        slot_address: 0x1040,
        slot_protection: 5,
        debug_address: 0,
        interpreter: b"/x",
        search: b"",
        needed: &[],
        dynamic_len: 0,
        own_dynamic_len: 0,
        strings: 0,
        patches: &[],
        edits: &[],
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(1u8..=255, 0..60)
}

fn sample(out: &mut Vec<u8>) {
    let needed: [&[u8]; 2] = [b"libfoo.so.1", b"libbar.so"];
    let edits = [
        Edit {
            kind: EditKind::Slot,
            offset: 0x1040,
            original: &[0x55; 40],
        },
        Edit {
            kind: EditKind::Interp,
            offset: 0x78,
            original: &[3, 0, 0, 0],
        },
    ];
    let patches = [
        DraftPatch {
            offset: 16,
            value: Value::Number(1),
        },
        DraftPatch {
            offset: 24,
            value: Value::Search,
        },
    ];
    let draft = Draft {
        slot_protection: 5,
        debug_address: 0x3e08,
        interpreter: b"/nix/store/x/lib/ld-linux-x86-64.so.2",
        search: b"/nix/store/x/lib:$ORIGIN/../lib",
        needed: &needed,
        dynamic_len: 112,
        own_dynamic_len: 96,
        strings: 0x400,
        patches: &patches,
        edits: &edits,
        ..blank()
    };
    out.resize(draft.max_encoded_len(), 0);
    let len = draft.encode(out).expect("fits");
    out.truncate(len);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]

    #[test]
    fn a_sidecar_reads_back(
        interpreter in vec(1u8..=255, 1..60),
        search in text(),
        names in vec(vec(1u8..=255, 1..20), 0..5),
        slot in vec(any::<u8>(), 0..300),
        others in vec((any::<u64>(), vec(any::<u8>(), 0..9)), 0..4),
        id in any::<[u8; 16]>(),
        (dynamic_len, own_dynamic_len) in (0u32..200, any::<u32>()),
        (entry, slot_address, stub_len) in any::<(u64, u64, u32)>(),
        flags in 0u8..16,
    ) {
        let needed: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut edits = vec![Edit { kind: EditKind::Slot, offset: 7, original: &slot }];
        edits.extend(others.iter().map(|(offset, bytes)| Edit { kind: EditKind::Entry, offset: *offset, original: bytes }));
        let mut patches = vec![
            DraftPatch { offset: stub_len, value: Value::Number(slot_address) },
            DraftPatch { offset: 8, value: Value::Search },
        ];
        patches.extend((0..needed.len()).map(|at| DraftPatch { offset: 1, value: Value::Needed(at) }));
        let draft = Draft {
            flags: Flags(flags), id, stub_len, entry, slot_address,
            interpreter: &interpreter, search: &search, needed: &needed,
            dynamic_len, own_dynamic_len, strings: 0x1000, patches: &patches, edits: &edits, ..blank()
        };
        let mut bytes = vec![0xaa; draft.max_encoded_len()];
        let len = draft.encode(&mut bytes).expect("the buffer is as large as promised");
        bytes.truncate(len);

        let read = Sidecar::parse(&bytes).expect("reads back");
        let header = read.header();
        prop_assert_eq!((header.machine, header.id, header.flags), (machine::X86_64, id, Flags(flags)));
        prop_assert_eq!((header.entry, header.slot_address, header.stub_len), (entry, slot_address, stub_len));
        prop_assert_eq!(header.slot_offset, 7);
        prop_assert_eq!(header.tool.to_string(), "1.2.3");
        prop_assert_eq!(read.interpreter(), &interpreter[..]);
        prop_assert_eq!(read.search(), &search[..]);
        prop_assert_eq!(read.needed_names().collect::<Vec<_>>(), needed.clone());
        prop_assert_eq!(read.slot(), &slot[..]);
        prop_assert_eq!((header.dynamic.len, header.own_dynamic_len), (dynamic_len, own_dynamic_len));
        prop_assert_eq!(header.dynamic.at % 8 + header.patches.at % 8, 0);
        let read_edits: Result<Vec<_>, _> = read.edits().collect();
        prop_assert_eq!(read_edits.expect("edits read back"), edits);

        let read_patches: Vec<_> = read.patches().collect();
        prop_assert_eq!((read_patches[0].offset, read_patches[0].value), (stub_len, slot_address));
        prop_assert_eq!((read_patches[0].points_to_sidecar, read_patches[1].points_to_sidecar), (0, 1));
        prop_assert_eq!(read_patches[1].value.wrapping_add(header.strings), u64::from(header.search.at));
        for (patch, name) in read_patches[2..].iter().zip(&needed) {
            prop_assert!(bytes[patch.value.wrapping_add(header.strings) as usize..].starts_with(name));
        }

        for cut in (0..bytes.len()).step_by(CUTS) {
            prop_assert!(Sidecar::parse(&bytes[..cut]).is_err(), "accepted when cut at {}", cut);
        }
    }

    #[test]
    fn a_trailer_reads_back(id in any::<[u8; 16]>(), loader in text(), path in text(), record in vec(any::<u8>(), 0..400)) {
        let trailer = Trailer { id, loader: &loader, sidecar: &path, record: &record };
        let mut bytes = vec![0; trailer.encoded_len()];
        prop_assert_eq!(trailer.encode(&mut bytes), Ok(bytes.len()));
        prop_assert_eq!(Trailer::parse(&bytes), Ok(trailer));
        for cut in (0..bytes.len()).step_by(CUTS) {
            prop_assert!(Trailer::parse(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Trailer::parse(&bytes);
        let _ = Sidecar::parse(&bytes);
        let _ = sidecar::loader::check(&bytes, machine::I686);
    }

    #[test]
    fn changed_byte_is_detected(at in 0usize..4096, value in any::<u8>()) {
        let mut bytes = Vec::new();
        sample(&mut bytes);
        let at = at % bytes.len();
        let checked = CHECKED_FROM + checked_part(&bytes).expect("well-formed").len();
        let damaged = bytes[at] != value;
        bytes[at] = value;
        // In the text, a change of a NUL is detected.
        let refused = Sidecar::parse(&bytes).is_err();
        let fits = match at < checked {
            true => refused == damaged,
            false => damaged || !refused,
        };
        prop_assert!(fits);
    }

    #[test]
    fn damaged_sidecar_with_valid_checksum_does_not_panic(at in 16usize..4096, value in any::<u32>()) {
        let mut bytes = Vec::new();
        sample(&mut bytes);
        let at = (at % (bytes.len() - 16) + 16) & !3;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        if let Some(sum) = checksum_of(&bytes) {
            bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        if let Ok(read) = Sidecar::parse(&bytes) {
            for edit in read.edits().flatten() {
                prop_assert!(edit.original.len() <= bytes.len());
            }
            prop_assert!(read.interpreter().len() < bytes.len());
        }
    }
}

#[test]
fn stub_prints_no_path_with_control_characters() {
    for (loader, shown) in [
        ("/usr/À/loader", 14),
        ("/a\nb", 0),
        ("\x1b", 0),
        ("a\x7f", 0),
        ("/\u{9b}2J", 0),
    ] {
        let trailer = Trailer {
            id: [7; 16],
            loader: loader.as_bytes(),
            sidecar: b"sidecar",
            record: &[],
        };
        let mut bytes = vec![0; trailer.encoded_len()];
        trailer.encode(&mut bytes).expect("it fits");
        assert_eq!(Trailer::parse(&bytes), Ok(trailer), "{loader:?}");
        let line_len = LINE_START.len() + shown;
        assert_eq!(bytes[LINE_LEN_OFFSET], line_len as u8, "{loader:?}");
        // As written by earlier versions.
        bytes[LINE_LEN_OFFSET] = (LINE_START.len() + loader.len()) as u8;
        assert_eq!(Trailer::parse(&bytes), Ok(trailer), "{loader:?}");
        bytes[LINE_LEN_OFFSET] += 1;
        assert!(Trailer::parse(&bytes).is_err(), "{loader:?}");
    }
}

#[test]
fn string_with_nul_is_refused() {
    let trailer = Trailer {
        id: [0; 16],
        loader: b"/a\0b",
        sidecar: b"c",
        record: &[],
    };
    assert!(trailer.encode(&mut [0; 64]).is_err());
}

#[test]
fn truncated_or_foreign_loader_is_refused() {
    use sidecar::loader::{
        ABI, CLOSING_OFFSET, IMAGE_LEN, MAGIC, MAGIC_OFFSET, check, closing_mark,
    };
    let mut image = [0u8; IMAGE_LEN];
    image[MAGIC_OFFSET..MAGIC_OFFSET + 8].copy_from_slice(&MAGIC);
    image[16..18].copy_from_slice(&ABI.to_le_bytes());
    image[18..20].copy_from_slice(&machine::X86_64.to_le_bytes());
    image[CLOSING_OFFSET..].copy_from_slice(&closing_mark(machine::X86_64).to_le_bytes());
    assert_eq!(check(&image, machine::X86_64), Ok(()));
    assert!(
        check(&image, machine::AARCH64)
            .unwrap_err()
            .to_string()
            .contains("another architecture")
    );
    assert!(
        check(&image[..IMAGE_LEN - 1], machine::X86_64)
            .unwrap_err()
            .to_string()
            .contains("cut short")
    );
    assert!(
        check(b"#!/bin/sh\n", machine::X86_64)
            .unwrap_err()
            .to_string()
            .contains("not a wrap-buddy loader")
    );
    image[16] ^= 1;
    assert!(
        check(&image, machine::X86_64)
            .unwrap_err()
            .to_string()
            .contains("version")
    );
}

/// Two adjacent bytes of different words are the shortest change that the checksum can miss.
#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn few_changes_of_two_adjacent_bytes_are_missed() {
    let mut good = Vec::new();
    sample(&mut good);
    let mut bytes = good.clone();
    let at = CHECKED_FROM + 19;
    let missed = (0..=u16::MAX).filter(|value| {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        bytes != good && checksum_of(&bytes) == checksum_of(&good)
    });
    assert_eq!(missed.count(), 31, "of 65536");
}
