//! Dynamic linkers without default directories, as those of a store.

const CACHE: &[u8] = b"/etc/ld.so.cache";

/// A dynamic linker whose default directories and ld.so.cache do not exist. Each directory in it is a string that begins and ends
/// with a slash.
pub fn blinded(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut start = 0;
    for end in 0..bytes.len() {
        if bytes[end] != 0 {
            continue;
        }
        let text = &mut bytes[start..end];
        start = end + 1;
        let is_path = text.len() > 2 && text.iter().all(u8::is_ascii_graphic);
        if is_path && text.starts_with(b"/") && (text.ends_with(b"/") || text == CACHE) {
            let last = text.len() - 1;
            text[1..last].fill(b'_');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_a_dynamic_linker_are_blinded() {
        let bytes = b"\x7fELF\0/lib/x/\0/usr/lib/\0/etc/ld.so.cache\0lib/\0/\0//\0/etc/x\0/lib/";
        let blind = b"\x7fELF\0/_____/\0/_______/\0/______________e\0lib/\0/\0//\0/etc/x\0/lib/";
        assert_eq!(blinded(bytes.to_vec()), blind);
    }
}
