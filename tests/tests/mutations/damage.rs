//! Ways to damage files.

use std::mem::{offset_of, size_of};
use std::ops::Range;

use fastrand::Rng;
use sidecar::{CHECKED_FROM, Header};

/// The checksum of a sidecar.
pub const CHECKSUM: Range<usize> = offset_of!(Header, checksum)..CHECKED_FROM;

/// Damages any part of a file.
pub fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..bytes.len());
    let end = (at + rng.usize(1..=32)).min(bytes.len());
    match rng.u8(..8) {
        0 => bytes.truncate(at),
        1 => bytes.extend((0..rng.usize(1..100)).map(|_| rng.u8(..))),
        2 => bytes[at..end].fill(0),
        3 => bytes[at..end].fill(0xff),
        4 => {
            bytes.drain(at..end);
        }
        5 => {
            let from = rng.usize(..bytes.len() - (end - at));
            bytes.copy_within(from..from + (end - at), at);
        }
        6 => bytes[at] ^= 1 << rng.u8(..8),
        _ => bytes[at] = interesting_byte(bytes[at], rng),
    }
}

fn interesting_byte(byte: u8, rng: &mut Rng) -> u8 {
    match rng.u8(..6) {
        0 => 0,
        1 => 0xff,
        2 => 0x7f,
        3 => byte.wrapping_add(1),
        4 => byte ^ 1 << rng.u8(..8),
        _ => rng.u8(..),
    }
}

/// Changes some adjacent bytes, mostly in the header: later bytes belong to strings, addresses or the program.
pub fn change_fields(bytes: &mut [u8], rng: &mut Rng) {
    let end = if rng.u8(..) < 200 {
        size_of::<Header>()
    } else {
        bytes.len()
    };
    let at = rng.usize(..end);
    let end = (at + rng.usize(1..=4)).min(bytes.len());
    for byte in &mut bytes[at..end] {
        *byte = interesting_byte(*byte, rng);
    }
}

/// Changes a field, or makes two program headers or tables equal.
pub fn change_headers(bytes: &mut [u8], parts: &[Range<usize>], rng: &mut Rng) {
    let part = parts[rng.usize(..parts.len())].clone();
    let word = if bytes[4] == 2 { 8 } else { 4 };
    let at = rng.usize(part.clone());
    match rng.u8(..4) {
        0 => bytes[at] = interesting_byte(bytes[at], rng),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2 => {
            let at = at - (at - part.start) % word;
            let len = word.min(part.end - at);
            let file_len = bytes.len() as u64;
            let values = [
                0,
                1,
                4095,
                4096,
                4097,
                file_len,
                file_len - 1,
                file_len + 1,
                1 << 28,
                (1 << 28) - 1,
                u64::MAX,
                i64::MAX as u64,
                1 << 31,
                1 << 47,
            ];
            let value = values[rng.usize(..values.len())];
            bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        _ => {
            let other = parts[rng.usize(..parts.len())].clone();
            let len = part.len().min(other.len());
            bytes.copy_within(other.start..other.start + len, part.start);
        }
    }
}

/// Writes the checksum as the tool does. There is none if the text is longer than the file.
pub fn fix_checksum(bytes: &mut [u8]) {
    let sum = sidecar::checksum_of(bytes).unwrap_or_default();
    bytes[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
}

/// The differences between two files, for a message.
pub fn difference(good: &[u8], bad: &[u8]) -> String {
    let pairs = good.iter().zip(bad).enumerate();
    let differing = pairs.filter(|(_, (one, other))| one != other);
    let shown = differing.map(|(at, (one, other))| format!("{at:#x}: {one:02x} {other:02x}"));
    let shown: Vec<String> = shown.take(100).collect();
    format!(
        "{} of {} bytes, {}",
        bad.len(),
        good.len(),
        shown.join(", ")
    )
}
