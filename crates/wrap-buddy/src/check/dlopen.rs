//! Libraries that a program opens while it runs, as far as it says so: ELF dlopen metadata
//! (<https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>).

use object::elf::PT_NOTE;
use serde::Deserialize;

use crate::inspect::{Elf, Source};

/// `FDO` and its type.
const OWNER: &[u8] = b"FDO\0";
const TYPE: u32 = 0x407c_0c0a;

/// Bytes of notes read at most.
const MAX_NOTES: u64 = 1 << 20;

/// How much a program depends on a library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// It does not work without.
    Required,
    /// It does, and somebody would miss it.
    #[default]
    Recommended,
    /// It does.
    Suggested,
}

/// One library, and what else would do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// The first of these that is there is opened.
    pub soname: Vec<String>,
    /// What for.
    #[serde(default)]
    pub feature: String,
    /// The same in a sentence.
    #[serde(default)]
    pub description: String,
    /// How much depends on it.
    #[serde(default)]
    pub priority: Priority,
}

/// What the notes of a file say; one that makes no sense says nothing.
pub fn opened(elf: &Elf, source: &mut Source) -> Vec<Opened> {
    let notes = elf.segments.iter().filter(|one| one.kind == PT_NOTE);
    let mut found = Vec::new();
    for note in notes {
        let align = if note.align == 8 { 8 } else { 4 };
        let Ok(bytes) = source.read(note.offset, note.file_len.min(MAX_NOTES)) else {
            continue;
        };
        let mut rest = bytes.as_slice();
        while let Some(note) = Note::first(rest, align) {
            if (note.kind, note.owner) == (TYPE, OWNER) {
                found.extend(parse(note.content));
            }
            rest = note.behind;
        }
    }
    found
}

/// A note, and what is behind it.
struct Note<'n> {
    kind: u32,
    owner: &'n [u8],
    content: &'n [u8],
    behind: &'n [u8],
}

impl<'n> Note<'n> {
    /// The one in front; nothing where it ends early.
    fn first(bytes: &'n [u8], align: usize) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        };
        let (owner_len, len) = (word(0)? as usize, word(4)? as usize);
        let owner_end = 12usize.checked_add(owner_len)?;
        let start = owner_end.checked_next_multiple_of(align)?;
        let end = start.checked_add(len)?;
        let behind = bytes.get(end.checked_next_multiple_of(align)?..);
        Some(Self {
            kind: word(8)?,
            owner: bytes.get(12..owner_end)?,
            content: bytes.get(start..end)?,
            behind: behind.unwrap_or_default(),
        })
    }
}

fn parse(content: &[u8]) -> Vec<Opened> {
    let end = content.iter().position(|&byte| byte == 0);
    let text = &content[..end.unwrap_or(content.len())];
    serde_json::from_slice(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_follow_each_other() {
        let text = br#"[{"soname":["liba.so.1","liba.so.0"],"feature":"a","priority":"required"}]"#;
        let mut bytes = Vec::new();
        for (kind, owner, content) in [(1, b"GNU\0", &b"12345"[..]), (TYPE, b"FDO\0", text)] {
            for word in [4, content.len() as u32, kind] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(owner);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let note = Note::first(&bytes, 4).unwrap();
        assert_eq!((note.kind, note.content), (1, &b"12345"[..]));
        let note = Note::first(note.behind, 4).unwrap();
        assert_eq!((note.kind, note.owner, note.behind), (TYPE, OWNER, &[][..]));
        let opened = parse(note.content);
        assert_eq!(opened[0].soname, ["liba.so.1", "liba.so.0"]);
        assert_eq!(opened[0].priority, Priority::Required);
        for len in 0..bytes.len() {
            let _ = Note::first(&bytes[..len], 8);
        }
        assert!(parse(b"[{]").is_empty());
    }
}
