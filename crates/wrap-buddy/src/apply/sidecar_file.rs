//! Writes a small file in one go: whoever opens it sees all of it, or what was there before.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// Writes `bytes` to `path` by way of a temporary file beside it, with exactly this mode, and owned by `owner` where
/// that can be. With `durable` it is on disk before it takes its name.
pub(super) fn write(
    path: &Path,
    bytes: &[u8],
    mode: Permissions,
    owner: Option<(u32, u32)>,
    durable: bool,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".wrapbuddy-")
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    if let Some((user, group)) = owner {
        let now = file.as_file().metadata()?;
        // Root wraps the files of others, who are to be able to read what belongs to them.
        if (now.uid(), now.gid()) != (user, group) {
            let _ = fchown(file.as_file(), Some(user), Some(group));
        }
    }
    file.as_file().set_permissions(mode)?;
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
