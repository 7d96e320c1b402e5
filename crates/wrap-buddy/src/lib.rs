//! Wraps prebuilt Linux executables so that they run where their dynamic linker and libraries are elsewhere.
//!
//! Data flows one way: [`scan`] finds candidates, [`classify`] and [`inspect`] read them, [`resolve`] finds their
//! libraries, [`plan`] decides, [`apply`] writes, [`report`] speaks.

pub mod apply;
pub mod arch;
mod bytes;
pub mod check;
pub mod classify;
pub mod cli;
mod crew;
mod desk;
pub mod earlier;
mod foreign;
pub mod generate;
mod hex;
pub mod in_place;
pub mod inject;
pub mod inspect;
pub mod interpreter;
pub mod loaders;
mod naming;
mod open_files;
mod openers;
pub mod plan;
mod privilege;
mod reach;
pub mod report;
pub mod resolve;
mod restoration;
mod restoring;
pub mod root;
pub mod scan;
pub mod show;
pub mod slot;
pub mod status;
mod tree_lock;
pub mod watch;
mod wrap;

pub use restoring::restore;
pub use wrap::wrap;

use std::ffi::OsString;
use std::io::{self, Stdout, Write, stderr, stdout};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use crate::cli::{Command, CommandLine, Format, Output};
use crate::report::json::Told;
use crate::report::style::{ERROR, Whole, styled};
use crate::report::{Report, Teller};

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::read(args) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = line.output();
    let teller = Teller::new(output);
    let all = stages::all();
    let done = match &line.command {
        None => wrap(&line.wrap, all, stages::MISSING, &teller)
            .map(|report| succeeded(report, output, teller)),
        Some(Command::Restore(restore)) => restoring::restore(restore, all, &teller)
            .map(|report| succeeded(report, output, teller)),
        Some(Command::Status(look)) => status::status(look, all, &teller).map(|files| {
            told(&files, output, teller, |out| {
                status::write(&files, output, out)
            });
            !files.iter().any(|file| file.needs_attention())
        }),
        Some(Command::Show(look)) => show::show(look, all, &teller).map(|views| {
            told(&views, output, teller, |out| {
                show::human::write(&views, output, out)
            });
            !views.iter().any(|view| view.failed())
        }),
        Some(Command::Generate(files)) => generate::generate(files).map(|()| true),
        Some(Command::Watch(arguments)) => watch::watch(arguments, all, stages::MISSING),
        Some(Command::Check(check)) => check::check(check, all, &teller).map(|checked| {
            told(&checked, output, teller, |out| {
                let cwd = check::human::current_directory();
                check::human::write(&checked, output, &cwd, out)
            });
            checked.is_well()
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let line = format!("{}: {error:#}\n", styled("wrap-buddy", ERROR));
            let _ = Whole::new(stderr()).write_all(line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Prints the report and says whether nothing failed.
fn succeeded(report: Report, output: Output, teller: Teller) -> bool {
    // The process ends: to take thousands of plans apart before costs a twentieth of the time.
    let report = ManuallyDrop::new(report);
    told(&*report, output, teller, |out| {
        report::human::write(&report, output, out, &mut Whole::new(stderr()))
    });
    !report.failed()
}

/// Prints something, by `human` for people. A reader that went away is no reason to call what was done failed.
fn told(
    all: &impl Told,
    output: Output,
    teller: Teller,
    human: impl FnOnce(&mut Whole<Stdout>) -> io::Result<()>,
) {
    let _ = match output.format {
        Format::Human => {
            drop(teller);
            human(&mut Whole::new(stdout()))
        }
        Format::Json => report::json::write(all, &mut stdout()),
        Format::JsonLines => {
            teller.end(all);
            Ok(())
        }
    };
}
