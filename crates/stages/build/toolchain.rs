//! Finds a compiler that has, or can build, `core` for a target, and a linker.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Variables in which you can name another compiler, the directory with its `library/core`, and a directory for each `core` that is
/// built.
pub const VARIABLES: [&str; 3] = [
    "WRAP_BUDDY_RUSTC",
    "WRAP_BUDDY_RUST_SRC",
    "WRAP_BUDDY_CORE_DIR",
];

/// A compiler and its sysroot.
pub struct Toolchain {
    pub rustc: PathBuf,
    /// The directory with `core`; `None` for the compiler's default.
    pub sysroot: Option<PathBuf>,
    pub linker: PathBuf,
}

/// Directories that change when the compiler or its sources are updated.
pub fn watched() -> Vec<PathBuf> {
    let debian = [PathBuf::from("/usr/src"), PathBuf::from("/usr/bin/rustc")];
    let mut watched: Vec<_> = debian.into_iter().filter(|path| path.exists()).collect();
    if let Some(libraries) = sysroot(&cargo_rustc()).map(|root| root.join("lib/rustlib")) {
        watched.push(libraries);
    }
    watched
}

/// What of the standard library an image uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Generic and inline functions of `core`.
    CoreWithoutCode,
    /// All of `core` and `alloc`.
    Alloc,
}

/// Finds a compiler for `target`: one that has `core`, or else one with the sources of its own version, from which `library` is built
/// in the directory that the variable names, or else in `cache`.
pub fn find(target: &str, cache: &Path, library: Library) -> Result<Toolchain, Box<dyn Error>> {
    let shared = env::var_os(VARIABLES[2]).map(PathBuf::from);
    let cache = shared.as_deref().unwrap_or(cache);
    let mut compilers = vec![cargo_rustc()];
    compilers.extend(env::var_os(VARIABLES[0]).map(PathBuf::from));
    compilers.push(PathBuf::from("/usr/bin/rustc"));
    let linker = linker(&compilers)
        .ok_or("no rust-lld in the toolchain and no ld.lld on PATH; install lld")?;
    for rustc in &compilers {
        let libraries =
            sysroot(rustc).map(|root| root.join("lib/rustlib").join(target).join("lib"));
        if libraries.is_some_and(|libraries| has_core(&libraries)) {
            return Ok(Toolchain {
                rustc: rustc.clone(),
                sysroot: None,
                linker,
            });
        }
    }
    for rustc in &compilers {
        if let Some((version, core)) = sources(rustc) {
            let name = match library {
                Library::CoreWithoutCode => format!("{version}-{target}"),
                Library::Alloc => format!("{version}-{target}-alloc"),
            };
            let sysroot = cache.join(name);
            build_core(rustc, &core, target, &sysroot, library)?;
            return Ok(Toolchain {
                rustc: rustc.clone(),
                sysroot: Some(sysroot),
                linker,
            });
        }
    }
    Err(format!(
        "no `core` for it: `rustup target add {target}`, `rustup component add rust-src`, or \
         `apt-get install rustc-web rust-web-src`"
    )
    .into())
}

fn cargo_rustc() -> PathBuf {
    env::var_os("RUSTC")
        .unwrap_or_else(|| OsString::from("rustc"))
        .into()
}

fn output(rustc: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(rustc).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    output(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn has_core(libraries: &Path) -> bool {
    let entries = fs::read_dir(libraries).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("libcore") && name.ends_with(".rlib")
    })
}

/// The version of a compiler, and `core/src/lib.rs` of that version: from rustup's component, Debian's package, or the environment
/// variable.
fn sources(rustc: &Path) -> Option<(String, PathBuf)> {
    let version = output(rustc, &["--version"])?;
    let number = version.split(' ').nth(1)?.to_owned();
    let mut roots = Vec::new();
    roots.extend(env::var_os(VARIABLES[1]).map(PathBuf::from));
    roots.push(sysroot(rustc)?.join("lib/rustlib/src/rust"));
    roots.push(PathBuf::from("/usr/src").join(format!("rustc-{number}")));
    let mut files = roots
        .into_iter()
        .map(|root| root.join("library/core/src/lib.rs"));
    Some((number, files.find(|file| file.is_file())?))
}

/// The linker of one of the compilers, or on PATH. A distribution's compiler, which a variable may name, has none; the one on PATH may
/// be rustup's.
fn linker(compilers: &[PathBuf]) -> Option<PathBuf> {
    let compilers = compilers.iter().map(PathBuf::as_path);
    let own = compilers.chain([Path::new("rustc")]).filter_map(|rustc| {
        let host = output(rustc, &["-vV"])?;
        let host = host.lines().find_map(|line| line.strip_prefix("host: "))?;
        Some(
            sysroot(rustc)?
                .join("lib/rustlib")
                .join(host)
                .join("bin/rust-lld"),
        )
    });
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path)
        .flat_map(|directory| [directory.join("rust-lld"), directory.join("ld.lld")])
        .collect();
    own.chain(on_path).find(|linker| linker.is_file())
}

