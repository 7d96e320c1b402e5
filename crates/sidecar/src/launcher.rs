//! The settings of a launcher: a program of a bundle that starts another file of the bundle. They follow its program headers.
//!
//! The first byte is the number of components of the launcher's path below the bundle, at least 1. Then there are strings, each with a
//! letter before and a NUL after it: one [`PROGRAM`], and any number of others. A NUL alone ends them.

/// The file to execute.
pub const PROGRAM: u8 = b'x';

/// An argument, before those of the caller. If there is one, the program's path is argument 0, as for an interpreter of scripts.
pub const ARGUMENT: u8 = b'a';

/// `NAME=VALUE` for the environment. A variable that the caller has set stays, unless the value has [`BEFORE`].
pub const VARIABLE: u8 = b'v';

/// The next setting is skipped if this file exists.
pub const UNLESS: u8 = b'u';

/// In a string: the path of the bundle.
pub const BUNDLE: u8 = 1;

/// In a value: the caller's value; the rest of the string is for a caller who has set none.
pub const BEFORE: u8 = 2;

/// Maximum length of all settings in bytes.
pub const MAX_LEN: usize = 4096;
