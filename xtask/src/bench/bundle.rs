//! `bench bundle`: size and start of bundles, compared with the installed program and with what other ways of moving a program make.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::launch::{Sample, launch, pin_to_one_cpu};
use super::startup::compare_pairs;
use super::{Figures, bare, median};
use crate::workspace::{output, release_tool};

/// Time of the bundle / time of the installed program.
const TARGET_START: f64 = 1.02;
/// Size of the bundle / size of the files that it has copies of.
const TARGET_SIZE: f64 = 1.01;

/// Rounds before the measurement.
const WARM_UP: u32 = 20;

#[derive(clap::Args)]
pub struct Options {
    /// Rounds to measure; every variant runs once in each, in a new order
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The exodus to compare with (exodus-bundler of PyPI)
    #[arg(long, default_value = "exodus", value_name = "PATH")]
    exodus: PathBuf,
}

/// Programs that are installed, with arguments with which they end at once.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("bash", &["-c", ":"]),
    ("curl", &["--version"]),
    ("git", &["--version"]),
];

/// A way to start a program.
struct Variant {
    name: &'static str,
    program: PathBuf,
    /// Everything that was made for it.
    tree: PathBuf,
    micros: Vec<f64>,
}

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let tool = release_tool()?;
    let directory =
        TempDir::with_prefix("wrap-buddy-bundles-").context("cannot make a directory")?;
    let mut all = Vec::new();
    for (name, arguments) in PROGRAMS {
        let installed = which::which(name).with_context(|| format!("there is no {name}"))?;
        let maker = Maker {
            tool: &tool,
            installed: fs::canonicalize(installed)?,
            directory: directory.path().join(name),
        };
        fs::create_dir(&maker.directory)?;
        let (copied, mut variants) = maker.bundles()?;
        variants.push(maker.script()?);
        match which::which("patchelf") {
            Ok(patchelf) => variants.push(maker.patchelf(&patchelf)?),
            Err(_) => println!("patchelf is not installed: nothing to compare with"),
        }
        match which::which(&options.exodus) {
            Ok(exodus) => variants.push(maker.exodus(&exodus)?),
            Err(_) => println!(
                "exodus is not installed (pip install exodus-bundler): nothing to compare with"
            ),
        }
        let other = |variant: &Variant| !["installed", "bundle"].contains(&variant.name);
        variants.retain(|variant| {
            let starts = !other(variant) || start(variant, arguments, directory.path()).is_ok();
            if !starts {
                println!("{name}: {} does not start", variant.name);
            }
            starts
        });
        all.push((name, arguments, copied, variants));
    }
    pin_to_one_cpu()?;
    for (name, arguments, copied, variants) in &mut all {
        for round in 0..WARM_UP + options.rounds {
            measure_round(arguments, directory.path(), variants, round >= WARM_UP)?;
        }
        report(name, *copied, variants, figures)?;
    }
    Ok(())
}

/// Makes the variants of a program in a directory.
struct Maker<'m> {
    tool: &'m Path,
    installed: PathBuf,
    directory: PathBuf,
}

