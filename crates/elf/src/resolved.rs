//! The paths of libraries that `patchelf --build-resolution-cache` (0.19) writes to the note `.note.nixos.ldcache`. The format is not
//! documented; this is what patchelf writes: for each DT_NEEDED that has no slash its name, and the directories of the search path in which
//! it is or may be, separated by colons, `=PATH` where it is found and `?DIRECTORY` where the directory does not exist or is relative to
//! $ORIGIN. NULs end the strings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The owner of the note, without its NUL, and its type.
pub(super) const OWNER: &[u8] = b"NixOS";
pub(super) const TYPE: u32 = 0x63a8_6cb6;

/// A library in the note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// DT_NEEDED.
    pub soname: OsString,
    /// In the order of the search path.
    pub places: Vec<Place>,
}

/// What the note has for an entry of the search path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The library's path.
    Found(PathBuf),
    /// An entry of the search path to search at run time.
    Searched(OsString),
}

impl Place {
    /// The entry of the search path for which it stands.
    pub fn directory(&self) -> &OsStr {
        match self {
            Self::Found(path) => path.parent().unwrap_or(Path::new("")).as_os_str(),
            Self::Searched(entry) => entry,
        }
    }
}

pub(super) fn parse(content: &[u8]) -> Vec<Resolved> {
    let strings: Vec<&[u8]> = content.split(|&byte| byte == 0).collect();
    let pairs = strings
        .chunks_exact(2)
        .take_while(|pair| !pair[0].is_empty());
    let resolved = pairs.map(|pair| Resolved {
        soname: OsStr::from_bytes(pair[0]).to_owned(),
        places: pair[1]
            .split(|&byte| byte == b':')
            .filter_map(place)
            .collect(),
    });
    resolved.collect()
}

fn place(text: &[u8]) -> Option<Place> {
    let (kind, rest) = text.split_first()?;
    let rest = OsStr::from_bytes(rest);
    match kind {
        b'=' => Some(Place::Found(rest.into())),
        b'?' => Some(Place::Searched(rest.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_separated_by_colons() {
        let note = b"liba.so\0?/gone:=/lib/liba.so:?$ORIGIN/x\0libb.so\0=/b/libb.so\0\0\0";
        let resolved = parse(note);
        assert_eq!(resolved.len(), 2);
        let directories = resolved[0].places.iter().map(Place::directory);
        assert!(directories.eq(["/gone", "/lib", "$ORIGIN/x"]));
        assert_eq!(resolved[1].places, [Place::Found("/b/libb.so".into())]);
        assert!(parse(b"").is_empty() && parse(b"\0\0\0").is_empty());
    }
}
