//! Makes a prefix that can be copied anywhere, and an archive of it. The tool in it is statically linked.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
pub use wrap_buddy::commands::generate::write_loaders;
use wrap_buddy::commands::generate::{Files, generate};

use crate::pages;
use crate::workspace::{self, cargo, output};

#[derive(clap::Args)]
pub struct Options {
    /// Where to put the prefix, the archive and its checksum [default: dist in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Unpack the archive into an empty root directory, then wrap and start a program there
    #[arg(long)]
    check: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let tool = static_tool()?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => workspace::target_dir()?.join("dist"),
    };
    let name = name(env!("CARGO_PKG_VERSION"), env::consts::ARCH);
    let prefix = out.join(&name);
    fill(&prefix, &tool)?;
    let archive = out.join(format!("{name}{ENDING}"));
    pack(&prefix, &archive)?;
    let sum = output(
        Command::new("sha256sum")
            .arg(archive.file_name().context("a name")?)
            .current_dir(&out),
    )?;
    let sums = out.join("SHA256SUMS");
    fs::write(&sums, &sum).with_context(|| format!("cannot write {}", sums.display()))?;
    print!("{}\n{}\n{sum}", prefix.display(), archive.display());
    match options.check {
        true => check(&archive, &name),
        false => Ok(()),
    }
}

/// The name of the prefix, and of the archive without its ending.
fn name(version: &str, arch: &str) -> String {
    format!("wrap-buddy-{version}-{arch}-linux")
}

const ENDING: &str = ".tar.zst";

/// Builds the tool without dynamic libraries: for musl where the toolchain has it, otherwise with this system's libc.a.
///
/// Paths of this machine are left out, so that two builds in different directories give the same bytes.
fn static_tool() -> Result<PathBuf> {
    let targets = ["musl", "gnu"].map(|libc| format!("{}-unknown-linux-{libc}", env::consts::ARCH));
    let is_installed = |target: &&String| {
        let printed =
            output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
        printed.is_ok_and(|directory| Path::new(directory.trim_end()).is_dir())
    };
    let target = targets
        .iter()
        .find(is_installed)
        .context("rustc has no standard library for this architecture")?;
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    let directories = [
        Some((workspace::root().to_owned(), ".")),
        home.map(|home| (home, "cargo")),
    ];
    for (from, to) in directories.into_iter().flatten() {
        // Flags are separated by this character.
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push(format!("={to}"));
    }
    let arguments = [
        "build",
        "--release",
        "--package",
        "wrap-buddy",
        "--target",
        target,
    ];
    workspace::run(cargo(arguments).env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    Ok(workspace::target_dir()?
        .join(target)
        .join("release/wrap-buddy"))
}

fn fill(prefix: &Path, tool: &Path) -> Result<()> {
    if prefix.exists() {
        fs::remove_dir_all(prefix)
            .with_context(|| format!("cannot remove {}", prefix.display()))?;
    }
    create_dir(&prefix.join("bin"))?;
    copy(tool, &prefix.join("bin/wrap-buddy"))?;
    write_loaders(&prefix.join("lib/wrap-buddy"))?;
    let documents = prefix.join("share/doc/wrap-buddy");
    pages::copy_to(&documents)?;
    copy(
        &workspace::root().join("LICENSE"),
        &documents.join("LICENSE"),
    )?;
    generate(
        &Files::Share(prefix.join("share")),
        &wrap_buddy::cli::share::files,
    )?;
    for (name, install) in stages::MISSING {
        println!("left out: the loader for {name}: {install}");
    }
    Ok(())
}

/// Packs `prefix`. The same files give the same bytes, for any owner and time of the files.
fn pack(prefix: &Path, archive: &Path) -> Result<()> {
    let time = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned());
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u+w,go-w,a+rX",
    ])
    .args([
        format!("--mtime=@{time}"),
        "--use-compress-program=zstd -19 -T1".to_owned(),
    ])
    .arg("--create")
    .arg("--file")
    .arg(archive)
    .arg("--directory")
    .arg(prefix.parent().context("a parent")?)
    .arg(prefix.file_name().context("a name")?);
    workspace::run(&mut tar)
}

/// Unpacks the archive into a root directory that has nothing but a program, its libc and its dynamic linker, not where the program expects them.
fn check(archive: &Path, name: &str) -> Result<()> {
    let root = TempDir::new().context("cannot make a directory")?;
    let root = root.path();
    let mut unpack = Command::new("tar");
    workspace::run(
        unpack
            .arg("--extract")
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(root),
    )?;
    for directory in ["app", "lib", "bin"] {
        create_dir(&root.join(directory))?;
    }
    let source = root.join("hello.c");
    fs::write(
        &source,
        "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n",
    )?;
    output(
        Command::new("cc")
            .arg("-o")
            .arg(root.join("app/hello"))
            .arg(&source),
    )?;
    let mut linker = None;
    let listed = output(Command::new("ldd").arg(root.join("app/hello")))?;
    for path in listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let file = Path::new(path).file_name().context("a name")?;
        copy(Path::new(path), &root.join("lib").join(file))?;
        if file.as_encoded_bytes().starts_with(b"ld-") {
            linker = Some(Path::new("/lib").join(file));
        }
    }
    let linker = linker.context("ldd prints no dynamic linker")?;
    symlink(
        format!("/{name}/bin/wrap-buddy"),
        root.join("bin/wrap-buddy"),
    )?;
    let within = |program: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "chroot"])
            .arg(root)
            .arg(program);
        command
    };
    let before = within("/app/hello").output()?;
    ensure!(
        !before.status.success(),
        "the program starts before it is wrapped"
    );
    let mut wrap = within("/bin/wrap-buddy");
    workspace::run(
        wrap.args(["/app", "--libs", "/lib", "--interpreter"])
            .arg(linker),
    )?;
    let greeting = output(&mut within("/app/hello"))?;
    ensure!(
        greeting == "hello\n",
        "the wrapped program printed {greeting:?}"
    );
    println!("checked: it wraps a program in an empty root directory, and the program starts");
    Ok(())
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo binstall` finds the archive and the program in it by these templates.
    #[test]
    fn manifest_describes_the_archive() {
        let manifest = workspace::root().join("crates/wrap-buddy/Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        let binstall = &manifest["package"]["metadata"]["binstall"];
        let filled = |key: &str| {
            let template = binstall[key].as_str().unwrap().to_owned();
            let values = [
                ("repo", "https://forge.example/o/r"),
                ("name", "wrap-buddy"),
                ("bin", "wrap-buddy"),
                ("version", "1.2.3"),
                ("target-arch", "aarch64"),
            ];
            values.iter().fold(template, |text, (key, value)| {
                text.replace(&format!("{{ {key} }}"), value)
            })
        };
        let name = name("1.2.3", "aarch64");
        let releases = "https://forge.example/o/r/releases/download/v1.2.3";
        assert_eq!(filled("pkg-url"), format!("{releases}/{name}{ENDING}"));
        assert_eq!(filled("bin-dir"), format!("{name}/bin/wrap-buddy"));
        // A tar archive, compressed with zstd.
        assert_eq!(filled("pkg-fmt"), "tzstd");
    }
}
