//! Libraries that a program declares to open with dlopen: ELF dlopen metadata
//! (<https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>).

use object::LittleEndian;
use object::elf::{FileHeader32, PT_NOTE};
use object::read::elf::NoteIterator;
use serde::Deserialize;

use super::{LE, Segment, Source};

/// The owner of the note, without its NUL, and its type.
const OWNER: &[u8] = b"FDO";
const TYPE: u32 = 0x407c_0c0a;

/// Maximum number of bytes of notes.
const MAX_NOTES: u64 = 1 << 20;

/// How important a library is to the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// The program does not work without it.
    Required,
    /// The program works without it, but users would miss it.
    #[default]
    Recommended,
    /// The program works without it.
    Suggested,
}

/// A library that is opened, with its alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// Sonames; the program opens the first that exists.
    pub soname: Vec<String>,
    /// The name of the feature that needs it.
    #[serde(default)]
    pub feature: String,
    /// A sentence on the feature.
    #[serde(default)]
    pub description: String,
    /// How important the library is.
    #[serde(default)]
    pub priority: Priority,
}

impl Opened {
    /// The purpose, to print after the name; empty if the file does not say.
    pub fn purpose(&self) -> String {
        match (&*self.description, &*self.feature) {
            ("", "") => String::new(),
            ("", feature) => format!(" for {feature}"),
            (description, _) => format!(" ({description})"),
        }
    }
}

/// The entries of the notes in `segments`. Invalid notes are skipped.
pub(super) fn read(source: &mut Source, segments: &[Segment]) -> Vec<Opened> {
    let notes = segments.iter().filter(|one| one.kind == PT_NOTE);
    let mut found = Vec::new();
    for note in notes {
        let Ok(bytes) = source.read(note.offset, note.file_len.min(MAX_NOTES)) else {
            continue;
        };
        found.extend(of_notes(&bytes, note.align));
    }
    found
}

/// The entries of consecutive notes, up to an incomplete one. Both classes have the same format (gABI, "Note Section").
fn of_notes(bytes: &[u8], align: u64) -> Vec<Opened> {
    let align = if align == 8 { 8 } else { 4 };
    let Ok(notes) = NoteIterator::<FileHeader32<LittleEndian>>::new(LE, align, bytes) else {
        return Vec::new();
    };
    let whole = notes.map_while(Result::ok);
    let ours = whole.filter(|note| (note.n_type(LE), note.name()) == (TYPE, OWNER));
    ours.flat_map(|note| parse(note.desc())).collect()
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
        let opened = of_notes(&bytes, 4);
        assert_eq!(opened[0].soname, ["liba.so.1", "liba.so.0"]);
        assert_eq!(opened[0].priority, Priority::Required);
        for len in 0..bytes.len() {
            let _ = of_notes(&bytes[..len], 8);
        }
        assert!(parse(b"[{]").is_empty());
    }
}
