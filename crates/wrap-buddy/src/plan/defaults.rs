//! Default settings for a program that the first wrap-buddy wrapped, from its sidecar.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sidecar::Legacy;

use crate::plan::options::WrapOptions;
use crate::plan::search::{Added, Resolution};
use crate::scan::Target;
use crate::system::relative::joined;
use elf_file::Elf;
use ldso::Interpreter;

/// Which settings to take from the sidecar: those without a flag.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The dynamic linker, and whether paths are relative to the program.
    pub interpreter: bool,
    /// The search path.
    pub search: bool,
    /// Additional DT_NEEDED.
    pub needed: bool,
}

impl Taken {
    pub fn without_flags(options: &WrapOptions) -> Self {
        Self {
            interpreter: options.interpreter.is_empty(),
            search: options.libs.is_empty() && options.runtime_dependencies.is_empty(),
            needed: options.needed.is_empty(),
        }
    }
}

/// Settings from a sidecar of the first wrap-buddy.
#[derive(Debug)]
pub struct Defaults {
    /// The dynamic linker, if it exists and matches the program.
    pub interpreter: Option<Interpreter>,
    /// Whether paths are relative to the program.
    pub is_relocatable: bool,
    /// Colon-separated directories, as ld.so reads them.
    search: OsString,
    /// Additional DT_NEEDED.
    needed: Vec<OsString>,
    /// A note about the settings that were taken.
    pub note: String,
}

impl Defaults {
    /// The settings in the sidecar `bytes` of the program `elf`, as far as they are `taken`.
    pub fn of_sidecar(bytes: &[u8], program: &Target, elf: &Elf, taken: Taken) -> Option<Self> {
        let legacy = Legacy::parse(bytes, elf.class).ok()?;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        let mut parts = Vec::new();
        let mut defaults = Self {
            interpreter: None,
            is_relocatable: taken.interpreter && legacy.is_relocatable(),
            search: OsString::new(),
            needed: Vec::new(),
            note: String::new(),
        };
        if taken.interpreter {
            let named = PathBuf::from(text(legacy.interpreter));
            // The path of the program is free of symbolic links.
            defaults.interpreter = program.path.parent().and_then(|directory| {
                let interpreter =
                    Interpreter::open_in(&program.root, &joined(directory, &named)).ok()?;
                let kind = interpreter.elf.target();
                (kind == elf.target()).then_some(interpreter)
            });
            let gone = match &defaults.interpreter {
                Some(_) => "",
                None => " (which does not exist or does not match, so another one is used)",
            };
            parts.push(format!("interpreter {}{gone}", named.display()));
        }
        if taken.search && !legacy.search.is_empty() {
            defaults.search = text(legacy.search);
            parts.push(format!("search path {}", defaults.search.display()));
        }
        if taken.needed {
            defaults.needed = legacy.needed_names().map(text).collect();
            let names = defaults.needed.iter().map(|name| name.to_string_lossy());
            let names: Vec<_> = names.collect();
            if !names.is_empty() {
                parts.push(format!("added DT_NEEDED {}", names.join(" ")));
            }
        }
        if defaults.is_relocatable {
            parts.push("relocatable".to_owned());
        }
        defaults.note = match parts.as_slice() {
            [] => "was wrapped by the first wrap-buddy; its settings are not used".to_owned(),
            parts => format!(
                "was wrapped by the first wrap-buddy; settings from its sidecar: {}",
                parts.join(", ")
            ),
        };
        Some(defaults)
    }

    /// The program `elf` with these settings in its .dynamic, to be resolved.
    pub fn apply(&self, elf: &Elf) -> Elf {
        let mut elf = elf.clone();
        let Some(dynamic) = &mut elf.dynamic else {
            return elf;
        };
        let is_inherited = dynamic.is_inherited();
        let own = match is_inherited {
            true => &mut dynamic.rpath,
            false => &mut dynamic.runpath,
        };
        if !self.search.is_empty() {
            let kept = own.take().filter(|own| !own.is_empty());
            let paths: Vec<OsString> = kept.into_iter().chain([self.search.clone()]).collect();
            *own = Some(paths.join(OsStr::new(":")));
        }
        dynamic.needed.splice(0..0, self.needed.iter().cloned());
        elf
    }

    /// Marks the settings that [`Defaults::apply`] added in the resolution of its result: they are not in the file `elf`.
    pub fn complete(&self, elf: &Elf, resolution: &mut Resolution) {
        resolution.search_changes |= !self.search.is_empty();
        let new = self
            .needed
            .iter()
            .filter(|name| !elf.needed().contains(name));
        let new = new.map(|name| Added {
            soname: name.clone(),
            needed_by: None,
        });
        resolution.added.splice(0..0, new);
    }
}
