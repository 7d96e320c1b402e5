//! `bench patch`: the time to wrap many programs at once, and one very large program.

pub(super) mod real;
mod syncs;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::disk::Disk;
use super::launch::{Sample, launch};
use super::{Figures, bare, median, system_library_dirs, wrap};
use crate::dist::write_loaders;
use crate::workspace::{output, release_tool, target_dir};

const PROGRAMS: usize = 1000;
const PROGRAMS_ROUNDS: usize = 3;
const LARGE_FILE: u64 = 400_000_000;
const LARGE_ROUNDS: usize = 21;

const TARGET_PROGRAMS_SECONDS: f64 = 0.3;
const TARGET_LARGE_MILLIS: f64 = 2.0;
const TARGET_RSS_MIB: f64 = 16.0;

const MIB: f64 = 1024.0 * 1024.0;

/// The tool and its inputs.
struct Kit {
    dir: PathBuf,
    tool: PathBuf,
    /// `true`: the cost of any process.
    empty: PathBuf,
    loaders: PathBuf,
    libs: Vec<String>,
}

pub fn run(figures: &mut Figures) -> Result<()> {
    let tool = release_tool()?;
    let loaders = TempDir::new().context("cannot make a directory")?;
    write_loaders(loaders.path())?;
    // A single file is written to the usual file system: one in a file needs twice the work for a sync.
    let usual = TempDir::with_prefix_in("bench-patch-", target_dir()?)?;
    let kit = |dir: &Path| -> Result<Kit> {
        Ok(Kit {
            dir: dir.to_owned(),
            tool: tool.clone(),
            empty: which::which("true").context("there is no `true`")?,
            loaders: loaders.path().to_owned(),
            libs: system_library_dirs()?,
        })
    };
    // First, before the kernel is busy with a new file system and copies of thousands of files.
    one_large_file(&kit(usual.path())?, figures)?;
    let disk = Disk::new("bench-patch-")?;
    many_programs(&kit(disk.path())?, figures)?;
    Ok(())
}

fn many_programs(kit: &Kit, figures: &mut Figures) -> Result<()> {
    let found = real::programs(PROGRAMS);
    ensure!(
        !found.is_empty(),
        "there is no dynamic executable to copy in /usr"
    );
    figures.subject(&format!(
        "{PROGRAMS} executables, copies of those of this system"
    ));
    let mut samples = Vec::new();
    for round in 0..PROGRAMS_ROUNDS {
        // They are kept until the end, because ext4 is slow to create files after many were deleted.
        let dir = kit.dir.join(format!("programs-{round}"));
        copy_all(&found, PROGRAMS, &dir)?;
        samples.push(kit.wrap(&dir, &["--ignore-missing", "*"])?);
        let wrapped = count_sidecars(&dir)?;
        // A few are refused for good reasons (no room, set-id). With more refusals, the time would mean nothing.
        ensure!(
            wrapped * 100 >= PROGRAMS * 95,
            "only {wrapped} of {PROGRAMS} executables were wrapped: see what `wrap-buddy --dry-run --paths /usr/bin` says"
        );
        println!(
            "  wrapped {wrapped} in {:.3} s",
            samples[samples.len() - 1].wall.as_secs_f64()
        );
    }
    let dir = kit.dir.join("programs-synced");
    let copies = copy_all(&found, PROGRAMS, &dir)?;
    nix::unistd::sync();
    println!(
        "  of that, the file system takes {:.3} s for the same writes",
        syncs::of_many(&copies)?.as_secs_f64()
    );
    let seconds = samples.iter().map(|sample| sample.wall.as_secs_f64());
    let seconds: Vec<f64> = seconds.collect();
    figures.samples("time", "s", &seconds);
    figures.compare(
        "  median time",
        median(seconds),
        TARGET_PROGRAMS_SECONDS,
        " s",
    );
    compare_memory(&samples, figures);
    Ok(())
}

/// Makes `count` copies of `files` in `dir`, some twice if there are fewer.
pub(super) fn copy_all(files: &[PathBuf], count: usize, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let mut copies = Vec::new();
    for (index, file) in files.iter().cycle().take(count).enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let copy = dir.join(format!("{index:04}-{name}"));
        fs::copy(file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
        copies.push(copy);
    }
    Ok(copies)
}

