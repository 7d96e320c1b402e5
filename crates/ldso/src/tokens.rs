//! Expands the tokens in a search path as ld.so does (glibc elf/dl-load.c, _dl_dst_substitute).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The values of all tokens but `$ORIGIN`.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `$LIB`, which is built into ld.so. If the value is unknown, each likely value.
    pub lib: Vec<&'static str>,
    /// `$PLATFORM`. ld.so ignores a directory with it if there is no value.
    pub platform: Option<&'static str>,
}

/// Expands a search path. Leaves out directories relative to the current directory.
pub fn expand(text: &[u8], origin: &Path, tokens: &Tokens) -> Vec<PathBuf> {
    let mut texts = vec![text.to_vec()];
    let origin = origin.as_os_str().as_bytes();
    let lib_tokens: Vec<&[u8]> = tokens.lib.iter().map(|lib| lib.as_bytes()).collect();
    let platform: Vec<&[u8]> = tokens.platform.iter().map(|name| name.as_bytes()).collect();
    for (token, values) in [
        ("ORIGIN", &[origin][..]),
        ("LIB", &lib_tokens),
        ("PLATFORM", &platform),
    ] {
        texts = texts
            .into_iter()
            .flat_map(|text| substitute(&text, token.as_bytes(), values))
            .collect();
    }
    texts.retain(|text| text.starts_with(b"/"));
    texts
        .into_iter()
        .map(|text| PathBuf::from(OsString::from_vec(text)))
        .collect()
}

/// Replaces `$TOKEN` and `${TOKEN}` by each of `values`.
fn substitute(text: &[u8], token: &[u8], values: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(dollar) = rest[from..].iter().position(|&byte| byte == b'$') {
        let at = from + dollar;
        let after = &rest[at + 1..];
        let braced = after
            .strip_prefix(b"{")
            .and_then(|inner| inner.strip_prefix(token))
            .and_then(|inner| inner.strip_prefix(b"}"));
        let bare = after.strip_prefix(token).filter(|next| {
            !next
                .first()
                .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        });
        match braced.or(bare) {
            Some(next) => {
                pieces.push(&rest[..at]);
                rest = next;
                from = 0;
            }
            None => from = at + 1,
        }
    }
    if pieces.is_empty() {
        return vec![text.to_vec()];
    }
    pieces.push(rest);
    values.iter().map(|value| pieces.join(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            lib: vec!["lib", "lib/i386-linux-gnu"],
            platform: Some("i686"),
        }
    }

    fn expanded(text: &str) -> Vec<String> {
        let paths = expand(text.as_bytes(), Path::new("/app/bin"), &tokens());
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn a_directory_of_an_unknown_platform_is_left_out() {
        let tokens = Tokens {
            platform: None,
            ..tokens()
        };
        let paths = expand(b"/a/$PLATFORM", Path::new("/app/bin"), &tokens);
        assert_eq!(paths, [] as [PathBuf; 0]);
    }

    #[test]
    fn tokens_of_the_dynamic_linker() {
        assert_eq!(expanded("$ORIGIN/../lib"), ["/app/bin/../lib"]);
        assert_eq!(expanded("${ORIGIN}"), ["/app/bin"]);
        assert_eq!(expanded("/$LIB/x"), ["/lib/x", "/lib/i386-linux-gnu/x"]);
        assert_eq!(expanded("/a/$PLATFORM"), ["/a/i686"]);
        assert_eq!(expanded("/a/$ORIGINAL"), ["/a/$ORIGINAL"]);
        assert_eq!(expanded("/a$/b${ORIGIN"), ["/a$/b${ORIGIN"]);
        assert!(expanded("lib").is_empty());
    }
}
