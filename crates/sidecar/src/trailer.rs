//! The trailer after the stub's code. With it, a program that was renamed, copied or opened as a memfd still finds its loader and
//! its sidecar.

use crate::bytes::{Writer, array, u16_at, u32_at};
use crate::{Error, ID_LEN, Id};

/// Offset of the length of the line, a u32.
pub const LINE_LEN_OFFSET: usize = ID_LEN;

/// Offset of the length of the sidecar's path, a u16, which the length of the record follows: 0 if both are.
pub const SIDECAR_LEN_OFFSET: usize = LINE_LEN_OFFSET + 4;

/// Offset of the length of the record, a u16.
pub const RECORD_LEN_OFFSET: usize = SIDECAR_LEN_OFFSET + 2;

/// Offset of the line that the stub prints if it cannot start the loader: [`LINE_START`], then the loader's path unless that
/// contains a control character.
pub const LINE_OFFSET: usize = ID_LEN + 8;

/// The beginning of every line on stderr.
pub const LINE_START: &[u8; 12] = b"wrap-buddy: ";

/// Offset of the loader's path, which the stub opens.
pub const LOADER_OFFSET: usize = LINE_OFFSET + LINE_START.len();

/// Maximum length of a path in bytes.
const MAX_PATH: usize = 0xffff;

/// The trailer follows the stub's code, on aarch64 at a multiple of four bytes, on riscv64 and armv7 of two.
///
/// ```text
///  0  id            16 bytes
/// 16  line_len      u32, bytes of the line that are printed: to the loader's NUL, or to its path
/// 20  sidecar_len   u16, without the NUL
/// 22  record_len    u16
/// 24  line          "wrap-buddy: "
/// 36  loader        path, NUL
///  …  sidecar       path, NUL
///  …  record        a sidecar without edits, not aligned
/// ```
///
/// In absolute mode, `loader` begins with `/`. So does `sidecar`, unless the slot has no room for the path: then it is the file
/// name alone. In relocatable mode, both are relative to the directory of the executable. A self-contained program has its loader
/// in its sidecar: `loader` is the path of the sidecar, and `sidecar` is empty. If there is a record, the loader uses that and opens no
/// sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer<'a> {
    /// The identity, which is also in the sidecar.
    pub id: Id,
    /// Path of the file that the stub maps.
    pub loader: &'a [u8],
    /// Path of the sidecar; empty if it is the same file.
    pub sidecar: &'a [u8],
    /// The settings of a program that starts without its sidecar; empty if it needs the sidecar.
    pub record: &'a [u8],
}

impl<'a> Trailer<'a> {
    /// Length of the trailer in bytes.
    pub fn encoded_len(&self) -> usize {
        LOADER_OFFSET + self.loader.len() + 1 + self.sidecar.len() + 1 + self.record.len()
    }

    /// Writes the trailer to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// If `out` is too small, a path or the record is longer than 65535 bytes, or a path contains a NUL.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.loader.len() > MAX_PATH {
            return Err(Error(c"has a path longer than 65535 bytes"));
        }
        let (Ok(sidecar_len), Ok(record_len)) = (
            u16::try_from(self.sidecar.len()),
            u16::try_from(self.record.len()),
        ) else {
            return Err(Error(c"has a path or a record longer than 65535 bytes"));
        };
        if self.loader.contains(&0) || self.sidecar.contains(&0) {
            return Err(Error(c"has a path with a NUL in it"));
        }
        let mut writer = Writer::new(out);
        writer.bytes(&self.id);
        let shown = match has_control(self.loader) {
            true => 0,
            false => self.loader.len(),
        };
        writer.u32((LINE_START.len() + shown) as u32);
        writer.u16(sidecar_len);
        writer.u16(record_len);
        writer.bytes(LINE_START);
        for path in [self.loader, self.sidecar] {
            writer.bytes(path);
            writer.u8(0);
        }
        writer.bytes(self.record);
        writer.finish()
    }

    /// Reads a trailer from the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes end early or a path is not followed by its NUL.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::fields(bytes).ok_or(Error(c"is not a wrap-buddy trailer"))
    }

    #[inline]
    fn fields(bytes: &'a [u8]) -> Option<Self> {
        let line_len = u32_at(bytes, LINE_LEN_OFFSET)? as usize;
        let sidecar_len = usize::from(u16_at(bytes, SIDECAR_LEN_OFFSET)?);
        let record_len = usize::from(u16_at(bytes, RECORD_LEN_OFFSET)?);
        let loader = bytes.get(LOADER_OFFSET..)?.iter();
        let loader_len = loader.take(MAX_PATH + 1).position(|&byte| byte == 0)?;
        // Stubs of earlier versions print any path.
        let lens = [0, loader_len].map(|shown| LINE_START.len() + shown);
        if !lens.contains(&line_len) {
            return None;
        }
        let sidecar_at = LOADER_OFFSET + loader_len + 1;
        let record_at = sidecar_at + sidecar_len + 1;
        if *bytes.get(record_at - 1)? != 0 || bytes.get(LINE_OFFSET..LOADER_OFFSET)? != LINE_START {
            return None;
        }
        Some(Self {
            id: array(bytes, 0)?,
            loader: bytes.get(LOADER_OFFSET..LOADER_OFFSET + loader_len)?,
            sidecar: bytes.get(sidecar_at..sidecar_at + sidecar_len)?,
            record: bytes.get(record_at..record_at + record_len)?,
        })
    }
}

/// Whether a terminal may interpret `byte`, which follows `before`, as a control character: C0, DEL, or C1 in UTF-8.
#[inline(always)]
pub const fn is_control(before: u8, byte: u8) -> bool {
    byte < b' ' || byte == 0x7f || before == 0xc2 && byte & 0xe0 == 0x80
}

fn has_control(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|&byte| {
        let is_one = is_control(before, byte);
        before = byte;
        is_one
    })
}
