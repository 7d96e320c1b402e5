//! `wrap-buddy watch`: wraps the files in directories, then each file that arrives, once it is complete.
//!
//! [`roots`] has the directories to watch, [`presets`] the named lists of them, with a [`path_pattern`] for each path. [`tree`] receives
//! inotify events, [`polling`] scans where there are none, [`mounts`] notices file systems that are mounted over a directory. [`debounce`]
//! decides when files are complete, [`processed`] remembers the files that need nothing more. [`daemon`] is the loop, [`event_log`] its
//! output.

mod cleanup;
mod daemon;
mod debounce;
mod event_log;
pub mod json;
mod mounts;
mod path_pattern;
mod polling;
mod presets;
mod processed;
mod roots;
mod tree;
mod writers;

use std::io::stdout;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use stages::Stage;

use crate::plan::options::WrapOptions;
use daemon::Daemon;
use presets::Presets;
pub use presets::built_in_presets;
use roots::Root;

/// Which directories to watch, and how to wrap the files that arrive in them.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How to wrap; its paths are the directories to watch.
    pub wrap: WrapOptions,
    pub preset: Vec<String>,
    /// A file with more presets; `None` means the user's own file, if it exists.
    pub config: Option<PathBuf>,
    /// List the presets and exit.
    pub list_presets: bool,
    /// Exit when existing and arriving files are wrapped.
    pub once: bool,
    /// How long nothing may happen in a directory before its new files are wrapped.
    pub settle: Duration,
    /// How often to scan the directories instead of watching them; `None` means watching.
    pub poll: Option<Duration>,
}

/// Watches until a signal or, with `--once`, until everything has settled. Returns false if a file failed with `--once`.
///
/// # Errors
/// If nothing can be watched or wrapped at all. Errors of single files are printed while it runs.
pub fn watch(
    options: &WatchOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
) -> Result<bool> {
    let presets = Presets::load(options.config.as_deref())?;
    if options.list_presets {
        // If the reader has closed the pipe, it has read enough.
        let _ = presets.listed().write_to(&mut stdout());
        return Ok(true);
    }
    let recurse = !options.wrap.no_recurse;
    let mut roots = Vec::new();
    for path in &options.wrap.paths {
        if path.exists() && !path.is_dir() {
            bail!(
                "{}: not a directory; watch the directory that contains it",
                path.display()
            );
        }
        roots.push(Root::named(path, recurse)?);
    }
    for name in &options.preset {
        roots.extend(Root::of_preset(presets.get(name)?, recurse)?);
    }
    if roots.is_empty() {
        bail!(
            "--preset {}: its paths use environment variables that are not set; see --list-presets",
            options.preset.join(" ")
        );
    }
    Daemon::new(options, roots, stages, missing_stages)?.run()
}
