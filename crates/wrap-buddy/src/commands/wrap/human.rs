//! The human-readable report: results on standard output, errors and warnings on standard error.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use anstream::stream::RawStream;
use object::elf;
use sidecar::EditKind;

use crate::plan::outcome::{FileReport, Report, Status};
use crate::plan::search::{Missing, STORES};
use crate::plan::slot::SlotPosition;
use crate::plan::{FileEdit, Plan, StubPlan, frozen};
use crate::report::Output;
use crate::report::style::{Style, shown};
use crate::report::{Page, styled};
use crate::state::settings::Change;
use ldso::{UnmetVersion, UnversionedRelr};

/// Most file names to list for the same note, without `--verbose`.
const NAMED: usize = 10;

pub fn write(
    report: &Report,
    output: Output,
    out: &mut impl RawStream,
    errors: &mut impl RawStream,
) -> io::Result<()> {
    let mut page = Page::default();
    if !output.quiet {
        for path in &report.installed {
            page.line(format!("installed the loader {}", shown(path)));
        }
        for file in &report.files {
            write_file(&mut page, file, output);
        }
        if !output.verbose {
            write_skipped(&mut page, &report.files);
        }
    }
    page.write_to(out)?;

    let mut page = Page::default();
    if !output.quiet {
        write_warnings(&mut page, report, output.verbose);
        write_missing_of_libraries(&mut page, report);
    }
    let failed = report
        .files
        .iter()
        .filter(|file| file.status == Status::Failed);
    for reason in &report.errors {
        page.line(format!("{}: {reason}", error()));
    }
    let failed = failed.filter(|file| file.missing.is_empty() && file.outside.is_empty());
    for file in failed {
        let reason = file.reason.as_ref().map(ToString::to_string);
        let reason = reason.unwrap_or_default();
        page.line(format!("{}: {}: {reason}", error(), shown(&file.path)));
    }
    write_missing(&mut page, report);
    write_outside(&mut page, report);
    page.write_to(errors)?;

    if let Some(signal) = report.stopped {
        let done = [Status::Wrapped, Status::Edited, Status::Restored];
        let done: usize = done.iter().map(|status| report.count(*status)).sum();
        let mut page = Page::default();
        page.line(format!(
            "{}: stopped by {signal}: {} done, the others are unchanged; repeat the command to continue",
            warning(),
            counted(done, "file is", "files are"),
        ));
        page.write_to(errors)?;
    }

    // The summary is last, so that it stays on the screen.
    let is_empty = report.files.is_empty() && report.stopped.is_some();
    if !output.quiet && !is_empty {
        let mut page = Page::default();
        page.line(summary(report));
        page.write_to(out)?;
    }
    Ok(())
}

fn write_file(out: &mut Page, file: &FileReport, output: Output) {
    let path = shown(&file.path);
    let status = match file.status {
        Status::Failed => return,
        Status::Skipped if !output.verbose => return,
        Status::Skipped => {
            let reason = file.reason.as_ref().map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            let done = styled(file.status.done(), Style::Dim);
            out.line(format!("{path}: {done}: {reason}"));
            return;
        }
        status => styled(status.done(), Style::Good),
    };
    let sources = file.plan.as_deref().map(sources).unwrap_or_default();
    out.line(format!("{path}: {status}{sources}"));
    if output.verbose {
        for (label, text) in &file.details {
            out.labelled(label, text);
        }
    }
    let Some(plan) = &file.plan else { return };
    if output.verbose {
        write_plan(out, plan, output.detailed);
    }
    if output.detailed {
        write_bytes(out, plan, file.status.is_dry());
    }
    for note in &plan.notes {
        out.labelled("note", note);
    }
}

/// Lists skipped files by reason; files with the same reason are counted.
fn write_skipped(out: &mut Page, files: &[FileReport]) {
    let skipped = files.iter().filter(|file| file.status == Status::Skipped);
    let skipped = skipped.map(|file| {
        let reason = file.reason.as_ref().map(ToString::to_string);
        (reason.unwrap_or_default(), &*file.path)
    });
    let done = styled(Status::Skipped.done(), Style::Dim);
    for (reason, paths) in by_text(skipped) {
        match paths.as_slice() {
            [path] => out.line(format!("{}: {done}: {reason}", shown(path))),
            paths => {
                let count = paths.len();
                out.line(format!(
                    "{count} files {done} (names with --verbose): {reason}"
                ));
            }
        }
    }
}

