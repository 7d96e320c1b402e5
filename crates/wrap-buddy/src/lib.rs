//! Wraps prebuilt Linux executables so that they run where their dynamic linker and libraries are not where they expect them.
//!
//! [`cli`] parses the command line and [`commands`] carries it out: [`scan`] finds files, [`state`] determines what they are now, [`plan`]
//! decides, [`apply`] writes, [`report`] prints. [`system`] wraps the operating system for all of them.
// The documentation of this crate is for those who work on it.
#![allow(rustdoc::private_intra_doc_links)]

pub mod apply;
pub mod cli;
pub mod commands;
pub mod plan;
pub mod report;
pub mod scan;
pub mod state;
pub mod system;

use std::ffi::OsString;
use std::io::{self, Stdout, stderr, stdout};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use commands::bundle::{self, BundleOptions};
use commands::check::{CheckOptions, Checked, Fix, ProposedCommand};
use commands::{Command, check, generate, proposal, restore, run, show, status, watch, wrap};
use plan::options::WrapOptions;
use plan::outcome::{FileReport, Report};
use report::{
    Format, Output, Page, Reported, Reporter, Style, can_ask, confirm, styled, write_document,
};
use system::shell::quoted;
use system::signals::Interruption;
use system::workers::Stop;

/// Runs the command line `args`, which starts with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli::Invocation {
        command,
        proposal,
        settings,
    } = match cli::read_with_settings(args) {
        Ok(invocation) => invocation,
        Err(error) => {
            // clap returns help and version as errors, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = command.output();
    output.color.write_global();
    if output.format == Format::Human && !output.quiet {
        let mut page = Page::default();
        for (name, found) in command.found_on_path() {
            page.line(format!(
                "{}: found on PATH: {}",
                name.display(),
                found.display()
            ));
        }
        let _ = page.write_to(&mut stderr());
    }
    if !output.quiet {
        let notes = settings.notes(command.keys(), output);
        let _ = notes.write_to(&mut stderr());
    }
    let reporter = Reporter::new(output);
    let all = stages::all();
    let done = match &command {
        Command::Wrap(options) => wrap_or_propose(options, proposal.as_deref(), reporter),
        Command::Restore(options) => interruptible(output, reporter, |reporter, stop| {
            restore::restore_until(options, all, reporter, stop)
        }),
        Command::Status(options) => status::status(options, all, &reporter).map(|files| {
            report_all(&files, output, reporter, |out| {
                status::write(&files, output, out)
            });
            ending(!files.iter().any(|file| file.needs_attention()))
        }),
        Command::Show(options) => show::show(options, all, &reporter).map(|views| {
            report_all(&views, output, reporter, |out| {
                show::human::write(&views, output, out)
            });
            ending(!views.iter().any(|view| view.failed()))
        }),
        Command::Generate(files) => {
            generate::generate(files, &cli::share::files).map(|()| ExitCode::SUCCESS)
        }
        Command::Watch(options) => watch::watch(options, all, stages::MISSING).map(ending),
        Command::Check(options) => check_and_fix(options, output, reporter),
        Command::Bundle(options) => make_bundle(options, reporter),
        Command::Run(options) => match run::run(options) {
            Ok(never) => match never {},
            Err(failure) => {
                write_error(&failure.error);
                Ok(ExitCode::from(failure.status))
            }
        },
        Command::Settings(_) => {
            report_all(&settings, output, reporter, |out| settings.write(out));
            Ok(ExitCode::SUCCESS)
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            write_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn write_error(error: &anyhow::Error) {
    let mut page = Page::default();
    page.line(format!("{}: {error:#}", styled("error", Style::Error)));
    let _ = page.write_to(&mut stderr());
}

fn print_check(options: &CheckOptions, output: Output, reporter: Reporter) -> Result<Checked> {
    let checked = check::check(options, stages::all(), &reporter)?;
    report_all(&checked, output, reporter, |out| {
        let cwd = check::human::current_directory();
        match output.format {
            Format::Dot => check::dot::write(&checked, output.verbose, out),
            _ => check::human::write(&checked, output, options.tree, &cwd, out),
        }
    });
    Ok(checked)
}

/// Checks, and with `--fix` runs the proposed commands and checks again.
fn check_and_fix(options: &CheckOptions, output: Output, reporter: Reporter) -> Result<ExitCode> {
    let checked = print_check(options, output, reporter)?;
    let commands = checked.commands();
    let nothing_to_do = checked.is_well() && commands.is_empty();
    let (false, Some(fix)) = (nothing_to_do, options.fix) else {
        return Ok(ending(checked.is_well()));
    };
    ensure!(
        !commands.is_empty(),
        "--fix: no command is proposed; pass --find-in with directories that may have the missing libraries"
    );
    let mut page = Page::default();
    if fix == Fix::Ask {
        for command in &commands {
            page.line(format!("$ {}", command.written()));
        }
    }
    let base = WrapOptions {
        output,
        ..WrapOptions::default()
    };
    page.write_to(&mut stderr())?;
    run_proposed(&commands, options, &base)
}

/// Runs the `commands` that `check` proposes, with the other options of `base`, and checks again.
fn run_proposed(
    commands: &[&ProposedCommand],
    check: &CheckOptions,
    base: &WrapOptions,
) -> Result<ExitCode> {
    let output = base.output;
    if check.fix == Some(Fix::Ask) && !confirm("Run this?")? {
        let mut page = Page::default();
        page.line("nothing was changed");
        page.write_to(&mut stderr())?;
        return Ok(ExitCode::FAILURE);
    }
    for command in commands {
        let wrap = WrapOptions {
            dry_run: check.fix == Some(Fix::DryRun),
            ..command.options(base)?
        };
        let code = interruptible(output, Reporter::new(output), |reporter, stop| {
            wrap::wrap_until(&wrap, stages::all(), stages::MISSING, reporter, stop)
        })?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    if check.fix == Some(Fix::DryRun) {
        return Ok(ExitCode::SUCCESS);
    }
    let checked = print_check(check, output, Reporter::new(output))?;
    Ok(ending(checked.is_well()))
}

/// Wraps. If programs would lack libraries or a dynamic linker, and `check` finds these, it asks on a terminal whether to use them.
fn wrap_or_propose(
    options: &WrapOptions,
    proposal: Option<&CheckOptions>,
    reporter: Reporter,
) -> Result<ExitCode> {
    if let Some(check) = proposal
        && (check.fix == Some(Fix::WithoutAsking) || can_ask())
        && let Some((checked, page)) = proposal::propose(options, check)?
    {
        if !(options.output.quiet && check.fix == Some(Fix::WithoutAsking)) {
            page.write_to(&mut stderr())?;
        }
        return run_proposed(&checked.commands(), check, options);
    }
    let mut lacks = false;
    let code = interruptible(options.output, reporter, |reporter, stop| {
        let report = wrap::wrap_until(options, stages::all(), stages::MISSING, reporter, stop)?;
        lacks = report.failed() && report.files.iter().any(FileReport::lacks_dependencies);
        Ok(report)
    })?;
    if lacks && proposal.is_some() {
        let words = ["wrap-buddy", "check"].map(OsString::from).into_iter();
        let paths = options.paths.iter().map(OsString::from);
        let root = options.root.given();
        let root = root.map_or(Vec::new(), |root| vec!["--root".into(), root.into()]);
        let command = quoted(words.chain(paths).chain(root).chain(["--fix".into()]));
        let mut page = Page::default();
        page.line(format!("next: {}", styled(command, Style::Bold)));
        page.line("      # searches for these, and asks before it wraps");
        page.write_to(&mut stderr())?;
    }
    Ok(code)
}

fn make_bundle(options: &BundleOptions, reporter: Reporter) -> Result<ExitCode> {
    let interruption = Interruption::hold_back()?;
    let made = bundle::bundle(options, stages::all(), stages::MISSING, &|| {
        interruption.is_requested()
    });
    let made = match (made, interruption.signal()) {
        (Err(error), Some(signal)) => {
            let mut page = Page::default();
            page.line(format!("{}: {error:#}", styled("error", Style::Error)));
            page.write_to(&mut stderr())?;
            return Ok(by_signal(signal));
        }
        (made, _) => made?,
    };
    report_all(&made, options.print, reporter, |out| {
        bundle::human::write(&made, options, out)
    });
    Ok(ExitCode::SUCCESS)
}

/// Shells report a program that a signal ended as 128 plus the signal's number.
const BY_SIGNAL: u8 = 128;

/// Does `work`, which stops between two files if a signal asks for it, prints the report, and returns the exit code.
fn interruptible(
    output: Output,
    reporter: Reporter,
    work: impl FnOnce(&Reporter, &Stop<'_>) -> Result<Report>,
) -> Result<ExitCode> {
    let interruption = Interruption::hold_back()?;
    let mut report = work(&reporter, &|| interruption.is_requested())?;
    let signal = interruption.signal();
    report.stopped = signal.map(Signal::as_str);
    let succeeded = succeeded(report, output, reporter);
    Ok(signal.map_or_else(|| ending(succeeded), by_signal))
}

fn by_signal(signal: Signal) -> ExitCode {
    ExitCode::from(BY_SIGNAL + signal as u8)
}

fn ending(all_is_well: bool) -> ExitCode {
    match all_is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Prints the report and returns true if nothing failed.
fn succeeded(report: Report, output: Output, reporter: Reporter) -> bool {
    // The process ends: to take thousands of plans apart before costs a twentieth of the time.
    let report = ManuallyDrop::new(report);
    report_all(&*report, output, reporter, |out| {
        wrap::human::write(&report, output, out, &mut stderr())
    });
    !report.failed()
}

/// Prints `all`: as JSON, or by `human`. Write errors are ignored: if the reader has closed the pipe, the work is done all the same.
fn report_all(
    all: &impl Reported,
    output: Output,
    reporter: Reporter,
    human: impl FnOnce(&mut Stdout) -> io::Result<()>,
) {
    let _ = match output.format {
        Format::Human | Format::Dot => {
            drop(reporter);
            human(&mut stdout())
        }
        Format::Json => write_document(all, &mut stdout()),
        Format::JsonLines => {
            reporter.end(all);
            Ok(())
        }
    };
}
