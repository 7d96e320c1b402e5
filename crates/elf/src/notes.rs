//! The notes of a file that concern its libraries.

use object::LittleEndian;
use object::elf::{FileHeader32, PT_NOTE};
use object::read::elf::NoteIterator;

use super::{LE, Segment, Source};
use crate::opened::{self, Opened};
use crate::resolved::{self, Resolved};

/// Maximum number of bytes of notes.
const MAX_NOTES: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub opened: Vec<Opened>,
    pub resolved: Vec<Resolved>,
}

impl Notes {
    /// The notes in `segments`. Invalid ones are skipped.
    pub(super) fn read(source: &mut Source, segments: &[Segment]) -> Self {
        let mut notes = Self::default();
        for segment in segments.iter().filter(|one| one.kind == PT_NOTE) {
            if let Ok(bytes) = source.read(segment.offset, segment.file_len.min(MAX_NOTES)) {
                notes.add(&bytes, segment.align);
            }
        }
        notes
    }

    /// Adds consecutive notes, up to an incomplete one. Both classes have the same format (gABI, "Note Section").
    fn add(&mut self, bytes: &[u8], align: u64) {
        let align = if align == 8 { 8 } else { 4 };
        let Ok(notes) = NoteIterator::<FileHeader32<LittleEndian>>::new(LE, align, bytes) else {
            return;
        };
        for note in notes.map_while(Result::ok) {
            match (note.n_type(LE), note.name()) {
                (opened::TYPE, opened::OWNER) => self.opened.extend(opened::parse(note.desc())),
                (resolved::TYPE, resolved::OWNER) => {
                    self.resolved.extend(resolved::parse(note.desc()));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opened::Priority;

    #[test]
    fn notes_follow_each_other() {
        let text = br#"[{"soname":["liba.so.1","liba.so.0"],"feature":"a","priority":"required"}]"#;
        let mut bytes = Vec::new();
        let cache = b"liba.so.1\0=/lib/liba.so.1\0\0";
        for (kind, owner, content) in [
            (1, &b"GNU\0"[..], &b"12345"[..]),
            (opened::TYPE, b"FDO\0", text),
            (resolved::TYPE, b"NixOS\0", cache),
        ] {
            for word in [owner.len() as u32, content.len() as u32, kind] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(owner);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let mut notes = Notes::default();
        notes.add(&bytes, 4);
        assert_eq!(notes.opened[0].soname, ["liba.so.1", "liba.so.0"]);
        assert_eq!(notes.opened[0].priority, Priority::Required);
        assert_eq!(notes.resolved.len(), 1);
        for len in 0..bytes.len() {
            Notes::default().add(&bytes[..len], 8);
        }
        assert!(opened::parse(b"[{]").is_empty());
    }
}
