//! Arbitrary command lines: a usage error or a meaning, the same as clap's, never a panic.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use wrap_buddy::cli::CommandLine;

fuzz_target!(|bytes: &[u8]| {
    // As the kernel passes them: nothing but a NUL ends an argument.
    let arguments = bytes.split(|&byte| byte == 0).map(OsStr::from_bytes);
    let all = [OsStr::new("wrap-buddy")].into_iter().chain(arguments);
    let all: Vec<OsString> = all.map(OsString::from).collect();
    let read = CommandLine::read(all.clone());
    // Whatever was tried first.
    let parsed = CommandLine::try_parse_from(all);
    assert_eq!(format!("{read:?}"), format!("{parsed:?}"));
    match read {
        Ok(line) => {
            let cli = line.wrap;
            assert!(line.command.is_some() || !cli.paths.is_empty());
            // One that is empty is left out.
            let mut libs = cli.libs.iter();
            assert!(libs.all(|path| path.is_absolute() || path.as_os_str().is_empty()));
            let _ = cli.may_be_missing();
        }
        Err(error) => {
            assert!([0, 2].contains(&error.exit_code()));
            assert!(!error.render().to_string().is_empty());
        }
    }
});
