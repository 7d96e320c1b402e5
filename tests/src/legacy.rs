//! Changes a program as the documentation of the first wrap-buddy (another program) describes it. The tool itself is not available
//! here, so this code writes its sidecars by their layout.
//!
//! The original bytes, interpreter, search path and names go into the sidecar, other code goes to the entry point, and PT_INTERP
//! becomes PT_NULL. Such programs need that tool's loader, so they cannot be started here.

use std::fs;

use object::elf;

use crate::check::{Segment, segments, sidecar_of};
use crate::sample::Sample;

/// Bytes of the imitated stub.
const STUB: usize = 200;

/// A layout of its sidecars, with settings.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Path of the dynamic linker, absolute or relative to the program's directory.
    pub interpreter: String,
    /// Directories for the search path, absolute or with `$ORIGIN`.
    pub search: Vec<String>,
    /// Extra DT_NEEDED. `None` stands for the layout of 1.0.0 and 1.0.1, which has no field for them.
    pub names: Option<Vec<String>>,
}

impl Legacy {
    /// The settings with which the sample, at a path two levels deep, finds its library and its libc.
    pub fn of(sample: &Sample, is_relocatable: bool) -> Self {
        let mut search = vec![sample.library_dir.clone()];
        search.extend(sample.root.library_dirs());
        let interpreter = sample.interpreter();
        let names = Some(Vec::new());
        match is_relocatable {
            true => Self {
                interpreter: format!("..{interpreter}"),
                search: search
                    .iter()
                    .map(|path| format!("$ORIGIN/..{path}"))
                    .collect(),
                names,
            },
            false => Self {
                interpreter,
                search,
                names,
            },
        }
    }

    /// Every layout: without the field for names, with it but without names, and with names; each absolute and relocatable.
    pub fn all(sample: &Sample) -> Vec<Self> {
        let names = [None, Some(Vec::new()), Some(vec!["libfoo.so".to_owned()])];
        let modes = [false, true].map(|is_relocatable| Self::of(sample, is_relocatable));
        let all = modes.iter().flat_map(|mode| {
            names.iter().map(|names| Self {
                names: names.clone(),
                ..mode.clone()
            })
        });
        all.collect()
    }

    /// Wraps the sample, which has to have a PT_INTERP.
    pub fn wrap(&self, sample: &Sample) {
        let mut bytes = fs::read(&sample.built).expect("built before");
        let word = if bytes[4] == 2 { 8 } else { 4 };
        let number = |bytes: &[u8], at: usize| {
            let field = bytes[at..at + word].iter().rev();
            field.fold(0, |value, &byte| value << 8 | usize::from(byte))
        };
        // e_entry; below, p_offset is followed by p_vaddr. Both hold in both classes.
        let entry = number(&bytes, 24);
        let address =
            |load: &Segment| number(&bytes, load.header_at + if word == 8 { 16 } else { 8 });
        let segments = segments(&bytes);
        let mut loads = segments.iter().filter(|one| one.kind == elf::PT_LOAD);
        let at = loads.find_map(|load| {
            let into = entry.checked_sub(address(load))?;
            (into < load.file.len()).then_some(load.file.start + into)
        });
        let at = at.expect("an entry point inside a segment");
        let ended = |text: &str| format!("{text}\0").into_bytes();
        let (interpreter, search) = (ended(&self.interpreter), ended(&self.search.join(":")));
        let names = self.names.as_ref().map(|names| {
            let names = names.iter().map(|name| ended(name));
            names.collect::<Vec<_>>().concat()
        });
        let mut sidecar = entry.to_le_bytes()[..word].to_vec();
        sidecar.extend(&STUB.to_le_bytes()[..word]);
        for part in [&interpreter, &search].into_iter().chain(&names) {
            sidecar.extend((part.len() as u16).to_le_bytes());
        }
        sidecar.extend(interpreter);
        sidecar.extend(search);
        sidecar.extend(&bytes[at..at + STUB]);
        sidecar.extend(names.unwrap_or_default());
        let interp = segments.iter().find(|one| one.kind == elf::PT_INTERP);
        let interp = interp.expect("PT_INTERP").header_at;
        sample.root.write(&sidecar_of(&sample.program), sidecar);
        bytes[at..at + STUB].fill(0xcc);
        bytes[interp..interp + 4].fill(0);
        sample.root.write(&sample.program, bytes);
    }
}
