//! Sidecars of files edited in place. Written sidecars are read back. Arbitrary bytes cause no panic, no access outside the slice,
//! and no impossible edit.

use proptest::collection::vec;
use proptest::prelude::*;
use sidecar::{
    CHECKED_FROM, Edit, EditKind, Error, InPlace, InPlaceDraft, MAX_EDITS, ToolVersion, Written,
    checked_part, checksum_of, machine,
};

/// Offsets of the fields that these tests forge.
const CHECKSUM: usize = 8;
const ID: usize = 20;
const EDITS: usize = 40;
const LINKS: usize = 44;
const FIRST_EDIT: usize = 48;

const KINDS: [EditKind; 7] = [
    EditKind::Slot,
    EditKind::Interp,
    EditKind::Entry,
    EditKind::Text,
    EditKind::Dynamic,
    EditKind::Segment,
    EditKind::Section,
];

/// An edit whose two sides have the same length, as owned bytes.
type Owned = (EditKind, u64, Vec<u8>, Vec<u8>);

fn edit() -> impl Strategy<Value = Owned> {
    let sides = vec(any::<(u8, u8)>(), 0..80).prop_map(|pairs| pairs.into_iter().unzip());
    // The last offset at which 80 bytes fit before the largest offset.
    let offset = 0..=u64::MAX - 80;
    (prop::sample::select(&KINDS[..]), offset, sides)
        .prop_map(|(kind, offset, (original, written))| (kind, offset, original, written))
}

fn written((kind, offset, original, written): &Owned) -> Written<'_> {
    Written {
        edit: Edit {
            kind: *kind,
            offset: *offset,
            original,
        },
        written,
    }
}

fn encode(draft: &InPlaceDraft<'_>) -> Result<Vec<u8>, Error> {
    // Not zeros, because padding has to be written too.
    let mut bytes = vec![0xaa; draft.encoded_len()];
    let len = draft.encode(&mut bytes)?;
    assert_eq!(len, bytes.len(), "as long as promised");
    Ok(bytes)
}

fn blank() -> InPlaceDraft<'static> {
    InPlaceDraft {
        machine: machine::AARCH64,
        class: 2,
        id: *b"0123456789abcdef",
        tool: ToolVersion::default(),
        edits: &[],
        links: &[],
    }
}

fn one_edit(offset: u64, original: &'static [u8], written: &'static [u8]) -> Written<'static> {
    let kind = EditKind::Text;
    Written {
        edit: Edit {
            kind,
            offset,
            original,
        },
        written,
    }
}

fn sample() -> Vec<u8> {
    let edits = [
        one_edit(0x5f0, &[0; 33], b"/nix/store/x/lib:$ORIGIN/../lib\0\0"),
        one_edit(0x2df0, &[0; 16], &[0x1d; 16]),
    ];
    let draft = InPlaceDraft {
        edits: &edits,
        links: &[b"libfoo.so.1", b"libbar.so"],
        ..blank()
    };
    encode(&draft).expect("fits")
}

