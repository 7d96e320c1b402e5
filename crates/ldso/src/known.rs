//! A cache of results by path.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

/// Results by path. The key is an `OsString`, because hashing a `Path` splits it into components.
pub type Known<T> = RwLock<HashMap<OsString, T>>;

/// Returns the cached result for `path`, or calls `find`. Two threads may both call it, because the lock is not held meanwhile.
pub fn remembered<T: Clone>(known: &Known<T>, path: &Path, find: impl FnOnce(&Path) -> T) -> T {
    let path_text = path.as_os_str();
    let read = known.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = read.get(path_text) {
        return known.clone();
    }
    drop(read);
    let found = find(path);
    let mut write = known.write().unwrap_or_else(PoisonError::into_inner);
    write.insert(path_text.to_owned(), found.clone());
    found
}
