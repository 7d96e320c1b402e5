//! How much to print, and in which form.

use crate::scan::Wanted;

/// The form of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON document on standard output.
    Json,
    /// A line of JSON for each file as soon as it is finished, and one for the end.
    JsonLines,
}

/// How much to print, and in which form.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    pub verbose: bool,
    pub quiet: bool,
    /// The form of results.
    pub format: Format,
}

impl Output {
    /// The files to scan for: files that can never be wrapped are listed only with `--verbose`.
    pub fn wanted(self) -> Wanted {
        match self.verbose {
            true => Wanted::All,
            false => Wanted::Elf,
        }
    }
}
