//! Compiles one architecture's stub, loader and launcher to flat images, and its unpacker to a program.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidecar::loader::{CLOSING_OFFSET, IMAGE_LEN, closing_mark};
use sys::arch::Arch;

use crate::image::{self, Linked};
use crate::toolchain::{self, Library, Toolchain};

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
    /// The code of a launcher.
    pub launcher: Vec<u8>,
    /// The ELF file of the unpacker.
    pub unpacker: Vec<u8>,
}

/// Compiles, links and checks the images.
pub fn stage(arch: &Arch, sources: &Path, out: &Path) -> Result<Images, Box<dyn Error>> {
    let compiler = Compiler::new(arch, sources, out)?;
    let stub = |stub| Ok::<_, Box<dyn Error>>(compiler.link(Part::Stub(stub))?.image);
    let [plain, relocatable, self_contained, both] = &STUBS;
    let mut loader = compiler.link(Part::Loader)?.image;
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
        launcher: compiler.link(Part::Launcher)?.image,
        unpacker: unpacker(arch, sources, out)?,
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
    Launcher,
}

/// Finds the compiler, `core` and linker for an architecture.
///
/// # Errors
/// If there is no `core` for it. The error says how to get it.
pub fn toolchain(arch: &Arch, out: &Path, library: Library) -> Result<Toolchain, Box<dyn Error>> {
    // All profiles share this directory, because `core` takes long to build.
    let cache = out.ancestors().find(|path| path.ends_with("build"));
    let cache = cache
        .and_then(|build| build.parent()?.parent())
        .unwrap_or(out);
    toolchain::find(arch.triple, &cache.join("stage-core"), library)
}

const SCRIPT_NAME: &str = "flat.ld";

/// Puts everything into one section, linked at 0.
const SCRIPT: &str = "ENTRY(_start)
SECTIONS
{
    . = 0;
    .image : { KEEP(*(.header)) KEEP(*(.image)) *(.text .text.*) *(.rodata .rodata.*) }
    /DISCARD/ : { *(.eh_frame .eh_frame_hdr .comment .note .note.* .ARM.exidx .ARM.exidx.*) }
}
";

/// The program headers of the unpacker, which has data of its own. Its segments are in pages of their own, of any size.
const PROGRAM_SCRIPT: &str = "ENTRY(_start)
PHDRS
{
    text PT_LOAD FILEHDR PHDRS FLAGS(5);
    data PT_LOAD FLAGS(6);
    stack PT_GNU_STACK FLAGS(6);
}
SECTIONS
{
    . = 0x400000 + SIZEOF_HEADERS;
    .text : { KEEP(*(.header)) *(.text .text.*) *(.rodata .rodata.*) } :text
    . = ALIGN(0x10000) + (. & 0xffff);
    .data : { *(.data .data.* .sdata .sdata.* .got .got.*) } :data
    .bss : { *(.bss .bss.* .sbss .sbss.*) } :data
    /DISCARD/ : { *(.eh_frame .eh_frame_hdr .comment .note .note.* *.attributes .ARM.exidx .ARM.exidx.*) }
}
";

/// Compiles the unpacker, with the decompressor that it uses.
fn unpacker(arch: &Arch, sources: &Path, out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let toolchain = toolchain(arch, out, Library::Alloc)?;
    let out = out.join("unpacker");
    fs::create_dir_all(&out)?;
    fs::write(out.join(SCRIPT_NAME), PROGRAM_SCRIPT)?;
    let compiler = Compiler {
        arch,
        toolchain,
        sources,
        out: &out,
        options: vec!["-Crelocation-model=static"],
    };
    compiler.library("sidecar", &[])?;
    compiler.library("sys", &["sidecar"])?;
    compiler.dependency("twox-hash", "xxhash64", &[])?;
    compiler.dependency("ruzstd", "hash", &["twox_hash"])?;
    let source = sources.join("unpacker/functions.rs");
    let fast = &["-Copt-level=3"];
    compiler.library_of(&source, "2024", "functions", fast, &[])?;
    let uses = ["functions", "ruzstd", "sidecar", "sys"];
    let elf = compiler.program("unpacker", "unpacker", &uses, &["-Clink-arg=--strip-all"])?;
    Ok(fs::read(elf)?)
}

/// Compiles for one architecture.
pub struct Compiler<'a> {
    arch: &'a Arch,
    toolchain: Toolchain,
    sources: &'a Path,
    out: &'a Path,
    /// Further options of rustc.
    options: Vec<&'static str>,
}

