//! Wraps prebuilt Linux executables so that they run where their dynamic linker and libraries are elsewhere.
//!
//! Data flows one way: [`scan`] finds candidates, [`classify`] and [`inspect`] read them, [`resolve`] finds their
//! libraries, [`plan`] decides, [`apply`] writes, [`report`] speaks.

mod alignment;
pub mod apply;
pub mod arch;
mod bytes;
pub mod check;
pub mod classify;
pub mod cli;
mod crew;
mod defaults;
mod desk;
mod directory;
pub mod earlier;
mod found_sidecar;
pub mod generate;
mod hex;
pub mod in_place;
pub mod inject;
pub mod inspect;
pub mod interpreter;
mod known;
mod legacy;
pub mod loaders;
mod lock;
mod named;
mod naming;
mod open_files;
mod openers;
mod outside;
mod path_guard;
pub mod plan;
mod preloader;
mod privilege;
mod reach;
pub mod report;
pub mod resolve;
mod restoration;
mod restoring;
pub mod root;
pub mod scan;
pub mod settings;
mod shell;
pub mod show;
mod signals;
pub mod slot;
pub mod status;
mod tree_lock;
mod trust;
mod walk;
pub mod watch;
mod wrap;

pub use restoring::restore;
pub use wrap::wrap;

use std::ffi::OsString;
use std::io::{self, Stdout, stderr, stdout};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::cli::{Command, CommandLine, Format, Output};
use crate::crew::Stop;
use crate::report::json::Told;
use crate::report::style::Whole;
use crate::report::{Page, Style, styled};
use crate::report::{Report, Teller};
use crate::signals::Interruption;

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
        None => interruptible(output, teller, |teller, stop| {
            wrap::wrap_until(&line.wrap, all, stages::MISSING, teller, stop)
        }),
        Some(Command::Restore(restore)) => interruptible(output, teller, |teller, stop| {
            restoring::restore_until(restore, all, teller, stop)
        }),
        Some(Command::Status(look)) => status::status(look, all, &teller).map(|files| {
            told(&files, output, teller, |out| {
                status::write(&files, output, out)
            });
            ending(!files.iter().any(|file| file.needs_attention()))
        }),
        Some(Command::Show(look)) => show::show(look, all, &teller).map(|views| {
            told(&views, output, teller, |out| {
                show::human::write(&views, output, out)
            });
            ending(!views.iter().any(|view| view.failed()))
        }),
        Some(Command::Generate(files)) => generate::generate(files).map(|()| ExitCode::SUCCESS),
        Some(Command::Watch(arguments)) => {
            watch::watch(arguments, all, stages::MISSING).map(ending)
        }
        Some(Command::Check(check)) => check::check(check, all, &teller).map(|checked| {
            told(&checked, output, teller, |out| {
                let cwd = check::human::current_directory();
                check::human::write(&checked, output, &cwd, out)
            });
            ending(checked.is_well())
        }),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let mut page = Page::default();
            page.line(format!("{}: {error:#}", styled("wrap-buddy", Style::Error)));
            let _ = page.write_to(&mut Whole::new(stderr()));
            ExitCode::FAILURE
        }
    }
}

/// What a shell adds to the number of a signal that has ended a program.
const BY_SIGNAL: u8 = 128;

/// Does `work`, which a signal ends between files, prints the report, and says how the process is to end.
fn interruptible(
    output: Output,
    teller: Teller,
    work: impl FnOnce(&Teller, &Stop<'_>) -> Result<Report>,
) -> Result<ExitCode> {
    let interruption = Interruption::hold_back()?;
    let mut report = work(&teller, &|| interruption.is_requested())?;
    let signal = interruption.signal();
    report.stopped = signal.map(Signal::as_str);
    let succeeded = succeeded(report, output, teller);
    let by_signal = |signal| ExitCode::from(BY_SIGNAL + signal as u8);
    Ok(signal.map_or_else(|| ending(succeeded), by_signal))
}

fn ending(all_is_well: bool) -> ExitCode {
    match all_is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
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
