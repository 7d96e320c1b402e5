//! The stub, the loader, the launcher and the unpacker of every architecture. This crate's build script compiles and embeds them.

/// The stage images of one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// As in `sys::arch::Arch`.
    pub name: &'static str,
    /// `e_machine` of the programs that it is for.
    pub machine: u16,
    /// The stub whose trailer has absolute paths.
    pub stub: &'static [u8],
    /// The stub whose trailer has paths relative to the directory of the executable.
    pub relocatable_stub: &'static [u8],
    /// The stub whose trailer has the absolute path of a sidecar that begins with a loader.
    pub self_contained_stub: &'static [u8],
    /// The same with a path relative to the directory of the executable.
    pub relocatable_self_contained_stub: &'static [u8],
    /// `loader.bin`, padded to its full length.
    pub loader: &'static [u8],
    /// Bytes of `loader` in use: header, code and messages.
    pub loader_used: usize,
    /// The code of a launcher, which follows its settings (`sidecar::launcher`).
    pub launcher: &'static [u8],
    /// The ELF file at the start of a runnable file (`sidecar::runnable`), whose end is the end of its section headers.
    pub unpacker: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/stages.rs"));

impl Stage {
    pub fn stubs(&self) -> [&'static [u8]; 4] {
        [
            self.stub,
            self.relocatable_stub,
            self.self_contained_stub,
            self.relocatable_self_contained_stub,
        ]
    }

    pub fn stub_for(&self, relocatable: bool, self_contained: bool) -> &'static [u8] {
        self.stubs()[usize::from(relocatable) + 2 * usize::from(self_contained)]
    }
}

/// Every stage in this build.
pub fn all() -> &'static [Stage] {
    ALL
}

/// The stage for programs of `machine` (`e_machine`), if this build has it.
pub fn for_machine(machine: u16) -> Option<&'static Stage> {
    ALL.iter().find(|stage| stage.machine == machine)
}
