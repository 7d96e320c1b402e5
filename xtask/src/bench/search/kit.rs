//! Programs with many libraries, for each search method.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::bench::{system_library_dirs, wrap};
use crate::dist::write_loaders;
use crate::workspace::{output, release_tool};

/// The way in which a program finds its libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Unchanged; every library is in ld.so.cache.
    Cache,
    /// A DT_RUNPATH by patchelf.
    Patchelf,
    /// Wrapped, with a DT_RUNPATH.
    Runpath,
    /// Wrapped, with a DT_RPATH.
    Rpath,
    /// Wrapped, each library by its path.
    Frozen,
}

impl Method {
    pub const ALL: [Method; 5] = [
        Method::Cache,
        Method::Patchelf,
        Method::Runpath,
        Method::Rpath,
        Method::Frozen,
    ];

    /// The value of `--search`.
    fn flag(self) -> Option<&'static str> {
        match self {
            Method::Cache | Method::Patchelf => None,
            Method::Runpath => Some("runpath"),
            Method::Rpath => Some("rpath"),
            Method::Frozen => Some("frozen"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Method::Cache => "untouched, ld.so.cache",
            Method::Patchelf => "patchelf'd",
            Method::Runpath => "wrapped, runpath",
            Method::Rpath => "wrapped, rpath",
            Method::Frozen => "wrapped, frozen",
        }
    }
}

/// A program as it was linked, without a search path.
pub struct Program {
    pub path: PathBuf,
    /// The directories of its libraries.
    pub search: Vec<String>,
    expected: String,
}

/// The directory in which everything is made.
pub struct Kit {
    dir: TempDir,
    tool: PathBuf,
    loaders: PathBuf,
    patchelf: PathBuf,
    system: Vec<String>,
}

impl Kit {
    pub fn new(patchelf: &Path) -> Result<Self> {
        let tool = release_tool()?;
        let dir = TempDir::with_prefix("wrap-buddy-search-").context("cannot make a directory")?;
        let loaders = dir.path().join("loaders");
        write_loaders(&loaders)?;
        Ok(Self {
            dir,
            tool,
            loaders,
            patchelf: patchelf.to_owned(),
            system: system_library_dirs()?,
        })
    }

    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    pub fn tool(&self) -> &Path {
        &self.tool
    }

    /// A program that calls a function of each of `count` libraries, which are spread over `directories` directories.
    pub fn program(&self, count: usize, directories: usize) -> Result<Program> {
        let home = self.dir.path().join(format!("{count}-{directories}"));
        fs::create_dir_all(&home)?;
        let (mut search, mut libraries) = (Vec::new(), Vec::new());
        for index in 0..count {
            let package = index * directories / count;
            let lib = home.join(format!("package-{package}/lib"));
            fs::create_dir_all(&lib)?;
            let source = home.join("library.c");
            fs::write(&source, format!("int f{index}(void) {{ return 1; }}\n"))?;
            let name = format!("libnumber{index}.so");
            let library = lib.join(&name);
            let mut link = Command::new("cc");
            link.args(["-O2", "-shared", "-fPIC"])
                .arg(format!("-Wl,-soname,{name}"))
                .arg("-o")
                .args([&library, &source]);
            output(&mut link)?;
            let lib = utf8(&lib)?;
            if search.last() != Some(&lib) {
                search.push(lib);
            }
            libraries.push(library);
        }
        let declared: String = (0..count)
            .map(|index| format!("int f{index}(void);\n"))
            .collect();
        let sum: String = (0..count).map(|index| format!(" + f{index}()")).collect();
        let source = home.join("program.c");
        let text = format!(
            "#include <stdio.h>\n{declared}int main(void) {{ printf(\"%d\\n\", 0{sum}); return 0; }}\n"
        );
        fs::write(&source, text)?;
        let path = home.join("program");
        let mut link = Command::new("cc");
        link.arg("-O2")
            .arg("-o")
            .arg(&path)
            .arg(&source)
            .args(&libraries);
        output(&mut link)?;
        Ok(Program {
            path,
            search,
            expected: format!("{count}\n"),
        })
    }

    /// A copy of `program` that finds its libraries with this method.
    pub fn variant(&self, program: &Program, method: Method) -> Result<PathBuf> {
        let path = self.copy(&program.path, method, &program.search)?;
        let said = output(&mut Command::new(&path))?;
        ensure!(said == program.expected, "{} says {said:?}", path.display());
        Ok(path)
    }

    fn copy(&self, program: &Path, method: Method, own: &[String]) -> Result<PathBuf> {
        let home = program.parent().context("a program is in a directory")?;
        let name = program.file_name().context("a program has a name")?;
        let directory = home.join(format!("{method:?}"));
        fs::create_dir_all(&directory)?;
        let path = directory.join(name);
        fs::copy(program, &path)?;
        let search = [own, &self.system].concat();
        let mut command = match method {
            Method::Patchelf => {
                let mut command = Command::new(&self.patchelf);
                command.args(["--set-rpath", &search.join(":")]).arg(&path);
                command
            }
            _ => self.wrapping(&path, &search, method)?,
        };
        output(&mut command)?;
        Ok(path)
    }

    /// A command that wraps `path` for this method.
    pub fn wrapping(&self, path: &Path, search: &[String], method: Method) -> Result<Command> {
        let mut command = wrap(&self.tool, path, search, &self.loaders);
        command.args([
            "--search",
            method.flag().context("not a way of the tool's")?,
        ]);
        Ok(command)
    }
}

fn utf8(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .context("a temporary directory has an odd name")?;
    Ok(text.to_owned())
}
