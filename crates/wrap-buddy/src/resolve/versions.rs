//! Symbol versions that a library does not have: found now instead of when the program starts.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::inspect::{Elf, Required};

/// One line per library of which the file at `path` requires versions it does not define. `library` tells what a name
/// in DT_NEEDED was resolved to.
pub(super) fn unmet<'a>(
    path: &Path,
    elf: &Elf,
    library: impl Fn(&OsStr) -> Option<(&'a Path, &'a Elf)>,
) -> Vec<String> {
    let required = elf.dynamic.iter().flat_map(|dynamic| &dynamic.requires);
    let unmet = required.filter_map(|required| {
        let (found, library) = library(&required.library)?;
        line(path, required, found, &library.dynamic.as_ref()?.defines)
    });
    unmet.collect()
}

fn line(path: &Path, required: &Required, found: &Path, defines: &[OsString]) -> Option<String> {
    // ld.so is content with a library that has no versions at all.
    if defines.is_empty() {
        return None;
    }
    let lacking: Vec<String> = required
        .versions
        .iter()
        .filter(|version| !defines.contains(version))
        .map(|version| version.to_string_lossy().into_owned())
        .collect();
    let first = lacking.first()?;
    let newest = newest_like(first, defines)
        .map(|newest| format!(", which has {newest} at most"))
        .unwrap_or_default();
    Some(format!(
        "{} requires {} of {}{newest}: it will not start with this library",
        path.display(),
        lacking.join(", "),
        found.display()
    ))
}

/// The highest version of the same series: `GLIBC_2.36` for `GLIBC_2.38`.
fn newest_like(version: &str, defines: &[OsString]) -> Option<String> {
    let (series, _) = numbered(version)?;
    defines
        .iter()
        .filter_map(|defined| {
            let defined = defined.to_str()?;
            let (own, numbers) = numbered(defined)?;
            (own == series).then(|| (numbers, defined.to_owned()))
        })
        .max()
        .map(|(_, name)| name)
}

/// `GLIBC_2.38` → (`GLIBC`, [2, 38]).
fn numbered(version: &str) -> Option<(&str, Vec<u64>)> {
    let (series, numbers) = version.rsplit_once('_')?;
    let numbers = numbers.split('.').map(str::parse).collect::<Result<_, _>>();
    Some((series, numbers.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_lacking_and_the_newest_there_is() {
        let required = Required {
            library: "libc.so.6".into(),
            versions: vec!["GLIBC_2.2.5".into(), "GLIBC_2.38".into()],
        };
        let defines =
            ["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36", "GLIBC_PRIVATE"].map(OsString::from);
        let text = line(Path::new("/p"), &required, Path::new("/l"), &defines).unwrap();
        assert!(
            text.starts_with("/p requires GLIBC_2.38 of /l, which has GLIBC_2.36 at most"),
            "{text}"
        );
        assert_eq!(line(Path::new("/p"), &required, Path::new("/l"), &[]), None);
    }
}
