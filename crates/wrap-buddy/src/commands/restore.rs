use std::collections::HashMap;

use anyhow::Result;
use elf_file::FileId;
use stages::Stage;

use crate::apply::{self, Options};
use crate::commands::PathOptions;
use crate::commands::tree_lock::TreeLock;
use crate::plan::outcome::{FileReport, Report, Status};
use crate::plan::reason::{Refusal, SkipReason, WriteFailure};
use crate::plan::restore::{Restoration, restoration};
use crate::report::Reporter;
use crate::scan::Target;
use crate::state::detect::{self, FileState};
use crate::system::workers::{Stop, WorkerPool};

#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    pub path_options: PathOptions,
    pub dry_run: bool,
    /// Replace a running file by a restored copy.
    pub replace: bool,
    /// As root, use root's rights for files that other users can replace.
    pub trust_tree: bool,
}

/// A file in a report of `restore`.
pub struct Restored<'f>(pub &'f FileReport);

/// Restores the files that `options` names.
///
/// # Errors
/// If nothing can be done at all. Errors of single files are in the report.
pub fn restore(options: &RestoreOptions, stages: &[Stage], reporter: &Reporter) -> Result<Report> {
    restore_until(options, stages, reporter, &|| false)
}

/// Like [`restore`], until `stop` returns true: files in work are finished, the others are not in the report.
pub fn restore_until(
    options: &RestoreOptions,
    stages: &[Stage],
    reporter: &Reporter,
    stop: &Stop<'_>,
) -> Result<Report> {
    let path_options = &options.path_options;
    let lock = || {
        TreeLock::on(
            &path_options.root,
            &path_options.paths,
            path_options.output.quiet,
            stop,
        )
    };
    let dry = options.dry_run;
    let Some(_lock) = (if dry { Some(None) } else { lock().map(Some) }) else {
        return Ok(Report {
            restoring: true,
            ..Report::default()
        });
    };
    let (targets, unreadable) = path_options.scan();
    if !options.dry_run {
        apply::expect(targets.len());
    }
    let pool = WorkerPool::new(targets.len(), path_options.jobs)?;
    reporter.expect(targets.len());
    let decided = pool.map(&targets, |target| {
        if stop() {
            return None;
        }
        reporter.step();
        let (file, restoration) = decide(target, stages)?;
        if restoration.is_none() {
            reporter.finished(&Restored(&file));
        }
        Some((file, restoration))
    });
    let mut files: Vec<FileReport> = Vec::new();
    let mut planned: Vec<(usize, Restoration)> = Vec::new();
    let mut seen: HashMap<FileId, usize> = HashMap::new();
    let mut other_names = Vec::new();
    for (file, restoration) in decided.into_iter().flatten() {
        let Some(restoration) = restoration else {
            files.push(file);
            continue;
        };
        if let Some(&first) = seen.get(&restoration.file.id) {
            let (index, _) = &planned[first];
            let shown = &files[*index].path;
            let reason =
                apply::fate_of_other_name(&restoration.file.on_host, shown, "restored", dry);
            let skipped = FileReport::skipped(file.path.clone(), reason);
            other_names.push((first, file, (files.len(), restoration)));
            files.push(skipped);
            continue;
        }
        seen.insert(restoration.file.id, planned.len());
        planned.push((files.len(), restoration));
        files.push(file);
    }
    let writing = Options {
        replace: options.replace,
        trust_tree: options.trust_tree,
    };
    let carry_out = |planned: &[(usize, Restoration)], files: &mut [FileReport]| {
        let restorations: Vec<&Restoration> = planned.iter().map(|(_, one)| one).collect();
        let (outcomes, done) = match options.dry_run {
            true => {
                let outcomes = apply::rehearse_restore(&restorations, writing, &pool);
                (outcomes, Status::WouldRestore)
            }
            false => {
                reporter.writing();
                let outcomes = apply::restore(&restorations, writing, &pool, Some(stop));
                (outcomes, Status::Restored)
            }
        };
        for ((index, _), outcome) in planned.iter().zip(outcomes) {
            let file = &mut files[*index];
            match outcome {
                Ok(notes) => {
                    file.status = done;
                    file.notes.extend(notes);
                }
                Err(WriteFailure::Stopped) => {}
                Err(error) => {
                    *file = FileReport::failed(file.path.clone(), Refusal::from(error));
                }
            }
        }
    };
    carry_out(&planned, &mut files);
    other_names.retain(|(first, ..)| {
        let (_, restoration) = &planned[*first];
        apply::is_split(&restoration.file)
    });
    if !other_names.is_empty() {
        let split = other_names.into_iter().map(|(_, file, (index, one))| {
            files[index] = file;
            (index, one)
        });
        let split: Vec<(usize, Restoration)> = split.collect();
        carry_out(&split, &mut files);
    }
    if !options.dry_run {
        files.retain(|file| !file.status.is_dry());
    }
    files.extend(
        unreadable
            .into_iter()
            .map(|one| FileReport::failed(one.path, Refusal::Failed(one.reason))),
    );
    Ok(Report {
        dry_run: options.dry_run,
        restoring: true,
        files,
        ..Report::default()
    })
}

/// The plan for one file; `None` for a file that is not reported.
fn decide(target: &Target, stages: &[Stage]) -> Option<(FileReport, Option<Restoration>)> {
    let shown = target.shown.clone();
    let failed = |reason: Refusal| Some((FileReport::failed(target.shown.clone(), reason), None));
    let (mut source, state) = match detect::file_state(target, stages) {
        FileState::File(source, state) => (source, state),
        _ if !target.named => return None,
        FileState::Unreadable(reason) => return failed(reason.into()),
        FileState::NotElf => {
            return Some((FileReport::skipped(shown, SkipReason::NotElf), None));
        }
    };
    match restoration(&target.root, &target.path, state, &mut source) {
        Ok(Some(restoration)) => {
            let mut file = FileReport::new(shown, Status::WouldRestore, None);
            file.details = details(&restoration);
            Some((file, Some(restoration)))
        }
        Ok(None) if target.named => Some((
            FileReport::skipped(shown, SkipReason::NothingToRestore),
            None,
        )),
        Ok(None) => None,
        Err(reason) => failed(reason),
    }
}

fn details(restoration: &Restoration) -> Vec<(&'static str, String)> {
    let edits = restoration.edits.iter().filter(|edit| edit.is_due());
    let edits = edits.map(|edit| {
        let (offset, len) = (edit.offset, edit.after.len());
        ("edit", format!("{offset:#x}: {len} original bytes"))
    });
    let removed = restoration.remove.iter();
    let removed = removed.map(|path| ("removed", path.display().to_string()));
    edits.chain(removed).collect()
}
