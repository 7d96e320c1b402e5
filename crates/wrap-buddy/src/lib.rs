//! Wraps prebuilt Linux executables so that they run where their dynamic linker and libraries are elsewhere.
//!
//! Data flows one way: [`scan`] finds candidates, [`classify`] and [`inspect`] read them, [`resolve`] finds their
//! libraries, [`plan`] decides, [`apply`] writes, [`report`] speaks.

pub mod apply;
pub mod arch;
pub mod check;
pub mod classify;
pub mod cli;
mod crew;
mod desk;
pub mod earlier;
mod foreign;
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
mod restoration;
mod restoring;
pub mod root;
pub mod scan;
pub mod slot;
pub mod status;
mod tree_lock;
mod wrap;

pub use restoring::restore;
pub use wrap::wrap;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, Format, Output};
use crate::report::Report;

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
    let done = match &cli.command {
        None => wrap(&cli, stages::all(), stages::MISSING).map(|report| tell(&report, cli.output)),
        Some(Command::Restore(restore)) => restoring::restore(restore, stages::all())
            .map(|report| tell(&report, restore.look.output)),
        Some(Command::Status(look)) => status::status(look, stages::all()).map(|states| {
            // A reader that went away is no reason to call it failed.
            let _ = status::write(&states, look.output, &mut stdout());
            !states.iter().any(|file| file.needs_attention())
        }),
        Some(Command::Check(check)) => check::check(check, stages::all()).map(|checked| {
            let output = check.output;
            let _ = match output.format {
                Format::Human => {
                    let cwd = check::human::current_directory();
                    check::human::write(&checked, output, &cwd, &mut anstream::stdout())
                }
                Format::Json => check::json::write(&checked, &mut stdout()),
            };
            checked.is_well()
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "wrap-buddy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells what became of the files; says whether nothing has failed.
fn tell(report: &Report, output: Output) -> bool {
    // A reader that went away is no reason to call the wrapping failed.
    let _ = match output.format {
        Format::Human => report::human::write(report, output, &mut stdout(), &mut stderr()),
        Format::Json => report::json::write(report, &mut stdout()),
    };
    !report.failed()
}
