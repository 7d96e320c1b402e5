//! Compiles one architecture's stub and loader to flat images.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidecar::loader::{CLOSING_OFFSET, IMAGE_LEN, closing_mark};
use sys::arch::Arch;

use crate::image::{self, Linked};
use crate::toolchain::{self, Toolchain};

/// Flat images of one architecture.
#[derive(PartialEq, Eq)]
pub struct Images {
    pub stub: Vec<u8>,
    pub relocatable_stub: Vec<u8>,
    /// The stub whose loader is in the sidecar.
    pub self_contained_stub: Vec<u8>,
    pub relocatable_self_contained_stub: Vec<u8>,
    /// The loader, padded, with its closing mark.
    pub loader: Vec<u8>,
    /// Bytes of the loader in use.
    pub loader_used: usize,
}

/// Compiles, links and checks the images.
pub fn stage(arch: &Arch, sources: &Path, out: &Path) -> Result<Images, Box<dyn Error>> {
    let stub = |stub: &'static Stub| -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(link(arch, sources, out, Part::Stub(stub))?.image)
    };
    let [plain, relocatable, self_contained, both] = &STUBS;
    let mut loader = link(arch, sources, out, Part::Loader)?.image;
    let loader_used = loader.len();
    if loader_used > CLOSING_OFFSET {
        return Err(format!("its loader takes {loader_used} bytes of {CLOSING_OFFSET}").into());
    }
    loader.resize(CLOSING_OFFSET, 0);
    loader.extend(closing_mark(arch.machine).to_le_bytes());
    debug_assert_eq!(loader.len(), IMAGE_LEN);
    Ok(Images {
        stub: stub(plain)?,
        relocatable_stub: stub(relocatable)?,
        self_contained_stub: stub(self_contained)?,
        relocatable_self_contained_stub: stub(both)?,
        loader,
        loader_used,
    })
}

#[derive(PartialEq, Eq)]
pub struct Stub {
    /// Its file name.
    name: &'static str,
    /// Features of the crate `stub`.
    features: &'static [&'static str],
}

pub static STUBS: [Stub; 4] = [
    Stub {
        name: "stub",
        features: &[],
    },
    Stub {
        name: "relocatable",
        features: &["--cfg=feature=\"relocatable\""],
    },
    Stub {
        name: "self_contained",
        features: &["--cfg=feature=\"self-contained\""],
    },
    Stub {
        name: "relocatable_self_contained",
        features: &[
            "--cfg=feature=\"relocatable\"",
            "--cfg=feature=\"self-contained\"",
        ],
    },
];

/// The part that is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Stub(&'static Stub),
    Loader,
}

/// The target's name in rustc.
fn target(arch: &Arch) -> String {
    format!("{}-unknown-linux-gnu", arch.name)
}

/// Finds the compiler, `core` and linker for an architecture.
///
/// # Errors
/// If there is no `core` for it. The error says how to get it.
pub fn toolchain(arch: &Arch, out: &Path) -> Result<Toolchain, Box<dyn Error>> {
    // All profiles share this directory, because `core` takes long to build.
    let cache = out.ancestors().find(|path| path.ends_with("build"));
    let cache = cache
        .and_then(|build| build.parent()?.parent())
        .unwrap_or(out);
    toolchain::find(&target(arch), &cache.join("stage-core"))
}

