//! Format, verbosity and colors of the output.

use anstream::ColorChoice;

use crate::scan::Wanted;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Human,
    /// One document on standard output.
    Json,
    /// A line for each file as soon as it is finished, and a last line.
    JsonLines,
    /// A Graphviz graph, of `check`.
    Dot,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    /// Also libraries, and files that were skipped: `-v`.
    pub verbose: bool,
    /// Also addresses and bytes: `-vv`.
    pub detailed: bool,
    pub quiet: bool,
    pub format: Format,
    pub color: ColorChoice,
}

impl Output {
    /// Files that can never be wrapped are listed only with `--verbose`.
    pub fn wanted(self) -> Wanted {
        match self.verbose {
            true => Wanted::All,
            false => Wanted::Elf,
        }
    }
}
