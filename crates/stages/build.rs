//! Compiles the stub, the loader, the launcher and the unpacker for every architecture that has a `core`, and writes `stages.rs`, which embeds them.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

#[path = "build/compile.rs"]
mod compile;
#[path = "build/image.rs"]
mod image;
#[path = "build/toolchain.rs"]
mod toolchain;

use compile::Images;
use sys::arch::{self, Arch};
use toolchain::Library;

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Why an architecture has no images.
enum Failure {
    /// The compiler has no `core` for it. The tool is built without the architecture.
    NoToolchain(String),
    /// The sources do not compile, or the result is not a valid image, for example because the loader is too large.
    Ours(String),
}

impl Failure {
    fn of_ours(error: Box<dyn Error>) -> Self {
        Self::Ours(error.to_string())
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?;
    // Links to the sources of the other crates, which `cargo package` turns into copies in this crate's package.
    let sources = Path::new(&package).join("sources");
    for watched in ["sidecar", "sys", "stub", "loader", "launcher", "unpacker"] {
        let watched = sources.join(watched).canonicalize()?;
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    for source in toolchain::watched() {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    for variable in toolchain::VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }

    let build = |arch: &'static Arch| {
        let directory = out.join(arch.name);
        let result = match compile::toolchain(arch, &directory, Library::CoreWithoutCode) {
            Ok(_) => compile::stage(arch, &sources, &directory).map_err(Failure::of_ours),
            Err(error) => Err(Failure::NoToolchain(error.to_string())),
        };
        (arch, result)
    };
    let results: Vec<(&Arch, Result<Images, Failure>)> = thread::scope(|scope| {
        let running: Vec<_> = arch::all()
            .iter()
            .map(|arch| scope.spawn(move || build(arch)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a build does not panic"))
            .collect()
    });

    let target = env::var("TARGET")?;
    let mut all = String::new();
    let mut missing = String::new();
    for (arch, result) in results {
        match result {
            Ok(images) => {
                let directory = out.join(arch.name);
                let embed = |name: &str, bytes: &[u8]| -> Result<String, Box<dyn Error>> {
                    let path = directory.join(name);
                    fs::write(&path, bytes)?;
                    Ok(format!("include_bytes!({path:?})"))
                };
                writeln!(
                    all,
                    "    Stage {{ name: {:?}, machine: {}, stub: {}, relocatable_stub: {}, self_contained_stub: {}, relocatable_self_contained_stub: {}, loader: {}, loader_used: {}, launcher: {}, unpacker: {} }},",
                    arch.name,
                    arch.machine,
                    embed("stub.bin", &images.stub)?,
                    embed("relocatable.bin", &images.relocatable_stub)?,
                    embed("self_contained.bin", &images.self_contained_stub)?,
                    embed(
                        "relocatable_self_contained.bin",
                        &images.relocatable_self_contained_stub
                    )?,
                    embed("loader.bin", &images.loader)?,
                    images.loader_used,
                    embed("launcher.bin", &images.launcher)?,
                    embed("unpacker.elf", &images.unpacker)?,
                )?;
            }
            Err(Failure::NoToolchain(error)) if !target.starts_with(arch.name) => {
                let error = error.lines().next().unwrap_or_default();
                println!("cargo::warning=built without {}: {error}", arch.name);
                writeln!(missing, "    ({:?}, {error:?}),", arch.name)?;
            }
            Err(Failure::NoToolchain(error) | Failure::Ours(error)) => {
                return Err(format!("cannot build the {} stage: {error}", arch.name).into());
            }
        }
    }
    let source = format!(
        "static ALL: &[Stage] = &[\n{all}];\n\n\
         /// Architectures that this build does not have: name, and how to get it.\n\
         pub const MISSING: &[(&str, &str)] = &[\n{missing}];\n"
    );
    fs::write(out.join("stages.rs"), source)?;
    Ok(())
}