/// Where the dynamic linker and the libraries of a file come from, in the rest of its line.
fn sources(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some((asks_for, interpreter)) = plan.interpreter()
        && Path::new(asks_for) != interpreter
    {
        let source = match package(interpreter) {
            Some(package) => format!("from {package}"),
            None => interpreter.display().to_string(),
        };
        let _ = write!(text, " · ld.so {source}");
    }
    let directories = plan.search.iter();
    let packages = directories
        .map(|path| package(Path::new(path)).unwrap_or_else(|| path.display().to_string()));
    list(&mut text, "libraries from", packages.collect());
    match frozen(&plan.resolution).count() {
        0 => {}
        1 => text.push_str(" · 1 library loaded by path"),
        count => {
            let _ = write!(text, " · {count} libraries loaded by path");
        }
    }
    let added = plan.resolution.added.iter();
    list(
        &mut text,
        "added",
        added
            .map(|added| added.soname.display().to_string())
            .collect(),
    );
    let ignored = plan.resolution.ignored.iter();
    list(
        &mut text,
        "missing and ignored",
        ignored.map(|soname| soname.display().to_string()).collect(),
    );
    let changed = plan.settings_changed.iter();
    list(
        &mut text,
        "settings changed",
        changed.map(|change| change.name.to_owned()).collect(),
    );
    text
}

/// How many names a line has at most for each subject.
const LISTED: usize = 3;

fn list(text: &mut String, subject: &str, mut names: Vec<String>) {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        return;
    }
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let _ = write!(text, " · {subject} {}", names.join(", "));
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
}

/// The name and version of the package in a store that a path lies in: `glibc-2.42` for `/nix/store/HASH-glibc-2.42/lib`.
fn package(path: &Path) -> Option<String> {
    let in_store = STORES
        .iter()
        .find_map(|store| path.strip_prefix(store).ok())?;
    let directory = in_store.iter().next()?.to_str()?;
    let (_, name) = directory.split_once('-')?;
    Some(name.to_owned())
}

/// Libraries with their directories, and settings: for `-v`.
fn write_plan(out: &mut Page, plan: &Plan, detailed: bool) {
    if let Some((asks_for, interpreter)) = plan.interpreter() {
        let text = match Path::new(asks_for) == interpreter {
            true => interpreter.display().to_string(),
            false => format!(
                "{} instead of {}",
                interpreter.display(),
                asks_for.display()
            ),
        };
        out.labelled("interpreter", text);
    }
    for directory in &plan.search {
        out.labelled("search path", directory.display());
    }
    for (name, target) in plan.links().into_iter().flat_map(|links| &links.links) {
        out.labelled("link", format!("{} → {}", name.display(), target.display()));
    }
    for added in &plan.resolution.added {
        let why = match &added.needed_by {
            Some(library) => format!("{} cannot find it by itself", library.display()),
            None => "requested with --needed".to_owned(),
        };
        out.labelled("added", format!("{}: {why}", added.soname.display()));
    }
    for soname in &plan.resolution.ignored {
        out.labelled("ignored", format!("{} is missing", soname.display()));
    }
    for (soname, library) in &plan.resolution.found {
        let (soname, library) = (soname.display(), library.display());
        out.labelled("library", format!("{soname} → {library}"));
    }
    for Change {
        name,
        before,
        after,
    } in &plan.settings_changed
    {
        let text = match detailed {
            true => format!("{name}: {before} → {after}"),
            false => format!("{name} changed"),
        };
        out.labelled("setting", text);
    }
}

/// Addresses, offsets and bytes: for `-vv`.
fn write_bytes(out: &mut Page, plan: &Plan, dry: bool) {
    let bits = if plan.arch.class == 2 { 64 } else { 32 };
    let kind = match (plan.is_library(), plan.position_independent) {
        (true, _) => "shared library",
        (false, true) => "position-independent",
        (false, false) => "fixed addresses",
    };
    let (arch, len) = (plan.arch.name, plan.file.len);
    out.labelled("file", format!("ELF{bits} {arch}, {kind}, {len} bytes"));
    if let Some(stub) = plan.stub() {
        write_stub(out, stub, dry);
    }
    let sidecar = shown(&plan.sidecar_path);
    let len = plan.sidecar.len();
    out.labelled("sidecar", format!("{sidecar}, {len} bytes"));
    let edits = plan.undo_first.iter().chain(&plan.edits);
    for edit in edits.filter(|edit| edit.is_due()) {
        out.labelled(
            "edit",
            format!("{:#x}: {}", edit.offset, effect(edit, plan)),
        );
    }
}

