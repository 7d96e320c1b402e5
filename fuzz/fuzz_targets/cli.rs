//! Arbitrary command lines are parsed or refused, without a panic.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use wrap_buddy::commands::Command;

fuzz_target!(|bytes: &[u8]| {
    // As from the kernel: only a NUL ends an argument.
    let arguments = bytes.split(|&byte| byte == 0).map(OsStr::from_bytes);
    let all = [OsStr::new("wrap-buddy")].into_iter().chain(arguments);
    match wrap_buddy::cli::read(all.map(OsString::from)) {
        Ok(Command::Wrap(options)) => {
            assert!(!options.paths.is_empty());
            // An empty directory is left out.
            let mut libs = options.libs.iter();
            assert!(libs.all(|path| path.is_absolute() || path.as_os_str().is_empty()));
        }
        Ok(_) => {}
        Err(error) => {
            assert!([0, 2].contains(&error.exit_code()));
            assert!(!error.render().to_string().is_empty());
        }
    }
});
