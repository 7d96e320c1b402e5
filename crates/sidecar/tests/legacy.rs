//! Sidecars of the first wrap-buddy, written here by their documented layout and parsed.

use sidecar::Legacy;

struct Fields<'a> {
    entry: u64,
    interpreter: &'a [u8],
    search: &'a [u8],
    original: &'a [u8],
    /// `None` for the layout of 1.0.0 and 1.0.1, which has no such field.
    names: Option<&'a [u8]>,
}

/// The layout: entry point, number of original bytes, lengths, then the parts.
fn written(class: u8, fields: &Fields<'_>) -> Vec<u8> {
    let word = if class == 2 { 8 } else { 4 };
    let mut bytes = fields.entry.to_le_bytes()[..word].to_vec();
    bytes.extend(&fields.original.len().to_le_bytes()[..word]);
    let names = fields.names.into_iter();
    for part in [fields.interpreter, fields.search].into_iter().chain(names) {
        bytes.extend((part.len() as u16).to_le_bytes());
    }
    bytes.extend(fields.interpreter);
    bytes.extend(fields.search);
    bytes.extend(fields.original);
    bytes.extend(fields.names.unwrap_or_default());
    bytes
}

const ORIGINAL: &[u8] = b"\xf3\x0f\x1e\xfa\0\0\x31\xed";
const ABSOLUTE: (&[u8], &[u8]) = (b"/lib64/ld.so\0", b"/a/lib:/b\0");
const RELATIVE: (&[u8], &[u8]) = (b"../lib/ld.so\0", b"$ORIGIN/../lib\0");

/// All layouts: without the field for names, with it but without names, and with names; each absolute and relocatable.
fn all() -> impl Iterator<Item = (u8, Fields<'static>)> {
    let names: [Option<&[u8]>; 3] = [None, Some(b""), Some(b"liba.so\0libb.so.1\0")];
    let paths = [ABSOLUTE, RELATIVE];
    let classes = [1, 2].into_iter();
    classes.flat_map(move |class| {
        paths.into_iter().flat_map(move |(interpreter, search)| {
            names.into_iter().map(move |names| {
                let fields = Fields {
                    entry: 0x40_1050,
                    interpreter,
                    search,
                    original: ORIGINAL,
                    names,
                };
                (class, fields)
            })
        })
    })
}

#[test]
fn every_layout_is_read() {
    for (class, fields) in all() {
        let bytes = written(class, &fields);
        let header = match (class, fields.names) {
            (2, None) => 20,
            (2, Some(_)) => 22,
            (_, None) => 12,
            (_, Some(_)) => 14,
        };
        assert!(bytes[header..].starts_with(fields.interpreter));
        let legacy = Legacy::parse(&bytes, class).unwrap();
        assert_eq!(legacy.entry, 0x40_1050);
        assert_eq!([legacy.interpreter, b"\0"].concat(), fields.interpreter);
        assert_eq!([legacy.search, b"\0"].concat(), fields.search);
        assert_eq!(legacy.original, ORIGINAL);
        let names: Vec<&[u8]> = legacy.needed_names().collect();
        match fields.names {
            None | Some(b"") => assert!(names.is_empty()),
            Some(_) => assert_eq!(names, [&b"liba.so"[..], b"libb.so.1"]),
        }
        assert_eq!(legacy.is_relocatable(), fields.interpreter[0] == b'.');
    }
}

#[test]
fn sidecar_without_search_path_is_parsed() {
    for search in [&b""[..], b"\0"] {
        let fields = Fields {
            search,
            entry: 1,
            interpreter: ABSOLUTE.0,
            original: ORIGINAL,
            names: None,
        };
        let bytes = written(2, &fields);
        assert_eq!(Legacy::parse(&bytes, 2).unwrap().search, b"");
    }
}

#[test]
fn truncated_legacy_sidecar_is_refused() {
    for (class, fields) in all() {
        let bytes = written(class, &fields);
        for len in 0..bytes.len() {
            assert!(Legacy::parse(&bytes[..len], class).is_err(), "{len}");
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert!(Legacy::parse(&longer, class).is_err());
        assert!(Legacy::parse(&bytes, 3 - class).is_err());
    }
}

#[test]
fn string_with_wrong_length_is_refused() {
    let good = Fields {
        entry: 1,
        interpreter: b"/ld.so\0",
        search: b"/a\0",
        original: ORIGINAL,
        names: Some(b"liba.so\0"),
    };
    assert!(Legacy::parse(&written(2, &good), 2).is_ok());
    let bad = [
        Fields {
            interpreter: b"/ld.so",
            ..good
        },
        Fields {
            interpreter: b"/l\0.so\0",
            ..good
        },
        Fields {
            interpreter: b"\0",
            ..good
        },
        Fields {
            interpreter: b"",
            ..good
        },
        Fields {
            search: b"/a",
            ..good
        },
        Fields {
            search: b"/\0a\0",
            ..good
        },
        Fields {
            original: b"",
            ..good
        },
        Fields {
            names: Some(b"liba.so"),
            ..good
        },
    ];
    for (index, fields) in bad.iter().enumerate() {
        assert!(Legacy::parse(&written(2, fields), 2).is_err(), "{index}");
    }
}

#[test]
fn huge_lengths_do_not_panic() {
    for class in [1, 2] {
        for filler in [0, 1, 0x7f, 0xff] {
            for len in 0..100 {
                let _ = Legacy::parse(&vec![filler; len], class);
            }
        }
    }
}
