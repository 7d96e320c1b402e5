//! A runnable file: a program that unpacks a bundle and starts one of its programs. After the program's ELF file comes a header of
//! [`LEN`] bytes, then the paths of the bundle's programs, each with a NUL, and the bundle: a tar archive, compressed with Zstandard.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 16 | [`MAGIC`] |
//! | 16 | 32 | the name of the bundle's directory: hexadecimal digits of the payload's SHA-256 |
//! | 48 | 8 | length of the payload in bytes |
//! | 56 | 4 | length of the paths in bytes, at most [`MAX_PROGRAMS`] |
//! | 60 | 4 | 0 |
//!
//! Numbers are little-endian.

pub const MAGIC: [u8; 16] = *b"\x00wrap-buddy:run\x01";

/// Length of the header in bytes.
pub const LEN: usize = 64;

/// Length of the name in bytes.
pub const NAME_LEN: usize = 32;

/// Maximum length of all paths in bytes.
pub const MAX_PROGRAMS: usize = 64 << 10;

/// The variable with a directory to unpack to, instead of starting a program.
pub const UNPACK: &str = "WRAP_BUDDY_UNPACK";

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runnable {
    pub name: [u8; NAME_LEN],
    pub payload_len: u64,
    pub programs_len: u32,
}

impl Runnable {
    /// Reads a header. `None` if there is none.
    pub fn parse(bytes: &[u8; LEN]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<16>()?;
        let (name, rest) = rest.split_first_chunk::<NAME_LEN>()?;
        let (payload_len, rest) = rest.split_first_chunk::<8>()?;
        let programs_len = u32::from_le_bytes(*rest.first_chunk::<4>()?);
        let is_valid = *magic == MAGIC
            && name.iter().all(u8::is_ascii_hexdigit)
            && programs_len as usize <= MAX_PROGRAMS;
        is_valid.then_some(Self {
            name: *name,
            payload_len: u64::from_le_bytes(*payload_len),
            programs_len,
        })
    }

    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..16].copy_from_slice(&MAGIC);
        bytes[16..48].copy_from_slice(&self.name);
        bytes[48..56].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.programs_len.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_written() {
        let runnable = Runnable {
            name: [b'a'; NAME_LEN],
            payload_len: 1 << 33,
            programs_len: 7,
        };
        let bytes = runnable.bytes();
        assert_eq!(Runnable::parse(&bytes), Some(runnable));
        for (at, byte) in [(0, 1), (16, b'/'), (59, 1)] {
            let mut other = bytes;
            other[at] = byte;
            assert_eq!(Runnable::parse(&other), None, "{at}");
        }
    }
}
