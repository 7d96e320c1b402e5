//! The limit of open files, and the size of the kernel's table of them.

use std::io;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;

/// Reserve for descriptors that are not files to process.
const OTHER_FILES: u64 = 64;

/// Most files to keep open between two phases of a run.
const MOST_TO_SPARE: u64 = 4096;

/// Raises the limit of open files, if possible, and returns how many of `count` files can be open at a time, at most `most`.
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

/// How many files may stay open that could as well be opened again: half of the limit, after raising it.
pub fn to_spare() -> usize {
    let both = 2 * MOST_TO_SPARE;
    (raise_limit(both, both) / 2) as usize
}

/// Enlarges the table of open files for [`to_spare`] files; see [`expect`].
pub fn make_room() {
    expect(to_spare() as u64);
}

/// Enlarges the table of open files for `count` files. Call it before starting threads: in a process with several threads each doubling
/// of the table waits for an RCU grace period, which takes milliseconds (kernel fs/file.c, expand_fdtable).
pub fn expect(count: u64) {
    // If it fails, opening files is slower.
    let highest = FcntlArg::F_DUPFD_CLOEXEC((count + OTHER_FILES) as i32 - 1);
    let _ = fcntl(io::stderr(), highest).and_then(close);
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
