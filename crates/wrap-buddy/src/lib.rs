//! Wraps prebuilt Linux executables so that they run where their dynamic linker and libraries are elsewhere.
//!
//! Data flows one way: [`scan`] finds candidates, [`classify`] and [`inspect`] read them, [`resolve`] finds their
//! libraries, [`plan`] decides, [`apply`] writes, [`report`] speaks.

pub mod apply;
pub mod arch;
pub mod classify;
pub mod cli;
mod crew;
mod desk;
mod hex;
pub mod in_place;
pub mod inject;
pub mod inspect;
pub mod interpreter;
pub mod loaders;
mod naming;
pub mod plan;
mod privilege;
pub mod report;
pub mod resolve;
pub mod scan;
pub mod slot;
mod wrap;
mod wrapped;

pub use wrap::wrap;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Format};

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let report = match wrap(&cli, stages::all(), stages::MISSING) {
        Ok(report) => report,
        Err(error) => {
            let _ = writeln!(stderr(), "wrap-buddy: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    // A reader that went away is no reason to call the wrapping failed.
    let _ = match cli.format {
        Format::Human => report::human::write(&report, &cli, &mut stdout(), &mut stderr()),
        Format::Json => report::json::write(&report, &mut stdout()),
    };
    if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
