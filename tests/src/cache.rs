//! Things that tests build once and share: compiled fixtures, packages of libraries, the tool.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The target directory in which this program was built.
pub fn target_dir() -> PathBuf {
    // target/PROFILE/deps/TEST, or target/PROFILE/xtask. CARGO_TARGET_TMPDIR exists in integration tests only, not in this library.
    let program = std::env::current_exe().expect("/proc/self/exe");
    let dir = program.parent().expect("a program is in a directory");
    let profile = if dir.ends_with("deps") {
        dir.parent()
    } else {
        Some(dir)
    };
    let target = profile.and_then(Path::parent);
    target.expect("target/PROFILE").to_path_buf()
}

/// A directory under `target/` that is kept between test runs.
pub fn dir(name: &str) -> PathBuf {
    let dir = target_dir().join("e2e").join(name);
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("create {}: {error}", dir.display()));
    dir
}

/// Hex SHA-256 over `parts`, each after its length.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The directory `kind/key`. If it does not exist, `fill` fills it. Several processes may do this at once: each fills a directory
/// of its own, and the first rename wins.
pub fn filled(kind: &str, key: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let Ok(place) = try_filled(kind, key, |place| {
        fill(place);
        Ok::<(), Infallible>(())
    });
    place
}

/// Does the same, or returns the error of `fill`.
pub fn try_filled<E>(
    kind: &str,
    key: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let parent = dir(kind);
    let place = parent.join(key);
    if place.is_dir() {
        return Ok(place);
    }
    let fresh = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&parent)
        .unwrap_or_else(|error| panic!("create a directory in {}: {error}", parent.display()));
    fill(fresh.path())?;
    let fresh = fresh.keep();
    make_readable(&fresh).expect("chmod a directory just made");
    if let Err(error) = fs::rename(&fresh, &place) {
        assert!(
            place.is_dir(),
            "rename {} to {}: {error}",
            fresh.display(),
            place.display()
        );
        fs::remove_dir_all(&fresh).expect("remove a directory just made");
    }
    Ok(place)
}

/// Makes `dir` readable for every user of a root. Temporary directories are private to their owner.
pub fn make_readable(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}
