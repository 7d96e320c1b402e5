//! The programs of `bench startup`, in each way of finding their libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sidecar::{InPlace, Sidecar};
use tempfile::TempDir;

use crate::bench::{bare, system_library_dirs, wrap};
use crate::dist::write_loaders;
use crate::workspace::{output, release_tool};

/// A hello world.
pub struct Program {
    /// The programming language.
    pub language: &'static str,
    compiler: &'static str,
    file: &'static str,
    source: &'static str,
}

/// One for each language.
pub const ALL: &[Program] = &[
    Program {
        language: "C",
        compiler: "cc",
        file: "hello.c",
        source: r#"
#include <stdio.h>
int greeting(int);
int main(void) { printf("hello %d\n", greeting(41)); return 0; }
"#,
    },
    Program {
        language: "C++",
        compiler: "c++",
        file: "hello.cc",
        source: r#"
#include <iostream>
#include <string>
extern "C" int greeting(int);
int main() { std::cout << std::string("hello ") << greeting(41) << std::endl; }
"#,
    },
];

const EXPECTED: &str = "hello 42\n";

/// A library in a directory of its own, so that there is something to find.
const LIBRARY: &str = "int greeting(int n) { return n + 1; }\n";

/// A directory in which the variants are made.
pub struct Kit {
    dir: TempDir,
    tool: PathBuf,
    loaders: PathBuf,
    /// The library's own directory, then the system's.
    search: Vec<String>,
}

impl Kit {
    pub fn new() -> Result<Self> {
        let tool = release_tool()?;
        let dir = TempDir::with_prefix("wrap-buddy-startup-").context("cannot make a directory")?;
        let loaders = dir.path().join("loaders");
        write_loaders(&loaders)?;

        let greeting = dir.path().join("greeting/lib");
        fs::create_dir_all(&greeting)?;
        let source = dir.path().join("greeting.c");
        fs::write(&source, LIBRARY)?;
        let mut link = Command::new("cc");
        link.args([
            "-O2",
            "-shared",
            "-fPIC",
            "-Wl,-soname,libgreeting.so",
            "-o",
        ])
        .arg(greeting.join("libgreeting.so"))
        .arg(source);
        output(&mut link)?;

        let mut search = vec![utf8(&greeting)?];
        search.extend(system_library_dirs()?);
        Ok(Self {
            dir,
            tool,
            loaders,
            search,
        })
    }

    /// Linked with the search path, as on the machine where it was built.
    pub fn original(&self, program: &Program) -> Result<PathBuf> {
        let option = format!("-Wl,-rpath,{}", self.search.join(":"));
        expect_greeting(self.link(program, "original", &[&option])?)
    }

    /// Linked without a search path and wrapped.
    pub fn wrapped(&self, program: &Program) -> Result<PathBuf> {
        let path = self.link(program, "wrapped", &[])?;
        output(&mut wrap(&self.tool, &path, &self.search, &self.loaders))?;
        expect_greeting(path)
    }

    /// The same with the loader in the sidecar.
    pub fn self_contained(&self, program: &Program) -> Result<PathBuf> {
        let path = self.link(program, "self-contained", &[])?;
        let mut wrap = bare(&self.tool);
        wrap.args(["-q", "--force", "--self-contained"]).arg(&path);
        output(wrap.arg("--libs").args(&self.search))?;
        let (sidecar, bytes) = self.sidecar(program, "self-contained")?;
        let own = Sidecar::parse(&bytes).is_ok_and(|sidecar| sidecar.is_self_contained());
        ensure!(own, "{} has no loader", sidecar.display());
        expect_greeting(path)
    }

    /// Linked without a search path, and `wrap-buddy run`, which starts it with a copy in `cache`.
    pub fn started_once(&self, program: &Program) -> Result<Command> {
        let path = self.link(program, "once", &[])?;
        let mut run = bare(&self.tool);
        run.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        run.args(["run", "--no-settings"]);
        for directory in &self.search {
            run.args(["--libs", directory]);
        }
        run.arg(path);
        let printed = output(&mut run)?;
        ensure!(printed == EXPECTED, "run printed {printed:?}");
        Ok(run)
    }

    /// Linked without a search path and wrapped, with the settings in the program.
    pub fn embedded(&self, program: &Program) -> Result<PathBuf> {
        let path = self.link(program, "embedded", &[])?;
        let mut embed = wrap(&self.tool, &path, &self.search, &self.loaders);
        output(embed.arg("--embedded"))?;
        let (sidecar, _) = self.sidecar(program, "embedded")?;
        fs::remove_file(&sidecar)?;
        expect_greeting(path)
    }

    /// Linked without a search path and edited in place.
    pub fn edited_in_place(&self, program: &Program) -> Result<PathBuf> {
        let path = self.link(program, "in-place", &[])?;
        let mut edit = wrap(&self.tool, &path, &self.search, &self.loaders);
        output(edit.args(["--strategy", "inplace"]))?;
        let (sidecar, bytes) = self.sidecar(program, "in-place")?;
        InPlace::parse(&bytes).map_err(|error| anyhow::anyhow!("{} {error}", sidecar.display()))?;
        expect_greeting(path)
    }

    /// Linked without a search path; patchelf adds that of the wrapped program.
    pub fn patchelfd(&self, program: &Program, patchelf: &Path) -> Result<PathBuf> {
        let (interpreter, search) = self.given_when_wrapped(program)?;
        let path = self.link(program, "patchelfd", &[])?;
        output(
            Command::new(patchelf)
                .args(["--set-interpreter", &interpreter])
                .args(["--set-rpath", &search])
                .arg(&path),
        )?;
        expect_greeting(path)
    }

    /// The interpreter and the search path of the wrapped program, so that others get the same.
    fn given_when_wrapped(&self, program: &Program) -> Result<(String, String)> {
        let (path, bytes) = self.sidecar(program, "wrapped")?;
        let sidecar = Sidecar::parse(&bytes)
            .map_err(|error| anyhow::anyhow!("{} {error}", path.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(sidecar.interpreter()), text(sidecar.search())))
    }

    fn sidecar(&self, program: &Program, variant: &str) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.program_dir(program, variant).join(".hello.wrapbuddy");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path, bytes))
    }

    fn link(&self, program: &Program, variant: &str, options: &[&str]) -> Result<PathBuf> {
        let dir = self.program_dir(program, variant);
        fs::create_dir_all(&dir)?;
        let source = dir.join(program.file);
        fs::write(&source, program.source)?;
        let path = dir.join("hello");
        output(
            Command::new(program.compiler)
                .args(["-O2", "-o"])
                .arg(&path)
                .arg(source)
                .args(["-L", &self.search[0], "-lgreeting"])
                .args(options),
        )?;
        Ok(path)
    }

    fn program_dir(&self, program: &Program, variant: &str) -> PathBuf {
        self.dir.path().join(program.language).join(variant)
    }
}

fn expect_greeting(path: PathBuf) -> Result<PathBuf> {
    // The program must not find its libraries by cargo's LD_LIBRARY_PATH.
    let printed = output(Command::new(&path).env_clear())?;
    ensure!(
        printed == EXPECTED,
        "{} printed {printed:?}",
        path.display()
    );
    Ok(path)
}

fn utf8(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}
