//! Colours on a terminal. anstream removes them if the output is not a terminal or NO_COLOR is set.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstyle::AnsiColor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A change that was made, or a file without a problem.
    Good,
    /// Unchanged files, and labels.
    Dim,
    /// You may want to act.
    Warning,
    /// You have to act.
    Error,
    /// Heading of a paragraph.
    Bold,
    /// A state that could not be determined.
    Unknown,
    /// A problem.
    Bad,
}

/// The first of the Unicode noncharacters that stand for styles. U+FDD0 to U+FDEF are noncharacters.
const FIRST_MARK: u32 = 0xfdd0;

impl Style {
    const ALL: [Self; 7] = [
        Self::Good,
        Self::Dim,
        Self::Warning,
        Self::Error,
        Self::Bold,
        Self::Unknown,
        Self::Bad,
    ];

    pub(super) fn ansi(self) -> anstyle::Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Dim => anstyle::Style::new().dimmed(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Error => AnsiColor::Red.on_default().bold(),
            Self::Bold => anstyle::Style::new().bold(),
            Self::Unknown => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }

    /// The noncharacter that stands for this style until the line is written.
    pub(super) fn mark(self) -> char {
        char::from_u32(FIRST_MARK + self as u32).unwrap_or_default()
    }

    pub(super) fn of_mark(mark: char) -> Option<Self> {
        let index = u32::from(mark).checked_sub(FIRST_MARK)?;
        Self::ALL.get(index as usize).copied()
    }
}

/// The path as shown to the user: relative to the current directory if that is shorter.
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
    // In `/`, a relative path is only one character shorter.
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
