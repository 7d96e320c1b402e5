//! The settings that ld.so gets for a file. They are compared when a file is wrapped again.

use std::ffi::OsString;
use std::path::Path;

use sidecar::{Flags, Legacy, Sidecar};

use elf_file::Elf;

const INTERPRETER: &str = "interpreter";
const SEARCH_PATH: &str = "search path";
const NEEDED: &str = "added DT_NEEDED";
const RELOCATABLE: &str = "relocatable";
const LOADER: &str = "loader";
const EMBEDDED: &str = "embedded";

const NONE: &str = "none";

/// Settings by name, in display order; unknown ones are left out. Invalid UTF-8 is replaced by replacement characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<(&'static str, String)>);

/// A setting that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: &'static str,
    pub before: String,
    pub after: String,
}

impl Settings {
    /// The settings of a program with a stub that starts `loader`; `None` means the one in the sidecar. `embedded`: they follow the stub.
    pub fn of_sidecar(sidecar: &Sidecar<'_>, loader: Option<&Path>, embedded: bool) -> Self {
        let flags = sidecar.header().flags;
        let loader = loader.map_or("in the sidecar".to_owned(), |path| {
            path.display().to_string()
        });
        Self(vec![
            (INTERPRETER, text(sidecar.interpreter())),
            (
                SEARCH_PATH,
                search_path(sidecar.search(), flags.contains(Flags::RPATH)),
            ),
            (NEEDED, listed(sidecar.needed_names())),
            (RELOCATABLE, yes(flags.contains(Flags::RELOCATABLE))),
            (LOADER, loader),
            (EMBEDDED, yes(embedded)),
        ])
    }

    /// The settings in a sidecar of the first wrap-buddy. It is unknown whether libraries inherit its search path.
    pub fn of_legacy(legacy: &Legacy<'_>) -> Self {
        Self(vec![
            (INTERPRETER, text(legacy.interpreter)),
            (SEARCH_PATH, search_path(legacy.search, false)),
            (NEEDED, listed(legacy.needed_names())),
            (RELOCATABLE, yes(legacy.is_relocatable())),
        ])
    }

    /// The settings of a file edited in place, by comparing it with its `original`.
    pub fn of_file(now: &Elf, original: &Elf) -> Self {
        let needed = now.needed().iter();
        let added = needed.filter(|name| !original.needed().contains(name));
        let interpreter = now.interp.as_ref().map(|interp| interp.path.clone());
        let dynamic = now.dynamic.as_ref();
        let search = dynamic.and_then(|own| own.search_path());
        Self::in_place(
            interpreter,
            search.map_or(&[], |search| search.as_encoded_bytes()),
            dynamic.is_some_and(|own| own.is_inherited()),
            &added.cloned().collect::<Vec<_>>(),
        )
    }

    /// The settings of a file to be edited in place. `interpreter`: for a program. `needed`: the additional names.
    pub fn in_place(
        interpreter: Option<OsString>,
        search: &[u8],
        is_inherited: bool,
        needed: &[OsString],
    ) -> Self {
        let interpreter = interpreter.map(|path| (INTERPRETER, text(path.as_encoded_bytes())));
        let rest = [
            (SEARCH_PATH, search_path(search, is_inherited)),
            (
                NEEDED,
                listed(needed.iter().map(|name| name.as_encoded_bytes())),
            ),
        ];
        Self(interpreter.into_iter().chain(rest).collect())
    }

    /// The names in DT_NEEDED that are not the file's own.
    pub fn added_needed(&self) -> Vec<String> {
        let mut all = self.0.iter();
        let added = all.find(|(name, value)| *name == NEEDED && value != NONE);
        let names = added.map_or("", |(_, value)| value).split(' ');
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The settings that are known in both and differ.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let both = self.0.iter().filter_map(|(name, before)| {
            let (_, after) = after.0.iter().find(|(other, _)| other == name)?;
            (before != after).then(|| Change {
                name,
                before: before.clone(),
                after: after.clone(),
            })
        });
        both.collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn search_path(search: &[u8], is_inherited: bool) -> String {
    let tag = if is_inherited {
        "DT_RPATH"
    } else {
        "DT_RUNPATH"
    };
    match search {
        [] => NONE.to_owned(),
        search => format!("{tag} {}", text(search)),
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n [u8]>) -> String {
    let names: Vec<String> = names.map(text).collect();
    match names.as_slice() {
        [] => NONE.to_owned(),
        names => names.join(" "),
    }
}

fn yes(is_set: bool) -> String {
    if is_set { "yes" } else { "no" }.to_owned()
}
