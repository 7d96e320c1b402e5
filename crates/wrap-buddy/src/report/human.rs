//! The report for people: results on one stream, errors and warnings on the other.

use std::io::{self, Write};

use sidecar::EditKind;

use super::{FileReport, Report, Status};
use crate::cli::Cli;
use crate::plan::Plan;
use crate::slot::Place;

/// Writes the whole report.
pub fn write(
    report: &Report,
    cli: &Cli,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    // Thousands of short lines are one write.
    let mut text = Vec::new();
    if !cli.quiet {
        for path in &report.installed {
            writeln!(text, "installed the loader {}", path.display())?;
        }
        for file in &report.files {
            write_file(&mut text, file, cli.verbose)?;
        }
        writeln!(text, "{}", summary(report))?;
    }
    out.write_all(&text)?;
    out.flush()?;

    let mut text = Vec::new();
    if !cli.quiet {
        write_warnings(&mut text, report)?;
    }
    let failed = report
        .files
        .iter()
        .filter(|file| file.status == Status::Failed);
    for file in failed.filter(|file| file.missing.is_empty()) {
        let reason = file.reason.as_deref().unwrap_or_default();
        writeln!(text, "error: {}: {reason}", file.path.display())?;
    }
    write_missing(&mut text, report)?;
    errors.write_all(&text)
}

fn write_file(out: &mut impl Write, file: &FileReport, verbose: bool) -> io::Result<()> {
    let path = file.path.display();
    match (file.status, &file.plan) {
        (Status::Skipped, _) => {
            let reason = file.reason.as_deref().unwrap_or_default();
            writeln!(out, "{path}: skipped: {reason}")
        }
        (Status::Failed, _) | (_, None) => Ok(()),
        (status, Some(plan)) => {
            let done = match status {
                Status::WouldWrap => "would be wrapped",
                _ => "wrapped",
            };
            writeln!(out, "{path}: {done}")?;
            write_plan(out, plan, status == Status::WouldWrap, verbose)
        }
    }
}

fn write_plan(out: &mut impl Write, plan: &Plan, dry: bool, verbose: bool) -> io::Result<()> {
    let mut line = |label: &str, text: String| writeln!(out, "  {label:<12} {text}");
    let bits = if plan.arch.class == 2 { 64 } else { 32 };
    let kind = if plan.position_independent {
        "position-independent"
    } else {
        "fixed addresses"
    };
    line(
        "file",
        format!(
            "ELF{bits} {}, {kind}, {} bytes",
            plan.arch.name, plan.file_len
        ),
    )?;
    line(
        "interpreter",
        format!(
            "{} instead of {}",
            plan.interpreter.display(),
            plan.asks_for.display()
        ),
    )?;
    line(
        "entry point",
        format!(
            "{:#x} at file offset {:#x}, {} bytes up to the end of its segment",
            plan.entry, plan.entry_offset, plan.room_at_entry
        ),
    )?;
    let place = match plan.slot.place {
        Place::Entry => "at the entry point",
        Place::SegmentEnd => "at the end of the segment, where e_entry is moved",
    };
    line(
        "stub",
        format!(
            "{} bytes, {} with its trailer, {place}",
            plan.stub_len, plan.slot.len
        ),
    )?;
    let loader_installed = match &plan.loader.install {
        Some(_) if dry => " (to be installed)",
        _ => "",
    };
    line(
        "loader",
        format!("{}{loader_installed}", plan.loader.path.display()),
    )?;
    line(
        "sidecar",
        format!(
            "{}, {} bytes",
            plan.sidecar_path.display(),
            plan.sidecar.len()
        ),
    )?;
    for edit in &plan.edits {
        let what = match edit.kind {
            EditKind::Slot => format!("{} bytes overwritten with the stub", edit.after.len()),
            EditKind::Entry => format!("e_entry → {:#x}", plan.slot.address),
            EditKind::Interp => "PT_INTERP → PT_NULL".to_owned(),
        };
        line("edit", format!("{:#x}: {what}", edit.offset))?;
    }
    for directory in &plan.search {
        line("search path", directory.display().to_string())?;
    }
    for added in &plan.resolution.added {
        let why = match &added.needed_by {
            Some(library) => format!("{} cannot find it by itself", library.display()),
            None => "asked for".to_owned(),
        };
        line("added", format!("{}: {why}", added.soname.display()))?;
    }
    for soname in &plan.resolution.ignored {
        line("ignored", format!("{} is missing", soname.display()))?;
    }
    if verbose {
        for (soname, library) in &plan.resolution.found {
            line(
                "library",
                format!("{} → {}", soname.display(), library.display()),
            )?;
        }
    }
    for note in &plan.notes {
        line("note", note.clone())?;
    }
    Ok(())
}

fn write_warnings(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut said: Vec<&str> = Vec::new();
    for warning in &report.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for file in &report.files {
        for note in &file.notes {
            writeln!(out, "warning: {}: {note}", file.path.display())?;
        }
        let warnings = file.plan.iter().flat_map(|plan| &plan.resolution.warnings);
        for warning in warnings {
            // Of a library that many programs share.
            if !said.contains(&warning.as_str()) {
                writeln!(out, "warning: {warning}")?;
                said.push(warning);
            }
        }
    }
    Ok(())
}

fn write_missing(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let missing = report.missing();
    if missing.is_empty() {
        return Ok(());
    }
    let files = report.files.iter().filter(|file| !file.missing.is_empty());
    writeln!(
        out,
        "error: {} missing, {} left unchanged:",
        counted(missing.len(), "library is", "libraries are"),
        counted(files.count(), "program", "programs")
    )?;
    for library in &missing {
        writeln!(out, "  {}", library.soname.display())?;
        for file in &library.needed_by {
            writeln!(out, "    needed by {}", file.display())?;
        }
        for hint in &library.hints {
            writeln!(out, "    {hint}")?;
        }
    }
    writeln!(
        out,
        "  pass the directories that have them with --libs, or --ignore-missing PATTERN"
    )
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn summary(report: &Report) -> String {
    if report.files.is_empty() {
        return "nothing to wrap: there is no ELF file in these paths".to_owned();
    }
    let done = if report.dry_run {
        format!("{} would be wrapped", report.count(Status::WouldWrap))
    } else {
        format!("{} wrapped", report.count(Status::Wrapped))
    };
    format!(
        "{done}, {} skipped, {} failed",
        report.count(Status::Skipped),
        report.count(Status::Failed)
    )
}