fn count_sidecars(dir: &Path) -> Result<usize> {
    let names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let is_sidecar = |name: &&std::ffi::OsString| name.as_encoded_bytes().ends_with(b".wrapbuddy");
    Ok(names.iter().filter(is_sidecar).count())
}

fn one_large_file(kit: &Kit, figures: &mut Figures) -> Result<()> {
    let source = kit.dir.join("hello.c");
    fs::write(
        &source,
        "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n",
    )?;
    let small = Subject::new(kit, "small/hello", &source)?;
    let large = Subject::new(kit, "large/hello", &source)?;
    large.append(LARGE_FILE)?;

    let (mut small_samples, mut large_samples) = (Vec::new(), Vec::new());
    let mut empty_samples = Vec::new();
    let mut of_disk = Vec::new();
    for _ in 0..LARGE_ROUNDS {
        small_samples.push(small.wrap_afresh(kit)?);
        large_samples.push(large.wrap_afresh(kit)?);
        empty_samples.push(launch(&mut bare(&kit.empty))?);
        of_disk.push(syncs::of_one(&large.path)?.as_secs_f64() * 1e3);
    }
    let millis = |samples: &[Sample]| -> Vec<f64> {
        let millis = |sample: &Sample| sample.wall.as_secs_f64() * 1e3;
        samples.iter().map(millis).collect()
    };
    let [small, large, empty] =
        [&small_samples, &large_samples, &empty_samples].map(|all| millis(all));
    figures.subject(&format!(
        "a hello world with {} MB appended",
        LARGE_FILE / 1_000_000
    ));
    figures.samples("time", "ms", &large);
    figures.samples("time of `true`", "ms", &empty);
    let [small, whole, empty] = [small, large, empty].map(median);
    println!("  {whole:.3} ms, of which {empty:.3} ms for any process");
    println!(
        "  without them {small:.3} ms, difference {:+.3} ms",
        whole - small
    );
    println!(
        "  of that, the file system takes {:.3} ms for the same writes",
        median(of_disk)
    );
    figures.compare(
        "  median time beyond that of `true`",
        whole - empty,
        TARGET_LARGE_MILLIS,
        " ms",
    );
    compare_memory(&large_samples, figures);
    Ok(())
}

fn compare_memory(samples: &[Sample], figures: &mut Figures) {
    let largest = samples
        .iter()
        .map(|sample| sample.max_rss)
        .max()
        .unwrap_or(0);
    figures.compare(
        "  peak memory",
        largest as f64 / MIB,
        TARGET_RSS_MIB,
        " MiB",
    );
}

impl Kit {
    fn wrap(&self, path: &Path, options: &[&str]) -> Result<Sample> {
        // Earlier copies must not be written to disk during the measurement.
        nix::unistd::sync();
        let mut command = wrap(&self.tool, path, &self.libs, &self.loaders);
        launch(command.args(options))
    }
}

/// An executable that is wrapped repeatedly.
struct Subject {
    path: PathBuf,
    /// The part of the file that wrapping changes.
    pristine: Vec<u8>,
}

impl Subject {
    fn new(kit: &Kit, name: &str, source: &Path) -> Result<Self> {
        let path = kit.dir.join(name);
        fs::create_dir_all(
            path.parent()
                .context("a subject has a directory of its own")?,
        )?;
        output(Command::new("cc").arg("-o").arg(&path).arg(source))?;
        let pristine = fs::read(&path)?;
        Ok(Self { path, pristine })
    }

    /// Appends real bytes, not a hole.
    fn append(&self, len: u64) -> Result<()> {
        let mut block = vec![0; 1_000_000];
        fastrand::fill(&mut block);
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        for _ in 0..len / block.len() as u64 {
            file.write_all(&block)?;
        }
        Ok(())
    }

    fn wrap_afresh(&self, kit: &Kit) -> Result<Sample> {
        self.undo()?;
        let sample = kit.wrap(&self.path, &[])?;
        ensure!(
            self.sidecar().exists(),
            "{} was not wrapped",
            self.path.display()
        );
        Ok(sample)
    }

    fn undo(&self) -> Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(&self.pristine, 0)?;
        if self.sidecar().exists() {
            fs::remove_file(self.sidecar())?;
        }
        Ok(())
    }

    fn sidecar(&self) -> PathBuf {
        self.path.with_file_name(".hello.wrapbuddy")
    }
}
