//! Writing a sidecar.

use crate::bytes::Writer;
use crate::loader::{IMAGE_LEN, MAX_RECORD};
use crate::record::{
    EDIT_HEADER_LEN, Edit, EditKind, Flags, HEADER_LEN, Header, MAGIC, PATCH_LEN, Patch, Span,
    ToolVersion, checksum_of, loader_checksum,
};
use crate::{Error, Id};

/// The contents of a new sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// `e_machine` of the program.
    pub machine: u16,
    /// EI_CLASS of the program: 1 or 2.
    pub class: u8,
    /// The loader of a self-contained program; empty if the loader is a separate file.
    pub loader: &'a [u8],
    pub flags: Flags,
    /// The identity, which is also in the stub's trailer.
    pub id: Id,
    pub tool: ToolVersion,
    /// Bytes of stub code before the trailer.
    pub stub_len: u32,
    /// The original e_entry.
    pub entry: u64,
    /// Virtual address of the slot, without the load bias.
    pub slot_address: u64,
    /// Protection of the slot's pages; see [`Header::slot_protection`].
    pub slot_protection: u32,
    /// Virtual address of DT_DEBUG's value in the program; 0 if it has none.
    pub debug_address: u64,
    pub interpreter: &'a [u8],
    /// Search path; empty if there is none.
    pub search: &'a [u8],
    pub needed: &'a [&'a [u8]],
    /// Bytes of the .dynamic for ld.so; 0 if the program's own is used.
    pub dynamic_len: u32,
    /// Bytes of the program's own .dynamic before the DT_NULL at its end.
    pub own_dynamic_len: u32,
    /// Value of DT_STRTAB; 0 if no patch adds a string.
    pub strings: u64,
    pub patches: &'a [DraftPatch],
    /// Every edit, with the original bytes. The one of kind [`EditKind::Slot`] is the slot.
    pub edits: &'a [Edit<'a>],
}

/// A [`Patch`] before the layout of the sidecar is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftPatch {
    /// Where to write, in bytes from the start of .dynamic.
    pub offset: u32,
    pub value: Value,
}

/// The value that a patch writes. Addresses are without the load bias, which ld.so adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    /// Offset of the search path from the string table.
    Search,
    /// Offset of the needed name with this index from the string table.
    Needed(usize),
}

/// The position of each part.
struct Layout {
    header: Header,
    total: usize,
}

impl Draft<'_> {
    /// Maximum length of the sidecar in bytes.
    pub fn max_encoded_len(&self) -> usize {
        let needed: usize = self.needed.iter().map(|name| name.len() + 1).sum();
        let edits: usize = self
            .edits
            .iter()
            .map(|edit| EDIT_HEADER_LEN + edit.original.len())
            .sum();
        let strings = self.interpreter.len() + self.search.len() + needed + 3;
        let parts = self.dynamic_len as usize + self.patches.len() * PATCH_LEN;
        let alignment = 8 * 17;
        self.loader.len() + HEADER_LEN + strings + parts + edits + alignment
    }

    /// Writes the sidecar to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// If `out` is too small, a string contains a NUL, the loader is not [`IMAGE_LEN`] bytes long, or the rest is longer than
    /// [`MAX_RECORD`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let names = self.needed.iter().copied();
        if [self.interpreter, self.search]
            .into_iter()
            .chain(names)
            .any(|text| text.contains(&0))
        {
            return Err(Error(c"has a string with a NUL in it"));
        }
        let out = match self.loader.len() {
            0 => out,
            IMAGE_LEN => {
                let (front, rest) = out
                    .split_at_mut_checked(IMAGE_LEN)
                    .ok_or(Error(c"needs a larger buffer"))?;
                front.copy_from_slice(self.loader);
                rest
            }
            _ => return Err(Error(c"has a loader that is not whole")),
        };
        // The header and the patches contain the positions of all parts. A first pass finds these.
        let mut known = self.lay_out(out, &Header::default())?;
        known = self.lay_out(out, &known.header)?;
        let end = known.total;
        if end > MAX_RECORD {
            return Err(Error(
                c"is larger than the loader reads: it has too many libraries or search directories",
            ));
        }
        self.lay_out(out, &known.header)?;
        let content = out.get(..end).unwrap_or_default();
        known.header.checksum = checksum_of(content).unwrap_or_default();
        self.lay_out(out, &known.header)?;
        Ok(self.loader.len() + end)
    }

    fn lay_out(&self, out: &mut [u8], known: &Header) -> Result<Layout, Error> {
        let mut writer = Writer::new(out);
        known.write(&mut writer);
        let mut header = Header {
            magic: MAGIC,
            checksum: known.checksum,
            machine: self.machine,
            class: self.class,
            flags: self.flags,
            loader_checksum: match self.loader {
                [] => 0,
                loader => loader_checksum(loader),
            },
            id: self.id,
            entry: self.entry,
            slot_address: self.slot_address,
            debug_address: self.debug_address,
            stub_len: self.stub_len,
            slot_protection: self.slot_protection,
            own_dynamic_len: self.own_dynamic_len,
            strings: self.strings,
            tool: self.tool,
            ..Header::default()
        };

        // The part that the loader writes to comes first: it then shares the header's page, which is copied in any case.
        header.dynamic.at = writer.position() as u32;
        header.dynamic.len = self.dynamic_len;
        (0..self.dynamic_len).for_each(|_| writer.u8(0));
        writer.align(8);
        header.patches.at = writer.position() as u32;
        for patch in self.patches {
            self.resolve(patch, known).write(&mut writer);
        }
        header.patches.len = writer.position() as u32 - header.patches.at;

        header.edits.at = writer.position() as u32;
        for edit in self.edits {
            writer.u64(edit.offset);
            writer.u32(edit.kind.code());
            writer.u32(edit.original.len() as u32);
            if edit.kind == EditKind::Slot {
                header.slot_offset = edit.offset;
                header.slot.at = writer.position() as u32;
                header.slot.len = edit.original.len() as u32;
            }
            writer.bytes(edit.original);
        }
        header.edits.len = writer.position() as u32 - header.edits.at;
        writer.align(8);
        let text = writer.position() as u32;
        header.interpreter = string(&mut writer, self.interpreter);
        header.search = string(&mut writer, self.search);
        header.needed.at = writer.position() as u32;
        for name in self.needed {
            writer.bytes(name);
            writer.u8(0);
        }
        header.needed.len = writer.position() as u32 - header.needed.at;
        writer.u8(0);
        writer.align(8);
        header.text_len = writer.position() as u32 - text;
        if self.flags.contains(Flags::RELOCATABLE) {
            header.interpreter_room.at = writer.position() as u32;
        }
        let total = writer.finish()?;
        Ok(Layout { header, total })
    }

    fn resolve(&self, patch: &DraftPatch, known: &Header) -> Patch {
        let (value, points_to_sidecar) = match patch.value {
            Value::Number(number) => (number, 0),
            Value::Search => (u64::from(known.search.at).wrapping_sub(self.strings), 1),
            Value::Needed(index) => {
                let before = self.needed.iter().take(index);
                let offset: usize = before.map(|name| name.len() + 1).sum();
                let at = u64::from(known.needed.at) + offset as u64;
                (at.wrapping_sub(self.strings), 1)
            }
        };
        Patch {
            offset: patch.offset,
            points_to_sidecar,
            value,
        }
    }
}

fn string(writer: &mut Writer<'_>, text: &[u8]) -> Span {
    let span = Span {
        at: writer.position() as u32,
        len: text.len() as u32,
    };
    writer.bytes(text);
    writer.u8(0);
    span
}
