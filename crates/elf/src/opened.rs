//! Libraries that a program declares to open with dlopen: ELF dlopen metadata
//! (<https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>).

use serde::Deserialize;

/// The owner of the note, without its NUL, and its type.
pub(super) const OWNER: &[u8] = b"FDO";
pub(super) const TYPE: u32 = 0x407c_0c0a;

/// How important a library is to the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// The program does not work without it.
    Required,
    /// The program works without it, but users would miss it.
    #[default]
    Recommended,
    /// The program works without it.
    Suggested,
}

/// A library that is opened, with its alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// Sonames; the program opens the first that exists.
    pub soname: Vec<String>,
    /// The name of the feature that needs it.
    #[serde(default)]
    pub feature: String,
    /// A sentence on the feature.
    #[serde(default)]
    pub description: String,
    /// How important the library is.
    #[serde(default)]
    pub priority: Priority,
}

impl Opened {
    /// The purpose, to print after the name; empty if the file does not say.
    pub fn purpose(&self) -> String {
        match (&*self.description, &*self.feature) {
            ("", "") => String::new(),
            ("", feature) => format!(" for {feature}"),
            (description, _) => format!(" ({description})"),
        }
    }
}

/// The libraries in the text of a note; none if it is invalid.
pub(super) fn parse(content: &[u8]) -> Vec<Opened> {
    let end = content.iter().position(|&byte| byte == 0);
    let text = &content[..end.unwrap_or(content.len())];
    serde_json::from_slice(text).unwrap_or_default()
}
