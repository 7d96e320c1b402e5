//! The formats on disk: arbitrary bytes are parsed without a panic, and encoded data is read back.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use sidecar::{
    Draft, Edit, EditKind, Flags, InPlace, InPlaceDraft, Legacy, Sidecar, ToolVersion, Trailer,
    Written, loader, machine,
};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut fixed = bytes.to_vec();
    fuzz::fix_checksum(&mut fixed);
    read(&fixed);
    let Ok(fields) = Fields::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    round_trip(&fields);
});

/// Parses `bytes` in every format, with all their parts.
fn read(bytes: &[u8]) {
    let parts = |len: usize| assert!(len <= bytes.len());
    if let Ok(sidecar) = Sidecar::parse(bytes) {
        parts(sidecar.slot().len());
        parts(sidecar.interpreter().len());
        parts(sidecar.search().len());
        parts(sidecar.needed_names().map(<[u8]>::len).sum());
        parts(sidecar.patches().count());
        for edit in sidecar.edits().flatten() {
            parts(edit.original.len());
        }
    }
    if let Ok(record) = InPlace::parse(bytes) {
        for written in record.edits() {
            assert_eq!(written.written.len(), written.edit.original.len());
        }
        parts(record.links().map(<[u8]>::len).sum());
    }
    for class in [1, 2] {
        if let Ok(legacy) = Legacy::parse(bytes, class) {
            let strings = legacy.interpreter.len() + legacy.search.len();
            let names: usize = legacy.needed_names().map(<[u8]>::len).sum();
            parts(strings + legacy.original.len() + names);
        }
    }
    if let Ok(trailer) = Trailer::parse(bytes) {
        let mut again = vec![0; trailer.encoded_len()];
        assert_eq!(trailer.encode(&mut again), Ok(again.len()));
        assert_eq!(again, bytes[..again.len()]);
    }
    for arch in sys::arch::all() {
        if loader::check(bytes, arch.machine).is_ok() {
            assert_eq!(bytes.len(), loader::IMAGE_LEN);
        }
    }
}

/// The fields of a sidecar. Names may contain NULs.
#[derive(Arbitrary, Debug)]
struct Fields {
    id: [u8; 16],
    numbers: [u64; 3],
    flags: u8,
    interpreter: Vec<u8>,
    search: Vec<u8>,
    names: Vec<Vec<u8>>,
    dynamic_len: u8,
    edits: Vec<(u64, Vec<u8>)>,
}

fn round_trip(fields: &Fields) {
    let names: Vec<&[u8]> = fields.names.iter().map(Vec::as_slice).collect();
    let edits: Vec<Edit<'_>> = fields
        .edits
        .iter()
        .map(|(offset, original)| Edit {
            kind: EditKind::Entry,
            // The end of the edit must not overflow.
            offset: *offset >> 1,
            original,
        })
        .collect();
    as_sidecar(fields, &names, &edits);
    let written: Vec<Written<'_>> = edits
        .iter()
        .map(|&edit| Written {
            edit,
            written: edit.original,
        })
        .collect();
    as_in_place(fields, &names, &written);
    let trailer = Trailer {
        id: fields.id,
        loader: &fields.interpreter,
        sidecar: &fields.search,
        record: names.first().copied().unwrap_or_default(),
    };
    let mut bytes = vec![0; trailer.encoded_len()];
    if trailer.encode(&mut bytes).is_ok() {
        assert_eq!(Trailer::parse(&bytes), Ok(trailer));
    }
}

fn as_sidecar(fields: &Fields, names: &[&[u8]], edits: &[Edit<'_>]) {
    let [entry, slot_address, debug_address] = fields.numbers;
    let draft = Draft {
        machine: machine::X86_64,
        class: 2,
        loader: &[],
        flags: Flags(fields.flags & 15),
        id: fields.id,
        tool: ToolVersion::new(1, 2, 3),
        stub_len: 180,
        entry,
        slot_address,
        slot_protection: 5,
        debug_address,
        interpreter: &fields.interpreter,
        search: &fields.search,
        needed: names,
        dynamic_len: fields.dynamic_len.into(),
        own_dynamic_len: 16,
        strings: 0,
        patches: &[],
        edits,
    };
    let mut bytes = vec![0; draft.max_encoded_len()];
    let has_nul = [&fields.interpreter, &fields.search]
        .into_iter()
        .chain(&fields.names)
        .any(|text| text.contains(&0));
    let Ok(len) = draft.encode(&mut bytes) else {
        assert!(has_nul, "only a NUL is a reason to refuse");
        return;
    };
    assert!(!has_nul);
    let parsed = Sidecar::parse(&bytes[..len]);
    if fields.interpreter.is_empty() {
        assert!(parsed.is_err());
        return;
    }
    let parsed = parsed.expect("what was written");
    assert_eq!(parsed.header().id, fields.id);
    assert_eq!(
        (parsed.header().entry, parsed.header().slot_address),
        (entry, slot_address)
    );
    assert_eq!(parsed.interpreter(), fields.interpreter);
    assert_eq!(parsed.search(), fields.search);
    let stated = names.iter().filter(|name| !name.is_empty()).copied();
    assert!(parsed.needed_names().eq(stated));
    assert!(parsed.edits().flatten().eq(edits.iter().copied()));
}

fn as_in_place(fields: &Fields, links: &[&[u8]], edits: &[Written<'_>]) {
    let draft = InPlaceDraft {
        machine: machine::I686,
        class: 1,
        id: fields.id,
        tool: ToolVersion::new(1, 2, 3),
        edits,
        links,
    };
    let mut bytes = vec![0; draft.encoded_len()];
    let Ok(len) = draft.encode(&mut bytes) else {
        assert!(
            links
                .iter()
                .any(|name| name.is_empty() || name.contains(&0))
        );
        return;
    };
    assert_eq!(len, bytes.len());
    let parsed = InPlace::parse(&bytes).expect("what was written");
    assert_eq!(parsed.id, fields.id);
    assert!(parsed.edits().eq(edits.iter().copied()));
    assert!(parsed.links().eq(links.iter().copied()));
}
