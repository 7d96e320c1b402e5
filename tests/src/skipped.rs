//! Tests that cannot run on this machine.

use std::fs::File;
use std::io::Write;
use std::{env, thread};

/// Prints why the test, or the rest of it, does not run here. It is also added to the file `WRAP_BUDDY_TEST_SKIPPED`, because the
/// test runner does not show the output of successful tests.
pub fn skipped(why: &str) {
    let thread = thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    print!("skipped: {line}");
    if let Some(path) = env::var_os("WRAP_BUDDY_TEST_SKIPPED") {
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of skipped tests");
    }
}
