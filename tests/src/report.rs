//! wrap-buddy's report with `--format json`.

use serde_json::Value;

use crate::output::Output;

/// The report of one run, which may have failed.
pub struct Report {
    pub output: Output,
    document: Value,
}

impl Report {
    #[track_caller]
    pub(crate) fn of(output: Output) -> Report {
        let document = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("not a report: {error}; {output}"));
        Report { output, document }
    }

    /// Asserts that the run succeeded.
    #[track_caller]
    pub fn success(self) -> Report {
        self.exits_with(0)
    }

    /// Asserts that the run exited with `status`.
    #[track_caller]
    pub fn exits_with(self, status: i32) -> Report {
        let output = self.output.exits_with(status);
        Report { output, ..self }
    }

    pub fn files(&self) -> impl Iterator<Item = FileReport<'_>> {
        array(&self.document["files"]).map(FileReport)
    }

    /// The report on the file at `path`.
    #[track_caller]
    pub fn file(&self, path: &str) -> FileReport<'_> {
        let mut files = array(&self.document["files"]);
        let file = files.find(|file| file["path"] == path);
        FileReport(file.unwrap_or_else(|| panic!("nothing about {path}; {}", self.output)))
    }

    /// The number of files that became `what`: `edited`, `skipped`, ….
    pub fn count(&self, what: &str) -> u64 {
        let count = self.document["summary"][what].as_u64();
        count.unwrap_or_else(|| panic!("no count of {what}; {}", self.output))
    }

    /// The sonames that only libraries lack.
    pub fn missing_of_libraries(&self) -> Vec<&str> {
        let missing = array(&self.document["missing_of_libraries"]);
        missing.map(|library| text(&library["soname"])).collect()
    }
}

/// The report on one file.
#[derive(Clone, Copy, Debug)]
pub struct FileReport<'r>(&'r Value);

impl<'r> FileReport<'r> {
    /// `wrapped`, `edited`, `skipped` or `failed`.
    pub fn status(self) -> &'r str {
        text(&self.0["status"])
    }

    /// Asserts the status, and that the reason or a note contains each of `words`.
    #[track_caller]
    pub fn is(self, status: &str, words: &[&str]) -> FileReport<'r> {
        let notes = array(&self.0["notes"]);
        let said: Vec<&str> = notes.chain([&self.0["reason"]]).map(text).collect();
        let path = text(&self.0["path"]);
        assert_eq!(self.status(), status, "{path}: {said:?}");
        for word in words {
            let found = said.iter().any(|text| text.contains(word));
            assert!(found, "{word:?} in {said:?}");
        }
        self
    }

    /// The names added to DT_NEEDED.
    pub fn needed(self) -> Vec<&'r str> {
        let needed = array(&self.0["needed"]);
        needed.map(|added| text(&added["soname"])).collect()
    }

    /// The new search path; empty if it does not change.
    pub fn search_path(self) -> Vec<&'r str> {
        array(&self.0["search_path"]).map(text).collect()
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