fn write_stub(out: &mut Page, stub: &StubPlan, dry: bool) {
    let StubPlan {
        entry,
        entry_offset,
        room_at_entry,
        slot,
        stub_len,
        loader,
        ..
    } = stub;
    out.labelled(
        "entry point",
        format!(
            "{entry:#x} at file offset {entry_offset:#x}, {room_at_entry} bytes up to the end of its segment"
        ),
    );
    let place = match slot.position {
        SlotPosition::Entry => "at the entry point",
        SlotPosition::AfterStart => "after _start, where e_entry is moved",
        SlotPosition::SegmentEnd => "at the end of the segment, where e_entry is moved",
    };
    out.labelled(
        "stub",
        format!("{stub_len} bytes, {} with its trailer, {place}", slot.len),
    );
    let loader = match loader {
        Some(loader) if dry && loader.install.is_some() => {
            format!("{} (to be installed)", loader.path.display())
        }
        Some(loader) => loader.path.display().to_string(),
        None => "in the sidecar".to_owned(),
    };
    out.labelled("loader", loader);
}

fn effect(edit: &FileEdit, plan: &Plan) -> String {
    let undone = edit.after == edit.original;
    match edit.kind {
        _ if undone => format!("{} original bytes", edit.after.len()),
        EditKind::Slot => format!("{} bytes overwritten with the stub", edit.after.len()),
        EditKind::Entry => {
            let entry = |stub: &StubPlan| plan.arch.entry_at(stub.slot.address, stub.entry);
            format!("e_entry → {:#x}", plan.stub().map_or(0, entry))
        }
        EditKind::Interp => "PT_INTERP → PT_NULL".to_owned(),
        EditKind::Text => {
            let text = edit
                .after
                .split(|&byte| byte == 0)
                .find(|text| !text.is_empty());
            let text = text.unwrap_or_default().escape_ascii();
            format!("\"{text}\" in unused bytes")
        }
        EditKind::Dynamic => format!("{} in .dynamic", tag_name(edit, plan)),
        EditKind::Segment => "program header of the interpreter's path".to_owned(),
        EditKind::Section => "section header, for tools such as readelf".to_owned(),
    }
}

fn tag_name(edit: &FileEdit, plan: &Plan) -> &'static str {
    let word = if plan.arch.class == 2 { 8 } else { 4 };
    let tag = edit.after.iter().take(word).rev();
    let tag = tag.fold(0, |tag, &byte| tag << 8 | u64::from(byte));
    match u32::try_from(tag) {
        Ok(elf::DT_NEEDED) => "DT_NEEDED",
        Ok(elf::DT_RUNPATH) => "DT_RUNPATH",
        Ok(elf::DT_RPATH) => "DT_RPATH",
        Ok(elf::DT_STRSZ) => "DT_STRSZ",
        _ => "an entry",
    }
}

fn write_warnings(out: &mut Page, report: &Report, verbose: bool) {
    let mut said = Vec::new();
    for warning in &report.warnings {
        out.line(format!("{}: {warning}", self::warning()));
    }
    let notes = report.files.iter().flat_map(|file| {
        let notes = file.notes.iter();
        notes.map(|note| (note.to_string(), &*file.path))
    });
    for (note, paths) in by_text(notes) {
        let warning = self::warning();
        match paths.as_slice() {
            [path] => out.line(format!("{warning}: {}: {note}", shown(path))),
            paths if paths.len() > NAMED && !verbose => {
                let count = paths.len();
                out.line(format!(
                    "{warning}: {count} files (names with --verbose): {note}"
                ));
            }
            paths => {
                out.line(format!("{warning}: {} files: {note}", paths.len()));
                for path in paths {
                    out.line(format!("  {}", shown(path)));
                }
            }
        }
    }
    for file in &report.files {
        let Some(resolution) = file.plan.as_ref().map(|plan| &plan.resolution) else {
            continue;
        };
        let unmet_versions = resolution
            .unmet_versions
            .iter()
            .map(UnmetVersion::to_string);
        let refused = resolution.unversioned_relr.iter();
        for text in unmet_versions.chain(refused.map(UnversionedRelr::to_string)) {
            // Several programs may share the library.
            if !said.contains(&text) {
                out.line(format!("{}: {text}", self::warning()));
                said.push(text);
            }
        }
    }
    let plans = report.files.iter().filter_map(|file| file.plan.as_ref());
    let unstable_paths: BTreeSet<_> = plans
        .flat_map(|plan| &plan.resolution.unstable_paths)
        .collect();
    if !unstable_paths.is_empty() {
        let unstable_paths: Vec<String> = unstable_paths
            .into_iter()
            .map(|path| shown(path).to_string())
            .collect();
        out.line(format!(
            "{}: frozen libraries are neither in a store nor in a directory that you named; wrap again when an update moves them: {}",
            warning(),
            unstable_paths.join(", ")
        ));
    }
}

