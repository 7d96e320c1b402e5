//! The sidecar of a file that was edited in place. It is not used when a program runs. The tool reads it to undo the edits, and to
//! see whether they are still there.

use core::mem::size_of;

use crate::bytes::{Writer, array, u16_at, u32_at, u64_at};
use crate::record::{CHECKED_FROM, Edit, EditKind, ToolVersion, checksum_of};
use crate::{Error, ID_LEN, Id};

/// The first bytes, with the version of the format. They differ from those of a [`Sidecar`](crate::Sidecar), so no loader accepts
/// this file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"\x7fwrapip1");

/// Offsets of the fixed fields: magic, checksum, length of the text, e_machine, class, id, version of the tool, number of edits,
/// bytes of link names. The text at the end of the file is the strings (paths) that the edits write. As in a
/// [`Header`](crate::Header), the checksum does not cover it.
const CHECKSUM: usize = size_of::<u64>();
const TEXT_LEN: usize = CHECKED_FROM;
const MACHINE: usize = TEXT_LEN + 4;
const CLASS: usize = MACHINE + 2;
const ID: usize = CLASS + 2;
const TOOL: usize = ID + ID_LEN;
const EDITS: usize = TOOL + 4;
const LINKS: usize = EDITS + 4;
const HEADER_LEN: usize = LINKS + 4;

/// Bytes before the contents of an edit: offset, kind, length.
const EDIT_HEADER_LEN: usize = 16;

/// Maximum number of edits, many times the number that fits into a file. A reader goes through all of them for each byte of the
/// original.
pub const MAX_EDITS: usize = 1 << 13;

/// An edit with the bytes that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// The edit, with the original bytes.
    pub edit: Edit<'a>,
    /// The new bytes, as many as the original ones.
    pub written: &'a [u8],
}

impl Written<'_> {
    fn is_text(&self) -> bool {
        self.edit.kind == EditKind::Text
    }
}

/// The contents of a new sidecar of a file edited in place.
#[derive(Clone, Copy, Debug)]
pub struct InPlaceDraft<'a> {
    /// `e_machine` of the file.
    pub machine: u16,
    /// EI_CLASS of the file: 1 or 2.
    pub class: u8,
    /// The identity of the original file.
    pub id: Id,
    pub tool: ToolVersion,
    pub edits: &'a [Written<'a>],
    /// Names of the symbolic links in the directory of links; empty if there is no such directory.
    pub links: &'a [&'a [u8]],
}

impl InPlaceDraft<'_> {
    /// Length of the sidecar in bytes.
    pub fn encoded_len(&self) -> usize {
        let edit = |edit: &Written<'_>| EDIT_HEADER_LEN + 2 * edit.written.len();
        let edits: usize = self.edits.iter().map(edit).sum::<usize>() - self.strings_len();
        let links: usize = self.links.iter().map(|name| name.len() + 1).sum();
        (HEADER_LEN + edits + links).next_multiple_of(8) + self.text_len()
    }

    fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let strings = self.edits.iter().filter(|edit| edit.is_text());
        strings.map(|edit| edit.written)
    }

    fn strings_len(&self) -> usize {
        self.strings().map(<[u8]>::len).sum()
    }

    fn text_len(&self) -> usize {
        self.strings_len().next_multiple_of(8)
    }

    /// Writes the sidecar to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// If `out` is too small, a link name is empty or contains a NUL, the two sides of an edit differ in length, the end of an edit
    /// exceeds the largest offset, or there are more than [`MAX_EDITS`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.links.iter().any(|name| name.contains(&0)) {
            return Err(Error(c"has a string with a NUL in it"));
        }
        if self.links.iter().any(|name| name.is_empty()) {
            return Err(Error(c"has a link without a name"));
        }
        let unequal = |edit: &Written<'_>| edit.written.len() != edit.edit.original.len();
        if self.edits.iter().any(unequal) {
            return Err(Error(c"has an edit that changes lengths"));
        }
        if self.edits.len() > MAX_EDITS {
            return Err(Error(c"has too many edits"));
        }
        let ends = |edit: &Written<'_>| edit.edit.end().is_some();
        if !self.edits.iter().all(ends) {
            return Err(Error(c"has an edit that ends nowhere"));
        }
        u32::try_from(self.encoded_len()).map_err(|_| Error(c"is larger than 4 GiB"))?;
        let total = self.lay_out(out, 0)?;
        let sum = checksum_of(out.get(..total).unwrap_or_default());
        self.lay_out(out, sum.unwrap_or_default())
    }

    fn lay_out(&self, out: &mut [u8], sum: u32) -> Result<usize, Error> {
        let mut writer = Writer::new(out);
        writer.u64(MAGIC);
        writer.u32(sum);
        writer.u32(self.text_len() as u32);
        writer.u16(self.machine);
        writer.u8(self.class);
        writer.u8(0);
        writer.bytes(&self.id);
        writer.u32(self.tool.0);
        writer.u32(self.edits.len() as u32);
        let links: usize = self.links.iter().map(|name| name.len() + 1).sum();
        writer.u32(links as u32);
        for one in self.edits {
            let Written { edit, written } = one;
            writer.u64(edit.offset);
            writer.u32(edit.kind.code());
            writer.u32(written.len() as u32);
            writer.bytes(edit.original);
            if !one.is_text() {
                writer.bytes(written);
            }
        }
        for name in self.links {
            writer.bytes(name);
            writer.u8(0);
        }
        writer.align(8);
        for string in self.strings() {
            writer.bytes(string);
        }
        writer.align(8);
        writer.finish()
    }
}

