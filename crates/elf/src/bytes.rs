//! Byte searches that do not ask the processor for its features first.
//!
//! `memchr` runs eleven CPUID instructions before its first search. Each one traps in a virtual machine: 0.1 ms in all, more than a
//! run for one file spends on its searches.

use memchr::arch::all::memchr::One;
use memchr::arch::all::packedpair::Pair;

/// The position of the first `byte`.
pub fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    One::new(byte).find(bytes)
}

/// The positions of every `byte`.
pub fn positions(bytes: &[u8], byte: u8) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + position(&bytes[from..], byte)?;
        from = at + 1;
        Some(at)
    })
}

/// Whether `bytes` contain `part`.
pub fn contain(bytes: &[u8], part: &[u8]) -> bool {
    occurrences(bytes, part).next().is_some()
}

/// The positions of every `part`. Searches for the byte of it that is rarest in other data. An empty `part` is at the front.
pub fn occurrences(bytes: &[u8], part: &[u8]) -> impl Iterator<Item = usize> {
    let into = Pair::new(part).map_or(0, |pair| usize::from(pair.index1()));
    let rarest = part.get(into).or(part.first()).copied();
    let candidates = rarest.map(|rarest| positions(bytes, rarest));
    let starts = candidates.into_iter().flatten().filter_map(move |at| {
        let start = at.checked_sub(into)?;
        bytes[start..].starts_with(part).then_some(start)
    });
    part.is_empty().then_some(0).into_iter().chain(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_found() {
        let text = b"/lib\0/lib64\0";
        assert_eq!(position(text, 0), Some(4));
        assert_eq!(positions(text, b'/').collect::<Vec<_>>(), [0, 5]);
        assert_eq!(positions(text, 0).collect::<Vec<_>>(), [4, 11]);
        assert!(contain(text, b"64\0"));
        assert!(!contain(text, b"65"));
        assert!(position(b"", 0).is_none());
        assert!(contain(text, b"/lib64\0"));
        assert!(contain(text, b"\0/"));
        assert!(contain(b"aab", b"ab"));
        assert!(contain(b"a", b"a"));
        assert!(!contain(b"", b"a"));
        assert!(!contain(b"b64", b"lib64"));
        assert!(contain(b"", b""));
        assert_eq!(occurrences(text, b"/lib").collect::<Vec<_>>(), [0, 5]);
        assert_eq!(occurrences(b"aaa", b"aa").collect::<Vec<_>>(), [0, 1]);
    }
}