/// Each text with the files it applies to, in the order of `all`.
fn by_text<'f>(all: impl Iterator<Item = (String, &'f Path)>) -> Vec<(String, Vec<&'f Path>)> {
    let mut texts: Vec<(String, Vec<&Path>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (text, path) in all {
        let index = *known.entry(text.clone()).or_insert(texts.len());
        match texts.get_mut(index) {
            Some((_, paths)) => paths.push(path),
            None => texts.push((text, vec![path])),
        }
    }
    texts
}

fn write_missing(out: &mut Page, report: &Report) {
    let missing = report.missing(true);
    if missing.is_empty() {
        return;
    }
    let files = report.files.iter().filter(|file| !file.missing.is_empty());
    let failed = files.filter(|file| file.status == Status::Failed);
    out.line(format!(
        "{}: {} missing, {} unchanged:",
        error(),
        counted(missing.len(), "library is", "libraries are"),
        counted(failed.count(), "file", "files")
    ));
    write_libraries(out, &missing)
}

/// Lists the files outside of a relocatable tree that its programs need.
fn write_outside(out: &mut Page, report: &Report) {
    let outside = report.outside();
    if outside.is_empty() {
        return;
    }
    let files = report.files.iter();
    let refused = files.filter(|file| !file.outside.is_empty()).count();
    let tree = shown(&report.tree);
    out.line(format!(
        "{}: --relocatable: {} outside of {tree} and would be lost when you move it; {} unchanged:",
        error(),
        counted(outside.len(), "file is", "files are"),
        counted(refused, "file is", "files are")
    ));
    for path in &outside {
        out.line(format!("  {}", path.display()));
    }
    out.line(format!(
        "  copy them into the tree (cp -L FILE… {tree}/lib) and pass the copies to --libs and --interpreter, or pass --allow-outside"
    ));
}

/// Lists missing libraries that no program here needs. A program may still open the libraries that need them.
fn write_missing_of_libraries(out: &mut Page, report: &Report) {
    let missing = report.missing(false);
    if missing.is_empty() {
        return;
    }
    out.line(format!(
        "{}: {} missing that only shared libraries need; these cannot be loaded until {} there:",
        warning(),
        counted(missing.len(), "library is", "libraries are"),
        noun(missing.len(), "it is", "they are")
    ));
    write_libraries(out, &missing)
}

fn write_libraries(out: &mut Page, missing: &[Missing]) {
    for library in missing {
        out.line(format!("  {}", library.soname.display()));
        for file in &library.needed_by {
            out.line(format!("    needed by {}", shown(file)));
        }
        for hint in &library.hints {
            out.line(format!("    {hint}"));
        }
    }
    out.line("  pass the directories that have them with --libs, or --ignore-missing PATTERN");
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", noun(count, one, many))
}

fn error() -> String {
    styled("error", Style::Error)
}

fn warning() -> String {
    styled("warning", Style::Warning)
}

fn summary(report: &Report) -> String {
    if report.files.is_empty() {
        let nothing = match report.restoring {
            true => "nothing to restore: no file in these paths is wrapped or edited",
            false => "nothing to wrap: no ELF file in these paths",
        };
        return nothing.to_owned();
    }
    let would = if report.dry_run { "would be " } else { "" };
    let count = |statuses: [Status; 2]| -> usize {
        statuses.iter().map(|status| report.count(*status)).sum()
    };
    let edited = |libraries: bool| -> usize {
        let edited = [Status::Edited, Status::WouldEdit];
        let files = report.files.iter();
        let edited = files.filter(|file| edited.contains(&file.status));
        let plans = edited.filter_map(|file| file.plan.as_deref());
        plans.filter(|plan| plan.is_library() == libraries).count()
    };
    let (programs, libraries) = (edited(false), edited(true));
    let failed = report.count(Status::Failed);
    let attention = if failed == 1 {
        "needs attention"
    } else {
        "need attention"
    };
    let parts = [
        (
            count([Status::Wrapped, Status::WouldWrap]),
            format!("{would}wrapped"),
        ),
        (
            programs,
            format!(
                "{} {would}edited in place",
                noun(programs, "program", "programs")
            ),
        ),
        (
            libraries,
            format!(
                "{} {would}edited in place",
                noun(libraries, "library", "libraries")
            ),
        ),
        (
            count([Status::Restored, Status::WouldRestore]),
            format!("{would}restored"),
        ),
        (report.count(Status::Skipped), "skipped".to_owned()),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let mut parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if failed > 0 {
        parts.push(styled(format!("{failed} {attention}"), Style::Error));
    }
    parts.join(", ")
}

fn noun<'n>(count: usize, one: &'n str, many: &'n str) -> &'n str {
    if count == 1 { one } else { many }
}
