//! Indexes the libraries of the directories given, over and over, for `cargo xtask bench index`: prints how many there are,
//! and the seconds of each round.

use std::path::PathBuf;
use std::time::Instant;

use ldso::index;

/// The first round warms the page cache.
const ROUNDS: usize = 11;

fn main() {
    let directories: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let libraries: usize = index::directories(&directories).iter().map(Vec::len).sum();
        println!("{libraries} {}", start.elapsed().as_secs_f64());
    }
}
