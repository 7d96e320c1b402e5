//! A file as ld.so sees it: of a wrapped one, the original bytes with the settings in its sidecar.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sidecar::{Flags, Sidecar};

use super::Refusal;
use crate::state::detect;
use crate::state::given::give;
use crate::state::prior::{Method, Progress, State};
use elf_file::{Elf, Source};
use ldso::Root;

pub(super) struct Original {
    pub elf: Elf,
    /// Its dynamic linker.
    pub interpreter: Option<PathBuf>,
    /// Its sidecar, if it was wrapped: the bundle needs it for the original bytes.
    pub sidecar: Option<PathBuf>,
}

impl Original {
    /// Reads the file at `path`, which has the headers `elf`.
    pub fn read(
        root: &Root,
        path: &Path,
        mut elf: Elf,
        mut source: Source,
    ) -> Result<Self, Refusal> {
        let refused = |why: String| Refusal::Sidecar {
            path: path.to_owned(),
            why,
        };
        let state = detect::state(root, path, &elf, &mut source, stages::all());
        if let Some(reason) = state.unusable() {
            return Err(refused(reason.to_string()));
        }
        let interp = |elf: &Elf| {
            elf.interp
                .as_ref()
                .map(|interp| PathBuf::from(&interp.path))
        };
        let State::Known(prior) = state else {
            return Ok(Self {
                interpreter: interp(&elf),
                elf,
                sidecar: None,
            });
        };
        match prior.method {
            // ld.so uses the fields in the file.
            Method::InPlace => {
                return Ok(Self {
                    interpreter: interp(&elf),
                    elf,
                    sidecar: None,
                });
            }
            Method::Stub if prior.progress == Progress::Done => {}
            _ => return Err(refused("restore the file, or wrap it again".to_owned())),
        }
        elf = Elf::read(&mut source).map_err(|error| refused(format!("{error:#}")))?;
        let sidecar = Sidecar::parse(prior.used());
        let sidecar = sidecar.map_err(|error| refused(error.to_string()))?;
        let is_inherited = sidecar.header().flags.contains(Flags::RPATH);
        give(
            &mut elf,
            (sidecar.search(), is_inherited),
            sidecar.needed_names(),
        );
        let directory = path.parent().unwrap_or(Path::new("/"));
        let interpreter = directory.join(OsStr::from_bytes(sidecar.interpreter()));
        Ok(Self {
            elf,
            interpreter: Some(interpreter),
            sidecar: Some(prior.sidecar_path.clone()),
        })
    }
}