/// Compiles one part and links it to a flat image.
pub fn link(arch: &Arch, sources: &Path, out: &Path, part: Part) -> Result<Linked, Box<dyn Error>> {
    fs::create_dir_all(out)?;
    let compiler = Compiler {
        arch,
        toolchain: toolchain(arch, out)?,
        out,
    };
    let sidecar = compiler.library("sidecar", &sources.join("sidecar/lib.rs"), &[])?;
    let sys = compiler.library("sys", &sources.join("sys/lib.rs"), &["sidecar"])?;
    let script = out.join("flat.ld");
    fs::write(&script, SCRIPT)?;
    let elf = match part {
        Part::Stub(stub) => {
            let main = sources.join("stub/main.rs");
            compiler.program(stub.name, &main, &script, stub.features)?
        }
        Part::Loader => {
            compiler.library(
                "loader",
                &sources.join("loader/lib.rs"),
                &["sidecar", "sys"],
            )?;
            compiler.program("loader_bin", &sources.join("loader/main.rs"), &script, &[])?
        }
    };
    debug_assert!(sidecar.exists() && sys.exists());
    image::read(&fs::read(elf)?, arch)
}

/// Puts everything into one section, linked at 0.
const SCRIPT: &str = "ENTRY(_start)
SECTIONS
{
    . = 0;
    .image : { KEEP(*(.header)) KEEP(*(.image)) *(.text .text.*) *(.rodata .rodata.*) }
    /DISCARD/ : { *(.eh_frame .eh_frame_hdr .comment .note .note.*) }
}
";

struct Compiler<'a> {
    arch: &'a Arch,
    toolchain: Toolchain,
    out: &'a Path,
}

impl Compiler<'_> {
    fn command(&self, name: &str, source: &Path) -> Command {
        let mut command = Command::new(&self.toolchain.rustc);
        // Allows unstable options on a stable compiler: these are a target without std, and LLVM's options.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTFLAGS")
            .arg(source)
            .args([
                "--edition",
                "2024",
                "--crate-name",
                name,
                "--target",
                &target(self.arch),
            ])
            .args([
                "-Copt-level=z",
                "-Cpanic=abort",
                "-Cembed-bitcode=yes",
                "-Cdebuginfo=0",
            ])
            .args([
                "-Ccodegen-units=1",
                "--check-cfg=cfg(feature, values(\"relocatable\", \"self-contained\"))",
                "--cap-lints=warn",
            ])
            // Does not save registers that the callee does not change: that makes the loader a fifth smaller.
            .arg("-Cllvm-args=-enable-ipra")
            .args(self.arch.codegen)
            .arg("-L")
            .arg(self.out);
        if let Some(sysroot) = &self.toolchain.sysroot {
            command.arg("--sysroot").arg(sysroot);
        }
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.join(format!("lib{name}.rlib"))
    }

    fn with_libraries(&self, command: &mut Command, names: &[&str]) {
        for name in names {
            command.arg("--extern");
            command.arg(format!("{name}={}", self.path(name).display()));
        }
    }

    fn library(&self, name: &str, source: &Path, uses: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.path(name);
        let mut command = self.command(name, source);
        command.args(["--crate-type", "rlib", "-o"]).arg(&path);
        self.with_libraries(&mut command, uses);
        toolchain::run(&mut command)?;
        Ok(path)
    }

    fn program(
        &self,
        name: &str,
        source: &Path,
        script: &Path,
        options: &[&str],
    ) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.out.join(name).with_extension("elf");
        let mut command = self.command(name, source);
        command
            .args(["--crate-type", "bin", "-Clto=fat", "-o"])
            .arg(&path);
        self.with_libraries(&mut command, &["sidecar", "sys"]);
        if self.path("loader").exists() && name == "loader_bin" {
            self.with_libraries(&mut command, &["loader"]);
        }
        command
            .arg(format!("-Clinker={}", self.toolchain.linker.display()))
            .args(["-Clinker-flavor=ld.lld", "-Cdefault-linker-libraries=no"])
            .args(["-Ctarget-feature=+crt-static", "-Clink-arg=--no-pie"])
            .args(["-Clink-arg=--no-dynamic-linker", "-Clink-arg=--emit-relocs"])
            .arg("-Clink-arg=--build-id=none")
            .arg(format!("-Clink-arg=-T{}", script.display()))
            .args(options);
        toolchain::run(&mut command)?;
        Ok(path)
    }
}
