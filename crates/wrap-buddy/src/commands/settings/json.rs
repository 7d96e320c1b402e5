//! JSON of `check --settings`. Invalid UTF-8 is replaced by replacement characters.

use serde::Serialize;

use super::{Key, Settings, Source};

/// The defaults of flags, and where they are from.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AllSettings {
    /// Each setting.
    settings: Vec<Setting>,
    /// For each file that is not read because other users can change it, a line of text.
    ignored: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Setting {
    /// The key in a file, and the flag without dashes.
    name: &'static str,
    /// Its values; relative paths are complete.
    values: Vec<String>,
    /// `flag`, `variable`, `file` or `default`.
    source: &'static str,
    /// The environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// The line in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl From<&Settings> for AllSettings {
    fn from(all: &Settings) -> Self {
        let settings = Key::ALL.iter().map(|key| {
            let setting = all.get(*key);
            let values = setting.values.iter();
            let mut json = Setting {
                name: key.name(),
                values: values
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect(),
                source: "default",
                variable: None,
                file: None,
                line: None,
            };
            match &setting.source {
                Source::Default => {}
                Source::Flag => json.source = "flag",
                Source::Variable(key) => {
                    json.source = "variable";
                    json.variable = Some(key.variable());
                }
                Source::File(path, line) => {
                    json.source = "file";
                    json.file = Some(path.to_string_lossy().into_owned());
                    json.line = Some(*line);
                }
            }
            json
        });
        Self {
            settings: settings.collect(),
            ignored: all.ignored.clone(),
        }
    }
}
