//! The programs that this machine runs, natively or with an emulator.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::{cache, fork, toolchain};

impl Arch {
    /// Whether this machine's kernel runs such programs natively. This runs one to find out.
    pub fn is_native(self) -> bool {
        static I686: OnceLock<bool> = OnceLock::new();
        match (Arch::host(), self) {
            (host, arch) if host == arch => true,
            (Arch::X86_64, Arch::I686) => *I686.get_or_init(|| {
                let source = cache::fixtures().join("probe.c");
                let variant = Variant::new(self, Libc::Glibc, Kind::Exec);
                let probe = toolchain::Build::program(variant, source)
                    .flag("-static")
                    .build();
                fork::spawn(&mut Command::new(probe))
                    .and_then(|mut child| child.wait())
                    .is_ok_and(|status| status.success())
            }),
            _ => false,
        }
    }

    /// The emulator's path on this machine. Panics if it is not installed.
    pub fn qemu_path(self) -> PathBuf {
        toolchain::find_program(self.qemu())
            .unwrap_or_else(|| panic!("{} is not installed; run: cargo xtask setup", self.qemu()))
    }
}
