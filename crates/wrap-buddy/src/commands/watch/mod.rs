//! `wrap-buddy watch`: wraps what is in directories, then whatever arrives there, once that is complete.
//!
//! [`roots`] says what is watched, from [`presets`] too, whose paths are [`path_pattern`]; [`tree`] is told by the kernel what happens there, or
//! [`polling`] sees it; [`mounts`] tells what is mounted over it; [`debounce`] decides when it is over; [`processed`] knows what was dealt with; [`daemon`] is the loop, and [`event_log`] is
//! what it says.

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
use roots::Root;

/// Which directories to watch, and how to wrap what arrives in them.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How to wrap; its paths are the directories to watch.
    pub wrap: WrapOptions,
    /// Names of presets: directories of known software.
    pub preset: Vec<String>,
    /// A file with more presets; none: the user's, if there is one.
    pub config: Option<PathBuf>,
    /// Whether to list the presets and do nothing else.
    pub list_presets: bool,
    /// Whether to end once everything that is there and arriving is wrapped.
    pub once: bool,
    /// How long nothing happens in a directory before what has arrived there is wrapped.
    pub settle: Duration,
    /// How often to scan the directories instead of watching them; none: watch them.
    pub poll: Option<Duration>,
}

/// Watches what `options` name, until a signal or, with `--once`, until everything has settled. Says whether all is well: after
/// a signal, always.
///
/// # Errors
/// When nothing can be watched or wrapped at all. What fails for one file is told while it goes on.
pub fn watch(
    options: &WatchOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
) -> Result<bool> {
    let presets = Presets::load(options.config.as_deref())?;
    if options.list_presets {
        // A reader that went away has heard enough.
        let _ = presets.listed().write_to(&mut stdout());
        return Ok(true);
    }
    let recurse = !options.wrap.no_recurse;
    let mut roots = Vec::new();
    for path in &options.wrap.paths {
        if path.exists() && !path.is_dir() {
            bail!(
                "{}: is not a directory: watch the one it is in",
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
            "--preset {}: none of its directories can be told here: see --list-presets",
            options.preset.join(" ")
        );
    }
    Daemon::new(options, roots, stages, missing_stages)?.run()
}
