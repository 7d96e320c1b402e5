//! The stub and the loader of every architecture, compiled by this crate's build script and embedded.

/// One architecture's freestanding code.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// `x86_64`, `aarch64` or `i686`.
    pub name: &'static str,
    /// `e_machine` of the programs it is for.
    pub machine: u16,
    /// Stub whose trailer holds absolute paths.
    pub stub: &'static [u8],
    /// Stub whose trailer holds paths relative to the directory of the executable.
    pub relocatable_stub: &'static [u8],
    /// Stub whose trailer holds the absolute path of a sidecar with a loader in front.
    pub self_contained_stub: &'static [u8],
    /// The same, relative to the directory of the executable.
    pub relocatable_self_contained_stub: &'static [u8],
    /// `loader.bin`, padded to its full length.
    pub loader: &'static [u8],
    /// Bytes of `loader` in use: header, code and messages.
    pub loader_used: usize,
}

include!(concat!(env!("OUT_DIR"), "/stages.rs"));

impl Stage {
    /// Every stub.
    pub fn stubs(&self) -> [&'static [u8]; 4] {
        [
            self.stub,
            self.relocatable_stub,
            self.self_contained_stub,
            self.relocatable_self_contained_stub,
        ]
    }

    /// The stub for these settings.
    pub fn stub_for(&self, relocatable: bool, self_contained: bool) -> &'static [u8] {
        self.stubs()[usize::from(relocatable) + 2 * usize::from(self_contained)]
    }
}

/// Every stage this build has.
pub fn all() -> &'static [Stage] {
    ALL
}

/// The stage for programs of `machine` (`e_machine`), if this build has it.
pub fn for_machine(machine: u16) -> Option<&'static Stage> {
    ALL.iter().find(|stage| stage.machine == machine)
}