impl<'a> Compiler<'a> {
    /// Compiles the libraries that all parts use.
    ///
    /// # Errors
    /// If there is no toolchain for the architecture, or a library does not compile.
    pub fn new(arch: &'a Arch, sources: &'a Path, out: &'a Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(out)?;
        fs::write(out.join(SCRIPT_NAME), SCRIPT)?;
        let compiler = Self {
            arch,
            toolchain: toolchain(arch, out, Library::CoreWithoutCode)?,
            sources,
            out,
            // Does not save registers that the callee does not change: that makes the loader a fifth smaller.
            options: [&["-Cllvm-args=-enable-ipra"], arch.codegen].concat(),
        };
        compiler.library("sidecar", &[])?;
        compiler.library("sys", &["sidecar"])?;
        compiler.library("loader", &["sidecar", "sys"])?;
        Ok(compiler)
    }

    /// Links one part to a flat image.
    ///
    /// # Errors
    /// If it does not compile, or the result is not a valid image.
    pub fn link(&self, part: Part) -> Result<Linked, Box<dyn Error>> {
        let (name, directory, uses, features): (_, _, &[_], &[_]) = match part {
            Part::Stub(stub) => (stub.name, "stub", &["sys"], stub.features),
            Part::Loader => ("loader_bin", "loader", &["sidecar", "sys", "loader"], &[]),
            Part::Launcher => ("launcher", "launcher", &["sidecar", "sys"], &[]),
        };
        let options = [&["-Clink-arg=--emit-relocs"], features].concat();
        let elf = self.program(name, directory, uses, &options)?;
        image::read(&fs::read(elf)?, self.arch)
    }

    fn command(&self, name: &str, source: &Path, edition: &str) -> Command {
        let mut command = Command::new(&self.toolchain.rustc);
        // Allows unstable options on a stable compiler: these are a target without std, and LLVM's options.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTFLAGS")
            .arg(source)
            .args([
                "--edition",
                edition,
                "--crate-name",
                name,
                "--target",
                self.arch.triple,
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
            .args(&self.options)
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

    fn library(&self, name: &str, uses: &[&str]) -> Result<(), Box<dyn Error>> {
        let source = self.sources.join(name).join("lib.rs");
        self.library_of(&source, "2024", name, &[], uses)
    }

    /// Compiles a crate that cargo has fetched, for speed.
    fn dependency(&self, name: &str, feature: &str, uses: &[&str]) -> Result<(), Box<dyn Error>> {
        let found = toolchain::dependency(name, self.out)?;
        let feature = format!("--cfg=feature=\"{feature}\"");
        let options = ["-Copt-level=3", &feature];
        let name = name.replace('-', "_");
        self.library_of(&found.source, &found.edition, &name, &options, uses)
    }

    fn library_of(
        &self,
        source: &Path,
        edition: &str,
        name: &str,
        options: &[&str],
        uses: &[&str],
    ) -> Result<(), Box<dyn Error>> {
        let mut command = self.command(name, source, edition);
        command
            .args(["--crate-type", "rlib", "-o"])
            .arg(self.path(name))
            .args(options);
        self.with_libraries(&mut command, uses);
        toolchain::run(&mut command)
    }

    /// Links `main.rs` of `directory` to `NAME.elf`, and returns its path.
    fn program(
        &self,
        name: &str,
        directory: &str,
        uses: &[&str],
        options: &[&str],
    ) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.out.join(name).with_extension("elf");
        let mut command = self.command(name, &self.sources.join(directory).join("main.rs"), "2024");
        command
            .args(["--crate-type", "bin", "-Clto=fat", "-o"])
            .arg(&path);
        self.with_libraries(&mut command, uses);
        command
            .arg(format!("-Clinker={}", self.toolchain.linker.display()))
            .args(["-Clinker-flavor=ld.lld", "-Cdefault-linker-libraries=no"])
            .args(["-Ctarget-feature=+crt-static", "-Clink-arg=--no-pie"])
            .arg("-Clink-arg=--no-dynamic-linker")
            .arg("-Clink-arg=--build-id=none")
            .arg(format!(
                "-Clink-arg=-T{}",
                self.out.join(SCRIPT_NAME).display()
            ))
            .args(options);
        toolchain::run(&mut command)?;
        Ok(path)
    }
}