/// Corrects the checksum, as an attacker would.
fn seal(bytes: &mut [u8]) {
    if let Some(sum) = checksum_of(bytes) {
        bytes[CHECKSUM..CHECKED_FROM].copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn too_many_edits_are_refused() {
    let edits = vec![one_edit(0, &[], &[]); MAX_EDITS + 1];
    let draft = |count: usize| InPlaceDraft {
        edits: &edits[..count],
        ..blank()
    };
    let most = encode(&draft(MAX_EDITS)).expect("as many as may be");
    assert!(InPlace::parse(&most).is_ok());
    assert!(encode(&draft(MAX_EDITS + 1)).is_err());
    let mut more = most;
    more.extend([0; 16]);
    // The last edit has the same kind as the others.
    more.copy_within(FIRST_EDIT..FIRST_EDIT + 16, FIRST_EDIT + 16 * MAX_EDITS);
    more[EDITS..EDITS + 4].copy_from_slice(&(MAX_EDITS as u32 + 1).to_le_bytes());
    seal(&mut more);
    assert!(InPlace::parse(&more).is_err());
}

/// Properties that the tool relies on without a check.
fn is_well_formed(read: &InPlace<'_>, bytes: &[u8]) -> bool {
    let edits = read.edits().all(|one| {
        let len = one.written.len();
        len == one.edit.original.len()
            && len <= bytes.len()
            && one.edit.offset.checked_add(len as u64).is_some()
    });
    let links = read
        .links()
        .all(|name| !name.is_empty() && !name.contains(&0));
    edits && links
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]

    #[test]
    fn a_sidecar_reads_back(
        edits in vec(edit(), 0..6),
        names in vec(vec(1u8..=255, 1..40), 0..5),
        id in any::<[u8; 16]>(),
        (machine, class) in any::<(u16, u8)>(),
    ) {
        let edits: Vec<Written<'_>> = edits.iter().map(written).collect();
        let links: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let draft = InPlaceDraft { machine, class, id, tool: ToolVersion::default(), edits: &edits, links: &links };
        let bytes = encode(&draft).expect("the buffer is as large as promised");

        let read = InPlace::parse(&bytes).expect("reads back");
        prop_assert_eq!((read.machine, read.class, read.id), (machine, class, id));
        prop_assert_eq!(read.edits().collect::<Vec<_>>(), edits);
        prop_assert_eq!(read.links().collect::<Vec<_>>(), links);
        prop_assert!(sidecar::Sidecar::parse(&bytes).is_err(), "a loader would accept it");

        for cut in 0..bytes.len() {
            prop_assert!(InPlace::parse(&bytes[..cut]).is_err(), "accepted when cut at {}", cut);
        }
        let mut longer = bytes;
        longer.extend([0; 8]);
        prop_assert!(InPlace::parse(&longer).is_err(), "accepted with trailing bytes");
    }

    #[test]
    fn a_short_buffer_is_an_error(short in 1usize..400) {
        let draft = InPlaceDraft { edits: &[one_edit(8, &[0; 9], &[1; 9])], links: &[b"libfoo.so.1"], ..blank() };
        let len = draft.encoded_len().saturating_sub(short);
        prop_assert!(draft.encode(&mut vec![0; len]).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(mut bytes in vec(any::<u8>(), 0..400), has_magic in any::<bool>()) {
        if let (true, Some(front)) = (has_magic, bytes.get_mut(..8)) {
            front.copy_from_slice(&sample()[..8]);
        }
        prop_assert!(InPlace::parse(&bytes).is_err());
    }

    #[test]
    fn changed_byte_is_detected(at in 0usize..4096, value in any::<u8>()) {
        let mut bytes = sample();
        let at = at % bytes.len();
        let checked = CHECKED_FROM + checked_part(&bytes).expect("well-formed").len();
        let damaged = bytes[at] != value && at < checked;
        bytes[at] = value;
        prop_assert_eq!(InPlace::parse(&bytes).is_err(), damaged);
    }

    #[test]
    fn forged_sidecar_is_refused_or_valid(
        words in vec((ID / 4..4096, prop_oneof![any::<u32>(), 0u32..64, Just(u32::MAX)]), 1..4),
    ) {
        let mut bytes = sample();
        let count = bytes.len() / 4;
        for (word, value) in words {
            let at = word % (count - ID / 4) + ID / 4;
            bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut bytes);
        if let Ok(read) = InPlace::parse(&bytes) {
            prop_assert!(is_well_formed(&read, &bytes));
        }
    }
}

#[test]
fn draft_with_invalid_part_is_refused() {
    let with_nul: &[&[u8]] = &[b"lib\0foo.so"];
    let nameless: &[&[u8]] = &[b"libfoo.so", b""];
    for links in [with_nul, nameless] {
        assert!(encode(&InPlaceDraft { links, ..blank() }).is_err());
    }
    let uneven = [one_edit(0, &[0; 3], &[1; 4])];
    let beyond = [one_edit(u64::MAX - 2, &[0; 3], &[1; 3])];
    for edits in [&uneven, &beyond] {
        assert!(encode(&InPlaceDraft { edits, ..blank() }).is_err());
    }
}

#[test]
fn sidecar_with_contradictory_fields_is_refused() {
    let last_kind = 7u32;
    for (what, at, value) in [
        ("more edits than there are", EDITS, 3u32.to_le_bytes()),
        ("very many edits", EDITS, [0xff; 4]),
        ("more links than there are", LINKS, 4096u32.to_le_bytes()),
        ("an unterminated link name", LINKS, 3u32.to_le_bytes()),
        ("a text of another length", CHECKED_FROM, 8u32.to_le_bytes()),
        (
            "an unknown kind",
            FIRST_EDIT + 8,
            (last_kind + 1).to_le_bytes(),
        ),
        ("an endless edit", FIRST_EDIT + 12, [0xff; 4]),
        ("a length that runs on", FIRST_EDIT + 12, [0, 1, 0, 0]),
    ] {
        let mut bytes = sample();
        bytes[at..at + 4].copy_from_slice(&value);
        seal(&mut bytes);
        assert!(InPlace::parse(&bytes).is_err(), "{what}");
    }
    let mut bytes = sample();
    bytes[FIRST_EDIT..FIRST_EDIT + 8].copy_from_slice(&(u64::MAX - 4).to_le_bytes());
    seal(&mut bytes);
    assert!(
        InPlace::parse(&bytes).is_err(),
        "an edit after the last offset"
    );
}
