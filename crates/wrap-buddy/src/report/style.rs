//! How things look on a terminal. Where output goes elsewhere, or NO_COLOR is set, the stream takes the colours out.

use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};

/// What was done.
pub const DONE: Style = AnsiColor::Green.on_default();
/// What was left as it is.
pub const LEFT: Style = Style::new().dimmed();
/// What a line is about.
pub const LABEL: Style = Style::new().dimmed();
/// What the user may want to do something about.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What the user has to do something about.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// In a style.
pub fn styled(text: impl Display, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// A path as people read it: relative to the current directory where that is shorter.
pub fn shown(path: impl AsRef<Path>) -> String {
    static HERE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let here = HERE.get_or_init(|| env::current_dir().ok());
    let path = path.as_ref();
    match here {
        Some(here) => relative(path, here).display().to_string(),
        None => path.display().to_string(),
    }
}

fn relative(path: &Path, here: &Path) -> PathBuf {
    // At the root the slash is all that would go.
    let gains = path.is_absolute() && here.parent().is_some();
    let relative = gains.then(|| pathdiff::diff_paths(path, here));
    let relative = relative.flatten().filter(|relative| {
        let len = relative.as_os_str().len();
        (1..path.as_os_str().len()).contains(&len)
    });
    relative.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_where_that_is_shorter() {
        for (path, here, expected) in [
            ("/home/me/app/bin/main", "/home/me", "app/bin/main"),
            ("/home/me/lib/main", "/home/me/app", "../lib/main"),
            ("/opt/main", "/home/me/app", "/opt/main"),
            ("/home/me", "/home/me", "/home/me"),
            ("app/main", "/home/me", "app/main"),
            ("../main", "/home/me", "../main"),
            ("/tmp/main", "/", "/tmp/main"),
        ] {
            assert_eq!(
                relative(path.as_ref(), here.as_ref()),
                Path::new(expected),
                "{path}"
            );
        }
    }
}
