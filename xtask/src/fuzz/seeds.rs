//! Initial inputs: small programs from every installed compiler, the tool's sidecars for them, and command lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::toolchain::Compiler;
use e2e::{Arch, Kind, Variant};

use crate::workspace;

/// Maximum length of a file, so that changes reach all of it in useful time.
const SMALL: u64 = 24 << 10;

/// Number of system libraries.
const LIBRARIES: usize = 12;

const FLAGS: &[&[&str]] = &[
    &["-s"],
    &["-s", "-no-pie", "-Wl,-z,noseparate-code"],
    &["-Wl,-rpath,/opt/lib", "-Wl,-z,now"],
    &["-s", "-fuse-ld=lld"],
    &["-s", "-shared", "-fPIC", "-Wl,-soname,libseed.so.1"],
];

/// Settings of `plan_apply`: strategies and flags, mode, and position and kind of the damage to the sidecar.
const SETTINGS: &[[u8; 4]] = &[
    [0, 0x6d, 0, 0],
    [1, 0x6d, 0, 0],
    [0x62, 0xff, 0, 0],
    [0x80, 0, 0, 0],
    [0x10, 0x49, 0x40, 0x55],
    [1, 0x49, 0x20, 0x80],
];

const COMMAND_LINES: &[&str] = &[
    "--paths a b --libs /c d --needed libx.so -q",
    "--paths a --ignore-missing libcuda.so.* lib[ab].so --strategy auto -j 2",
    "--paths a --interpreter /ld.so --relocatable --loader-dir-path /l --format json",
    "restore a b --dry-run --replace --no-recurse",
    "status a -v",
    "--paths a --search frozen --frozen-except libGL* --strategy auto",
    "check a --libs /c --root / --find-in /d --format json-lines",
    "show a",
    "watch a --libs /c --once --poll 1 --preset jetbrains",
    "--help",
    "--version",
];

const WORDS: &[&str] = &[
    "--paths",
    "--libs",
    "--runtime-dependencies",
    "--ignore-missing",
    "--needed",
    "--no-recurse",
    "--dry-run",
    "--replace",
    "--force",
    "--allow-outside",
    "--strategy",
    "inplace",
    "--interpreter",
    "--relocatable",
    "--loader-dir-path",
    "--format",
    "json",
    "--jobs",
    "restore",
    "status",
    "--verbose",
    "--quiet",
    "$ORIGIN",
    "--search",
    "--root",
    "glibc-ld.so.cache1.1",
    "\\x7fELF",
    "\\x7fwrapbd1",
    "\\x7fwrapip1",
    "\\x7fwrapldr",
];

/// Makes all seeds below `home`, in a directory for each target, and a dictionary.
pub fn make(home: &Path) -> Result<PathBuf> {
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    let seeds = Seeds { home };
    let built = seeds.compile()?;
    ensure!(!built.is_empty(), "no compiler works: cargo xtask setup");
    for program in built.iter().chain(&libraries()) {
        let bytes = fs::read(program)?;
        let name = name_of(program);
        seeds.put("inspect", &name, &bytes)?;
        for (index, settings) in SETTINGS.iter().enumerate() {
            let input = [&bytes[..], settings].concat();
            seeds.put("plan_apply", &format!("{name}-{index}"), &input)?;
        }
        let front = &bytes[..bytes.len().min(4096)];
        seeds.put("loader", &name, &[front, &[0xff]].concat())?;
    }
    if let Ok(cache) = fs::read("/etc/ld.so.cache") {
        // The maximum length of an input; only strings are cut off.
        let front = &cache[..cache.len().min(super::MAX_LEN)];
        seeds.put("inspect", "ld.so.cache", front)?;
    }
    seeds.wrap(&built)?;
    for stage in stages::all() {
        seeds.put("sidecar", stage.name, stage.loader)?;
    }
    for (index, line) in COMMAND_LINES.iter().enumerate() {
        seeds.put(
            "cli",
            &index.to_string(),
            line.replace(' ', "\0").as_bytes(),
        )?;
    }
    let words: Vec<String> = WORDS.iter().map(|word| format!("\"{word}\"\n")).collect();
    fs::write(home.join("dictionary"), words.concat())?;
    Ok(home.to_owned())
}

struct Seeds<'a> {
    home: &'a Path,
}

impl Seeds<'_> {
    fn put(&self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let directory = self.home.join(target);
        fs::create_dir_all(&directory)?;
        Ok(fs::write(directory.join(name), bytes)?)
    }

    /// Programs and libraries from every installed compiler, with all flags that it knows.
    fn compile(&self) -> Result<Vec<PathBuf>> {
        let directory = self.home.join("programs");
        fs::create_dir_all(&directory)?;
        let source = directory.join("seed.c");
        fs::write(&source, "int main(void) { return 0; }\n")?;
        let mut built = Vec::new();
        for variant in Variant::all() {
            // The flags decide the kind of file.
            let compiler = Compiler::find(variant.arch, variant.libc);
            let Some(compiler) = compiler.filter(|_| variant.kind == Kind::Pie) else {
                continue;
            };
            for (index, flags) in FLAGS.iter().enumerate() {
                let output = directory.join(format!("{variant}-{index}"));
                let arguments = [&["seed.c"], *flags].concat();
                if compiler.run(&directory, &output, &arguments).is_ok() {
                    built.push(output);
                }
            }
        }
        Ok(built)
    }

    /// The tool's sidecars for these programs.
    fn wrap(&self, programs: &[PathBuf]) -> Result<()> {
        let tool = workspace::build_all()?.join("wrap-buddy");
        let directory = tempfile::tempdir()?;
        for strategy in ["stub", "inplace"] {
            for program in programs {
                let name = name_of(program);
                let copy = directory.path().join(&name);
                fs::copy(program, &copy)?;
                let mut command = Command::new(&tool);
                command
                    .args(["-q", "--ignore-missing", "*", "--strategy", strategy])
                    .args(["--runtime-dependencies", "/opt/lib", "--paths"])
                    .arg(&copy)
                    .arg("--loader-dir-path")
                    .arg(directory.path())
                    .stderr(Stdio::null());
                // Programs without room for an edit in place, or whose dynamic linker this machine lacks, have no sidecar.
                workspace::succeeds(&mut command)?;
                let sidecar = directory.path().join(format!(".{name}.wrapbuddy"));
                if let Ok(bytes) = fs::read(&sidecar) {
                    let seed = format!("{strategy}-{name}");
                    self.put("sidecar", &seed, &bytes)?;
                    self.put("loader", &seed, &bytes)?;
                    fs::remove_file(&sidecar)?;
                }
                fs::remove_file(&copy).with_context(|| format!("remove {}", copy.display()))?;
            }
        }
        Ok(())
    }
}

/// Some small libraries of this system, in the order of their names.
fn libraries() -> Vec<PathBuf> {
    let directories = Arch::host().library_dirs().into_iter();
    let entries = directories.flat_map(fs::read_dir).flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| name_of(path).contains(".so"))
        .filter(|path| {
            path.symlink_metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= SMALL)
        })
        .collect();
    found.sort();
    found.truncate(LIBRARIES);
    found
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