/// Builds a sysroot with `library`. [`Library::CoreWithoutCode`] has an empty `compiler_builtins`: an image that calls a function of these
/// does not link. Generic and inline functions are compiled with the image. Several builds may do this at the same time; the first to finish
/// installs its result.
fn build_core(
    rustc: &Path,
    source: &Path,
    target: &str,
    sysroot: &Path,
    library: Library,
) -> Result<(), Box<dyn Error>> {
    let inside = Path::new("lib/rustlib").join(target).join("lib");
    if has_core(&sysroot.join(&inside)) {
        return Ok(());
    }
    let mut temporary = sysroot.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let libraries = temporary.join(&inside);
    fs::create_dir_all(&libraries)?;
    let empty = temporary.join("compiler_builtins.rs");
    fs::write(
        &empty,
        "#![allow(internal_features)]\n#![feature(compiler_builtins)]\n#![compiler_builtins]\n#![no_std]\n",
    )?;
    // The directory `library` of Rust's sources.
    let all = source.ancestors().nth(3).unwrap_or(Path::new(""));
    let crates = match library {
        Library::CoreWithoutCode => vec![
            ("core", source.to_owned()),
            ("compiler_builtins", empty.clone()),
        ],
        Library::Alloc => vec![
            ("core", source.to_owned()),
            (
                "compiler_builtins",
                all.join("compiler-builtins/compiler-builtins/src/lib.rs"),
            ),
            ("alloc", all.join("alloc/src/lib.rs")),
        ],
    };
    // The code of the whole image is optimised when it is linked.
    let code: &[&str] = match library {
        Library::CoreWithoutCode => &["-Zno-codegen"],
        Library::Alloc => &[
            "-Clinker-plugin-lto",
            "-Cno-prepopulate-passes",
            "-Ccodegen-units=1",
        ],
    };
    for (name, source) in crates {
        let mut command = Command::new(rustc);
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .args([
                "--edition",
                "2024",
                "--crate-type",
                "rlib",
                "--crate-name",
                name,
            ])
            .args([
                "--target",
                target,
                "--cap-lints",
                "allow",
                "-Zforce-unstable-if-unmarked",
            ])
            .args(["-Copt-level=z", "-Cpanic=abort", "-Cdebuginfo=0"])
            .args(code)
            .arg("--cfg=feature=\"compiler-builtins\"")
            .arg("--sysroot")
            .arg(&temporary)
            .arg("--out-dir")
            .arg(&libraries)
            .arg(source);
        run(&mut command)?;
    }
    match fs::rename(&temporary, sysroot) {
        Ok(()) => Ok(()),
        Err(_) if has_core(&sysroot.join(&inside)) => Ok(fs::remove_dir_all(&temporary)?),
        Err(error) => Err(error.into()),
    }
}

/// The sources of a dependency of this crate.
pub struct Dependency {
    /// Its `lib.rs`.
    pub source: PathBuf,
    pub edition: String,
}

/// The sources of the crate `name`, a build dependency, where cargo keeps them. Cargo does not say that to build scripts, and reading the
/// whole workspace needs crates that the build does not, so a package in `scratch` has only this dependency.
///
/// # Errors
/// If cargo does not find it.
pub fn dependency(name: &str, scratch: &Path) -> Result<Dependency, Box<dyn Error>> {
    let locks = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let lock = locks.map(|directory| fs::read_to_string(directory.join("Cargo.lock")));
    let lock = lock.flatten().next().unwrap_or_default();
    let version = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .map_or("*".to_owned(), |version| format!("={version}"));
    let package = scratch.join("dependency").join(name);
    fs::create_dir_all(&package)?;
    let manifest = package.join("Cargo.toml");
    fs::write(package.join("lib.rs"), "")?;
    fs::write(
        &manifest,
        format!(
            "[package]\nname = \"uses-{name}\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n[dependencies.{name}]\n\
             version = \"{version}\"\ndefault-features = false\n"
        ),
    )?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--manifest-path",
        ])
        .arg(&manifest)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let packages = document["packages"].as_array().into_iter().flatten();
    let mut packages = packages.filter(|package| package["name"] == name);
    let targets = packages
        .next()
        .and_then(|package| package["targets"].as_array());
    let mut targets = targets.into_iter().flatten();
    let library = targets.find(|target| target["kind"] == serde_json::json!(["lib"]));
    let library = library.ok_or(format!("cargo metadata has no library {name}"))?;
    let text = |key: &str| library[key].as_str().unwrap_or_default();
    Ok(Dependency {
        source: text("src_path").into(),
        edition: text("edition").to_owned(),
    })
}

/// Runs a compiler. Its output becomes the error.
pub fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said
        .lines()
        .find(|line| line.starts_with("error"))
        .unwrap_or(&said);
    Err(format!("{}: {first}\n{said}", command.get_program().display()).into())
}