impl Maker<'_> {
    fn name(&self) -> &Path {
        Path::new(self.installed.file_name().unwrap_or_default())
    }

    /// The installed program, and bundles of it. The number is the sum of the sizes in bytes of the files that are copied.
    fn bundles(&self) -> Result<(u64, Vec<Variant>)> {
        let tree = self.directory.join("bundle");
        let mut command = bare(self.tool);
        command.arg("bundle").arg(&self.installed).arg("--output");
        let report = output(command.arg(&tree).args(["--format", "json"]))?;
        let report: Value = serde_json::from_str(&report)?;
        let copied = report["summary"]["bytes"].as_u64();
        let copied = copied.context("the report has no size")?;
        let runnable = self.directory.join("runnable");
        let mut command = bare(self.tool);
        command.args(["bundle", "-q"]).arg(&self.installed);
        output(command.arg("--runnable").arg(&runnable))?;
        let program = report["programs"][0].as_str().unwrap_or_default();
        Ok((
            copied,
            vec![
                variant("installed", self.installed.clone(), &self.installed),
                variant("bundle", tree.join(program), &tree),
                variant("runnable file", runnable.clone(), &runnable),
            ],
        ))
    }

    /// The program and what ldd prints, in `bin` and `lib` of a new directory. Returns it, and the path of the dynamic linker there.
    fn copied(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let tree = self.directory.join(name);
        let (bin, lib) = (tree.join("bin"), tree.join("lib"));
        fs::create_dir_all(&bin)?;
        fs::create_dir_all(&lib)?;
        fs::copy(&self.installed, bin.join(self.name()))?;
        let printed = output(Command::new("ldd").arg(&self.installed))?;
        let words = printed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        let mut linker = None;
        for library in words.map(Path::new) {
            let to = lib.join(library.file_name().unwrap_or_default());
            fs::copy(library, &to)?;
            let is_linker = to
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-"));
            linker = linker.or(is_linker.then_some(to));
        }
        Ok((tree, linker.context("ldd prints no dynamic linker")?))
    }

    /// A shell script that starts the copied ld.so with the copied libraries.
    fn script(&self) -> Result<Variant> {
        let (tree, linker) = self.copied("script")?;
        let program = tree.join("bin").join(self.name());
        let script = tree.join("start");
        let lib = tree.join("lib");
        let [linker, lib, name] = [&linker, &lib, &program].map(|path| path.display());
        let text = format!("#!/bin/sh\nexec {linker} --library-path {lib} {name} \"$@\"\n");
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(variant("ld.so and a script", script, &tree))
    }

    /// A tree whose program has been edited by patchelf. The path of its dynamic linker is absolute.
    fn patchelf(&self, patchelf: &Path) -> Result<Variant> {
        let (tree, linker) = self.copied("patchelf")?;
        let program = tree.join("bin").join(self.name());
        let mut command = Command::new(patchelf);
        command.arg("--set-interpreter").arg(linker);
        let search = ["--force-rpath", "--set-rpath", "$ORIGIN/../lib"];
        output(command.args(search).arg(&program))?;
        Ok(variant("patchelf'd tree", program, &tree))
    }

    fn exodus(&self, exodus: &Path) -> Result<Variant> {
        let tree = self.directory.join("exodus");
        fs::create_dir(&tree)?;
        let archive = self.directory.join("exodus.tgz");
        let mut command = Command::new(exodus);
        command.arg("--tarball").arg("--output").arg(&archive);
        output(command.arg(&self.installed))?;
        output(
            Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(&tree),
        )?;
        let program = tree.join("exodus/bin").join(self.name());
        ensure!(program.exists(), "exodus made no {}", program.display());
        Ok(variant("exodus", program, &tree))
    }
}

fn variant(name: &'static str, program: PathBuf, tree: &Path) -> Variant {
    Variant {
        name,
        program,
        tree: tree.to_owned(),
        micros: Vec::new(),
    }
}

/// `cache` is for runnable files.
fn start(variant: &Variant, arguments: &[&str], cache: &Path) -> Result<Sample> {
    let mut command = bare(&variant.program);
    command.args(arguments).env("XDG_CACHE_HOME", cache);
    launch(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// Starts every variant once, in a random order.
fn measure_round(
    arguments: &[&str],
    cache: &Path,
    variants: &mut [Variant],
    counts: bool,
) -> Result<()> {
    let mut order: Vec<usize> = (0..variants.len()).collect();
    fastrand::shuffle(&mut order);
    for index in order {
        let variant = &mut variants[index];
        let sample = start(variant, arguments, cache)?;
        if counts {
            variant.micros.push(sample.wall.as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

/// The sum of the sizes of all files in bytes; one with several names counts once.
fn size(tree: &Path) -> Result<u64> {
    let mut known = std::collections::HashSet::new();
    let mut sum = 0;
    for entry in WalkDir::new(tree) {
        let found = entry?.path().symlink_metadata()?;
        if found.is_file() && known.insert((found.dev(), found.ino())) {
            sum += found.len();
        }
    }
    Ok(sum)
}

fn report(name: &str, copied: u64, variants: &[Variant], figures: &mut Figures) -> Result<()> {
    println!();
    figures.subject(name);
    println!("  {:<20} {:>9} {:>12}", "", "median µs", "bytes");
    for variant in variants {
        let size = size(&variant.tree)?;
        let time = median(variant.micros.clone());
        println!("  {:<20} {time:>9.1} {size:>12}", variant.name);
        figures.samples(variant.name, "µs", &variant.micros);
        let what = format!("size, {}", variant.name);
        figures.record(&what, size as f64, "bytes", None);
    }
    let installed = &variants[0];
    for variant in &variants[1..] {
        let what = format!("  {} / installed", variant.name);
        match variant.name {
            "bundle" => compare_pairs(
                &what,
                &variant.micros,
                &installed.micros,
                TARGET_START,
                figures,
            ),
            _ => {
                let pairs = variant.micros.iter().zip(&installed.micros);
                let ratio = median(pairs.map(|(one, other)| one / other).collect());
                println!("{what}, median of pairs: {ratio:.3}");
                figures.record(&what, ratio, "", None);
            }
        }
    }
    let ratio = size(&variants[1].tree)? as f64 / copied as f64;
    figures.compare("  size of bundle / files copied", ratio, TARGET_SIZE, "");
    Ok(())
}
