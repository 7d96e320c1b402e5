//! The sidecar of the first wrap-buddy, an unrelated program: same file name, no magic, no checksum, no identity.
//!
//! Little-endian and packed. W is 8 bytes for a 64-bit program and 4 bytes for a 32-bit one:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | W | original e_entry |
//! | W | W | N, the number of original bytes |
//! | 2W | 2 | I, length of the interpreter's path with its NUL |
//! | 2W + 2 | 2 | S, length of the search path with its NUL; 0: none |
//! | 2W + 4 | 2 | K, length of the extra DT_NEEDED names, each with its NUL; only in the newer layout |
//! | then | I, S, N, K | interpreter, search path, original bytes at the entry point, names |
//!
//! Releases 1.0.0 and 1.0.1 wrote the layout without K. The length of the file decides which layout it is: both account for every
//! byte, and they differ by 2 + K.

use crate::Error;
use crate::bytes::{u16_at, u32_at, u64_at};

/// Longest path the kernel opens, in bytes with its NUL (linux/limits.h, PATH_MAX).
const PATH_MAX: usize = 4096;

/// The first wrap-buddy's record of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy<'a> {
    /// The original e_entry, a virtual address without the load bias.
    pub entry: u64,
    /// Path of the real dynamic linker, without NUL: absolute or, in relocatable mode, relative to the program's directory.
    pub interpreter: &'a [u8],
    /// Colon-separated search path, without NUL; may contain `$ORIGIN`; empty if there is none.
    pub search: &'a [u8],
    /// The original bytes at the entry point.
    pub original: &'a [u8],
    /// Extra DT_NEEDED names, each followed by NUL; empty if there are none.
    names: &'a [u8],
}

impl<'a> Legacy<'a> {
    /// Parses the sidecar of a program whose EI_CLASS is `class`.
    ///
    /// # Errors
    /// If the bytes are not exactly one of the two layouts.
    pub fn parse(bytes: &'a [u8], class: u8) -> Result<Self, Error> {
        let (word, entry, count) = match class {
            2 => (8, u64_at(bytes, 0), u64_at(bytes, 8)),
            _ => {
                let short = |at: usize| u32_at(bytes, at).map(u64::from);
                (4, short(0), short(4))
            }
        };
        let lengths = 2 * word;
        let fields = entry.zip(count);
        let strings = u16_at(bytes, lengths).zip(u16_at(bytes, lengths + 2));
        let Some(((entry, count), (interpreter_len, search_len))) = fields.zip(strings) else {
            return Err(Error(c"is shorter than its header"));
        };
        let fixed = lengths + 4;
        let (interpreter_len, search_len) = (usize::from(interpreter_len), usize::from(search_len));
        let original_len = usize::try_from(count).unwrap_or(usize::MAX);
        let length = fixed
            .saturating_add(interpreter_len)
            .saturating_add(search_len)
            .saturating_add(original_len);
        let (header_len, names_len) = match bytes.len().checked_sub(length) {
            Some(0) => (fixed, 0),
            Some(more) => match u16_at(bytes, fixed).map(usize::from) {
                Some(names_len) if more == 2 + names_len => (fixed + 2, names_len),
                _ => return Err(Error(c"has other lengths than its header says")),
            },
            None => return Err(Error(c"is shorter than its header says")),
        };
        let mut rest = bytes.get(header_len..).unwrap_or_default();
        let mut take = |len: usize| {
            let (field, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(field)
        };
        let parts = (
            take(interpreter_len),
            take(search_len),
            take(original_len),
            take(names_len),
        );
        let (Some(interpreter), Some(search), Some(original), Some(names)) = parts else {
            return Err(Error(c"is shorter than its header says"));
        };
        let interpreter = text(interpreter).filter(|path| !path.is_empty());
        let Some(interpreter) = interpreter.filter(|path| path.len() < PATH_MAX) else {
            return Err(Error(c"has no path of an interpreter"));
        };
        let Some(search) = text(search).or(search.is_empty().then_some(search)) else {
            return Err(Error(c"has a search path that does not end"));
        };
        if original.is_empty() {
            return Err(Error(c"has no original bytes"));
        }
        if names.last().is_some_and(|&last| last != 0) {
            return Err(Error(c"has names that do not end"));
        }
        Ok(Self {
            entry,
            interpreter,
            search,
            original,
            names,
        })
    }

    /// The extra DT_NEEDED names, in order, without NUL.
    pub fn needed_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let names = self.names.split(|&byte| byte == 0);
        names.filter(|name| !name.is_empty())
    }

    /// Whether it was written in relocatable mode: the interpreter is relative to the program's directory.
    pub fn is_relocatable(&self) -> bool {
        !self.interpreter.starts_with(b"/")
    }
}

/// A string without the NUL at its end; `None` if that is missing or not the only one.
fn text(field: &[u8]) -> Option<&[u8]> {
    match field {
        [text @ .., 0] if !text.contains(&0) => Some(text),
        _ => None,
    }
}
