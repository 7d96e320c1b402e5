//! Finds the nixpkgs package of a library with nix-locate, if it is installed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ldso::Root;

use super::script::on_path;

/// Most packages to name for one library.
const MOST: usize = 3;

/// Results of `nix-locate`, which runs once per library.
#[derive(Debug)]
pub struct Packages {
    program: Option<PathBuf>,
    has_nix: bool,
    known: Mutex<HashMap<String, Vec<String>>>,
}

impl Packages {
    /// With `--root`, no packages are searched.
    pub fn of(root: &Root) -> Self {
        let is_own = root.is_own();
        Self {
            program: on_path(root, "nix-locate").filter(|_| is_own),
            has_nix: is_own && Path::new("/nix").is_dir(),
            known: Mutex::default(),
        }
    }

    /// Names of packages that have a library called `soname`.
    pub fn with(&self, soname: &str) -> Vec<String> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(soname) {
            return known.clone();
        }
        let output = Command::new(program)
            .args(["--minimal", "--top-level", "--whole-name", "--at-root"])
            .arg(format!("/lib/{soname}"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let lines = text.unwrap_or_default();
        let packages: Vec<String> = lines.lines().take(MOST).map(str::to_owned).collect();
        lock().insert(soname.to_owned(), packages.clone());
        packages
    }

    /// How to install nix-locate, if there is Nix without it.
    pub fn advice(&self) -> Option<String> {
        let lacks = self.has_nix && self.program.is_none();
        lacks.then(|| {
            "to see which nixpkgs package has a library, install nix-locate: nix-shell -p nix-index, then \
             nix-index, or use the database of nix-community/nix-index-database"
                .to_owned()
        })
    }
}
