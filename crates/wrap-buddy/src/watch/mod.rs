//! `wrap-buddy watch`: wraps what is in directories, then whatever arrives there, once that is complete.
//!
//! [`roots`] says what is watched, from [`presets`] too, whose paths are [`places`]; [`tree`] is told by the kernel what happens there, or
//! [`polling`] sees it; [`mounts`] tells what is mounted over it; [`settling`] decides when it is over; [`dealt`] knows what was dealt with; [`daemon`] is the loop, and [`lines`] is
//! what it says.

mod arguments;
mod daemon;
mod dealt;
mod leftovers;
mod lines;
mod mounts;
mod places;
mod polling;
mod presets;
mod roots;
mod settling;
mod tree;
mod writers;

pub use arguments::Watch;

use std::io::stdout;

use anyhow::{Result, bail};
use stages::Stage;

use daemon::Daemon;
use presets::Presets;
use roots::Root;

/// Watches what `arguments` name, until a signal or, with `--once`, until everything has settled. Says whether all is well: after
/// a signal, always.
///
/// # Errors
/// When nothing can be watched or wrapped at all. What fails for one file is told while it goes on.
pub fn watch(arguments: &Watch, stages: &[Stage], missing_stages: &[(&str, &str)]) -> Result<bool> {
    let presets = Presets::load(arguments.config.as_deref())?;
    if arguments.list_presets {
        // A reader that went away has heard enough.
        let _ = presets.listed().write_to(&mut stdout());
        return Ok(true);
    }
    let recurse = !arguments.wrap.0.no_recurse;
    let mut roots = Vec::new();
    for path in &arguments.wrap.0.paths {
        if path.exists() && !path.is_dir() {
            bail!(
                "{}: is not a directory: watch the one it is in",
                path.display()
            );
        }
        roots.push(Root::named(path, recurse)?);
    }
    for name in &arguments.preset {
        roots.extend(Root::of_preset(presets.get(name)?, recurse)?);
    }
    if roots.is_empty() {
        bail!(
            "--preset {}: none of its directories can be told here: see --list-presets",
            arguments.preset.join(" ")
        );
    }
    Daemon::new(arguments, roots, stages, missing_stages)?.run()
}
