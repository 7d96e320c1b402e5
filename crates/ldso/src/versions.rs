//! Finds symbol versions that a library lacks, so that you learn of them before the program fails.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use elf_file::{Elf, RELR_VERSION, Required};

/// Versions that a file requires of a library, and that the library does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetVersion {
    /// The file that requires the versions.
    pub wanted_by: PathBuf,
    /// The library.
    pub library: PathBuf,
    /// The missing versions, for example `GLIBC_2.38`.
    pub versions: Vec<String>,
    /// The newest version of the same series that the library defines.
    pub newest: Option<String>,
}

impl fmt::Display for UnmetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requires {} of {}",
            self.wanted_by.display(),
            self.versions.join(", "),
            self.library.display()
        )?;
        if let Some(newest) = &self.newest {
            write!(f, ", which has {newest} at most")?;
        }
        f.write_str(": it will not start with this library")
    }
}

/// A file that has DT_RELR but does not require the libc version GLIBC_ABI_DT_RELR. glibc's ld.so refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnversionedRelr(pub PathBuf);

impl fmt::Display for UnversionedRelr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.display();
        write!(
            f,
            "{path} has DT_RELR and does not require {RELR_VERSION}: ld.so refuses it: link it with -z pack-relative-relocs"
        )
    }
}

/// Returns one item for each library that lacks versions required by the file at `path`. `library` returns the library that a name
/// in DT_NEEDED was resolved to.
pub fn unmet_versions<'a>(
    path: &Path,
    elf: &Elf,
    library: impl Fn(&OsStr) -> Option<(&'a Path, &'a Elf)>,
) -> Vec<UnmetVersion> {
    let required = elf.dynamic.iter().flat_map(|dynamic| &dynamic.requires);
    let unmet_versions = required.filter_map(|required| {
        let (found, library) = library(&required.library)?;
        lacking(path, required, found, &library.dynamic.as_ref()?.defines)
    });
    unmet_versions.collect()
}

fn lacking(
    path: &Path,
    required: &Required,
    found: &Path,
    defines: &[OsString],
) -> Option<UnmetVersion> {
    // ld.so accepts a library without any versions.
    if defines.is_empty() {
        return None;
    }
    let versions: Vec<String> = required
        .versions
        .iter()
        .filter(|version| !defines.contains(version))
        .map(|version| version.to_string_lossy().into_owned())
        .collect();
    let newest = newest_like(versions.first()?, defines);
    Some(UnmetVersion {
        wanted_by: path.to_owned(),
        library: found.to_owned(),
        newest,
        versions,
    })
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
    fn message_names_missing_and_newest_version() {
        let required = Required {
            library: "libc.so.6".into(),
            versions: vec!["GLIBC_2.2.5".into(), "GLIBC_2.38".into()],
        };
        let defines =
            ["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36", "GLIBC_PRIVATE"].map(OsString::from);
        let text = lacking(Path::new("/p"), &required, Path::new("/l"), &defines).unwrap();
        let text = text.to_string();
        assert!(
            text.starts_with("/p requires GLIBC_2.38 of /l, which has GLIBC_2.36 at most"),
            "{text}"
        );
        let nothing = lacking(Path::new("/p"), &required, Path::new("/l"), &[]);
        assert_eq!(nothing, None);
    }
}
