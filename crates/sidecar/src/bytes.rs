//! Reads and writes little-endian fields by offset. Nothing here can panic, because the loader has no room for the panic code.

use crate::Error;

/// Reads `N` bytes at `at`; `None` if the slice is shorter.
#[inline(always)]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[inline(always)]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array(bytes, at)?))
}

#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array(bytes, at)?))
}

#[inline(always)]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(array(bytes, at)?))
}

/// Fills a buffer from the front. [`Writer::finish`] returns the error of the first write that did not fit, so an encoder is a
/// plain list of fields.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            overflow: false,
        }
    }

    /// The offset of the next field.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn bytes(&mut self, field: &[u8]) {
        let end = self.at.saturating_add(field.len());
        match self.out.get_mut(self.at..end) {
            Some(room) => room.copy_from_slice(field),
            None => self.overflow = true,
        }
        self.at = end;
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn align(&mut self, to: usize) {
        while !self.at.is_multiple_of(to) {
            self.u8(0);
        }
    }

    /// Returns the number of bytes written.
    pub(crate) fn finish(self) -> Result<usize, Error> {
        if self.overflow {
            Err(Error(c"needs a larger buffer"))
        } else {
            Ok(self.at)
        }
    }
}