/// The validated sidecar of a file edited in place, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct InPlace<'a> {
    /// `e_machine` of the file.
    pub machine: u16,
    /// EI_CLASS of the file: 1 or 2.
    pub class: u8,
    /// The identity of the original file.
    pub id: Id,
    pub tool: ToolVersion,
    edits: &'a [u8],
    links: &'a [u8],
    text: &'a [u8],
}

impl<'a> InPlace<'a> {
    /// Parses a sidecar that is exactly `bytes`.
    ///
    /// # Errors
    /// If any field is invalid. The result needs no further checks.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if u64_at(bytes, 0) != Some(MAGIC) {
            return Err(Error(
                c"is not a sidecar of a file edited in place, of this version",
            ));
        }
        Self::read(bytes).ok_or(Error(c"is a damaged sidecar"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let whole =
            bytes.len().is_multiple_of(8) && Some(u32_at(bytes, CHECKSUM)?) == checksum_of(bytes);
        let text_len = u32_at(bytes, TEXT_LEN)? as usize;
        let (content, text) =
            bytes.split_at_checked(bytes.len().checked_sub(text_len).filter(|_| whole)?)?;
        let rest = content.get(HEADER_LEN..)?;
        let (mut after, mut text_after) = (rest, text);
        let edits = u32_at(bytes, EDITS)?;
        if edits as usize > MAX_EDITS {
            return None;
        }
        for _ in 0..edits {
            (_, after, text_after) = split_edit(after, text_after)?;
        }
        let edits = rest.get(..rest.len().checked_sub(after.len())?)?;
        let links = after.get(..u32_at(bytes, LINKS)? as usize)?;
        let ended = links.last().is_none_or(|&last| last == 0) && text_after.len() < 8;
        ended.then_some(Self {
            machine: u16_at(bytes, MACHINE)?,
            class: *bytes.get(CLASS)?,
            id: array(bytes, ID)?,
            tool: ToolVersion(u32_at(bytes, TOOL)?),
            edits,
            links,
            text,
        })
    }

    /// Every edit, in the order of writing.
    pub fn edits(&self) -> impl Iterator<Item = Written<'a>> + use<'a> {
        let (mut rest, mut text) = (self.edits, self.text);
        core::iter::from_fn(move || {
            let edit;
            (edit, rest, text) = split_edit(rest, text)?;
            Some(edit)
        })
    }

    /// Names of the symbolic links in the directory of links.
    pub fn links(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let names = self.links.split(|&byte| byte == 0);
        names.filter(|name| !name.is_empty())
    }
}

/// The first edit, and the rest of the edits and of the text.
fn split_edit<'a>(bytes: &'a [u8], text: &'a [u8]) -> Option<(Written<'a>, &'a [u8], &'a [u8])> {
    let len = u32_at(bytes, 12)? as usize;
    let (original, rest) = bytes.get(EDIT_HEADER_LEN..)?.split_at_checked(len)?;
    let kind = EditKind::from_code(u32_at(bytes, 8)?)?;
    let (written, rest, text) = if kind == EditKind::Text {
        let (written, text) = text.split_at_checked(len)?;
        (written, rest, text)
    } else {
        let (written, rest) = rest.split_at_checked(len)?;
        (written, rest, text)
    };
    let edit = Edit {
        kind,
        offset: u64_at(bytes, 0)?,
        original,
    };
    // Callers add length and offset without a check for overflow.
    edit.end()?;
    Some((Written { edit, written }, rest, text))
}
