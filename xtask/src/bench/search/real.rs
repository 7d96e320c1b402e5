//! Programs of this system with all their libraries, laid out as in a store: a directory for the libraries of each package, and a
//! dynamic linker without default directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::kit::{Kit, Method};
use crate::bench::blind::blinded;
use crate::workspace::output;

/// The default programs, if they are installed. The first does little more than load its many libraries; the others do more work.
pub const USUAL: [&str; 4] = [
    "/usr/bin/pango-view",
    "/usr/bin/rsvg-convert",
    "/usr/bin/curl",
    "/usr/bin/nix-store",
];

/// The argument with which they start and end.
pub const ARGUMENT: &str = "--version";

/// The needs of a program.
pub struct Needs {
    interpreter: PathBuf,
    /// For each library: its name in DT_NEEDED, its path, and the name of its package.
    libraries: Vec<(String, PathBuf, String)>,
}

impl Needs {
    /// The needs of `program` on this system.
    pub fn of(kit: &Kit, program: &Path) -> Result<Self> {
        let mut check = Command::new(kit.tool());
        let said = output(check.args(["check", "--format", "json"]).arg(program))?;
        let said: Value = serde_json::from_str(&said).context("the tool printed no JSON")?;
        let file = &said["files"][0];
        let interpreter = file["interpreter"].as_str().context("it is not dynamic")?;
        let name = Path::new(interpreter).file_name();
        let listed = file["libraries"].as_array().context("it needs nothing")?;
        let text = |one: &Value, field: &str| one[field].as_str().map(str::to_owned);
        let mut libraries = Vec::new();
        for one in listed {
            let named = text(one, "soname").zip(text(one, "path"));
            let (soname, path) = named.context("a library was not found")?;
            if Path::new(&soname).file_name() != name {
                let path = PathBuf::from(path);
                let package = package(&path).unwrap_or_else(|| soname.clone());
                libraries.push((soname, path, package));
            }
        }
        Ok(Self {
            interpreter: PathBuf::from(interpreter),
            libraries,
        })
    }

    /// The number of libraries, and of directories.
    pub fn counts(&self) -> (usize, usize) {
        let packages: BTreeSet<&String> = self.libraries.iter().map(|(_, _, one)| one).collect();
        (self.libraries.len(), packages.len())
    }

    /// Copies `program` and all its needs below `place`, where each file finds its needs with this method.
    pub fn laid_out(
        &self,
        kit: &Kit,
        program: &Path,
        method: Method,
        place: &Path,
    ) -> Result<PathBuf> {
        let store = place.join("store");
        let mut directories: Vec<String> = Vec::new();
        let mut linker = None;
        for (soname, path, package) in &self.libraries {
            let directory = store.join(package).join("lib");
            fs::create_dir_all(&directory)?;
            let copied = fs::copy(path, directory.join(soname));
            copied.with_context(|| format!("cannot copy {}", path.display()))?;
            if soname == "libc.so.6" {
                linker = self
                    .interpreter
                    .file_name()
                    .map(|name| directory.join(name));
            }
            let directory = directory.to_str().context("an odd path")?.to_owned();
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        let linker = linker.context("it does not need libc.so.6")?;
        fs::copy(&self.interpreter, &linker)?;
        fs::write(&linker, blinded(fs::read(&linker)?))?;
        let copy = place.join(program.file_name().context("a program has a name")?);
        fs::copy(program, &copy)?;
        let mut wrapping = kit.wrapping(place, &directories, method)?;
        output(wrapping.arg("--interpreter").arg(&linker))?;
        let said = output(Command::new(&copy).arg(ARGUMENT))?;
        ensure!(!said.is_empty(), "{} says nothing", copy.display());
        Ok(copy)
    }
}

/// The Debian package of `library`.
fn package(library: &Path) -> Option<String> {
    let real = library.canonicalize().ok()?;
    // dpkg knows the path either with or without the links of a merged /usr.
    let below = real
        .strip_prefix("/usr")
        .map(|below| Path::new("/").join(below));
    let names = [Some(real.clone()), below.ok()].into_iter().flatten();
    names
        .filter_map(|name| output(Command::new("dpkg-query").arg("-S").arg(name)).ok())
        .find_map(|said| Some(said.split_once(':')?.0.to_owned()))
}
