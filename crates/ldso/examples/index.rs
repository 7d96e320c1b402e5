//! Indexes the libraries of the given directories repeatedly, for `cargo xtask bench index`. Prints the number of libraries, and
//! the seconds of each round.

use std::path::PathBuf;
use std::time::Instant;

use ldso::index;

/// The first round fills the page cache.
const ROUNDS: usize = 11;

fn main() {
    let directories: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let libraries: usize = index::directories(&directories).iter().map(Vec::len).sum();
        println!("{libraries} {}", start.elapsed().as_secs_f64());
    }
}
