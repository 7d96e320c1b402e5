//! Changes a program as the documentation of the first wrap-buddy (another program) describes it. The tool itself is not available
//! here, so this code writes its sidecars by their layout.
//!
//! The original bytes, interpreter, search path and names go into the sidecar, other code goes to the entry point, and PT_INTERP
//! becomes PT_NULL. Such programs need that tool's loader, so they cannot be started here.

use std::fs;

use object::elf;

use crate::check::{entry_offset, segments, sidecar_of, word};
use crate::offsets::E_ENTRY;
use crate::sample::Sample;

/// Bytes of the imitated stub.
pub const STUB: usize = 200;

/// A layout of its sidecars, with settings.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Path of the dynamic linker, absolute or relative to the program's directory.
    pub interpreter: String,
    /// The search path: absolute, or with `$ORIGIN`.
    pub search: String,
    /// Extra DT_NEEDED. `None` stands for the layout of 1.0.0 and 1.0.1, which has no field for them.
    pub names: Option<Vec<String>>,
}

impl Legacy {
    /// The settings with which the sample, at a path two levels deep, finds its library and its libc.
    pub fn of(sample: &Sample, is_relocatable: bool) -> Self {
        let mut search = vec![sample.library_dir.clone()];
        search.extend(sample.root.library_dirs());
        let (interpreter, search) = match is_relocatable {
            true => {
                let search = search.iter().map(|path| format!("$ORIGIN/..{path}"));
                (format!("..{}", sample.interpreter()), search.collect())
            }
            false => (sample.interpreter(), search),
        };
        Self {
            interpreter,
            search: search.join(":"),
            names: Some(Vec::new()),
        }
    }

    /// Every layout for the sample.
    pub fn all(sample: &Sample) -> Vec<Self> {
        let modes = [false, true].map(|is_relocatable| Self::of(sample, is_relocatable));
        Self::layouts(&modes, &["libfoo.so"])
    }

    /// Every layout of these: without the field for names, with it but without names, and with `names`.
    pub fn layouts(modes: &[Self], names: &[&str]) -> Vec<Self> {
        let some = names.iter().map(|&name| name.to_owned()).collect();
        let all = [None, Some(Vec::new()), Some(some)];
        let all = modes.iter().flat_map(|mode| {
            all.iter().map(|names| Self {
                names: names.clone(),
                ..mode.clone()
            })
        });
        all.collect()
    }

    /// The wrapped program and its sidecar.
    ///
    /// # Panics
    /// If it has no PT_INTERP.
    pub fn wrapped(&self, original: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let word = word(original);
        let mut sidecar = original[E_ENTRY..][..word].to_vec();
        sidecar.extend(&STUB.to_le_bytes()[..word]);
        let ended = |text: &str| format!("{text}\0").into_bytes();
        let (interpreter, search) = (ended(&self.interpreter), ended(&self.search));
        let names = self.names.as_ref().map(|names| {
            let names = names.iter().map(|name| ended(name));
            names.collect::<Vec<_>>().concat()
        });
        for part in [&interpreter, &search].into_iter().chain(&names) {
            sidecar.extend((part.len() as u16).to_le_bytes());
        }
        sidecar.extend(interpreter);
        sidecar.extend(search);
        let at = entry_offset(original);
        sidecar.extend(&original[at..at + STUB]);
        sidecar.extend(names.unwrap_or_default());

        let mut program = original.to_vec();
        // hlt on x86, which is not one of this tool's stubs.
        program[at..at + STUB].fill(0xf4);
        let mut segments = segments(original).into_iter();
        let interp = segments.find(|one| one.kind == elf::PT_INTERP);
        let interp = interp.expect("PT_INTERP").header_at;
        program[interp..interp + 4].fill(0);
        (program, sidecar)
    }

    /// Wraps the sample in its root.
    pub fn wrap(&self, sample: &Sample) {
        let (program, sidecar) = self.wrapped(&fs::read(&sample.built).expect("built before"));
        sample.root.write(&sidecar_of(&sample.program), sidecar);
        sample.root.write(&sample.program, program);
    }
}
