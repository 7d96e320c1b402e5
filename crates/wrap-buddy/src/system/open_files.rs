//! How many files are open at a time, and that opening them takes no longer because there are threads.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files besides those that are worked on.
const OTHER_FILES: u64 = 64;

/// Files that are left open between a look and the next at most.
const MOST_TO_SPARE: u64 = 4096;

/// How many of `count` files can be open at a time, `most` at most; the limit is raised for them if it may be.
pub fn raise_limit(count: u64, most: u64) -> u64 {
    let wanted = count.clamp(1, most);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1;
    };
    let enough = (wanted + OTHER_FILES).min(hard);
    let limit = match enough > soft && setrlimit(Resource::RLIMIT_NOFILE, enough, hard).is_ok() {
        true => enough,
        false => soft,
    };
    limit.saturating_sub(OTHER_FILES).clamp(1, wanted)
}

/// How many may be left open that could as well be opened again: half of what can be, once the limit is raised.
pub fn to_spare() -> usize {
    let both = 2 * MOST_TO_SPARE;
    (raise_limit(both, both) / 2) as usize
}

/// Has the table of open files grow for as many as there may [`to_spare`]; see [`expect`].
pub fn make_room() {
    expect(to_spare() as u64);
}

/// Has the table of open files grow for `count` files. For a process of one thread that takes no time; where there are more, each
/// doubling of it waits until all processors have let go of the old one, which is milliseconds (kernel fs/file.c, expand_fdtable).
pub fn expect(count: u64) {
    // Without it all is only slower.
    let _ = rustix::io::fcntl_dupfd_cloexec(io::stderr(), (count + OTHER_FILES) as i32 - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_open_files_has_grown_beforehand() {
        expect(1000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = size.unwrap().trim().parse().unwrap();
        assert!(size >= 1000, "{size}");
    }
}
