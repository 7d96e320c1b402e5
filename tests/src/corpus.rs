//! Real programs. They are pinned in `tests/corpus.tsv`, fetched with the registries' own clients, and kept under `target/corpus`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fmt, thread};

use sha2::{Digest, Sha256};

use crate::arch::Arch;
use crate::cache;
use crate::run::on_host;

const PINS: &str = include_str!("../corpus.tsv");

/// The number of attempts to download a file, because registries and networks fail now and then.
const ATTEMPTS: u32 = 4;

/// The program that downloads a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Npm,
    Pip,
    Apt,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The name in tests.
    pub name: &'static str,
    pub arch: Arch,
    client: Client,
    package: &'static str,
    version: &'static str,
    member: &'static str,
    sha256: &'static str,
}

/// The program (or the directory of programs) called `name` in the list, for `arch`. It is fetched unless it is in the cache.
/// Panics if the list does not have it, or if it cannot be fetched or has another digest.
pub fn fetch(name: &str, arch: Arch) -> PathBuf {
    let pin = Pin::named(name, arch);
    pin.fetch().unwrap_or_else(|error| panic!("{pin}: {error}"))
}

/// Runs a patchelf of the list with these arguments on a file.
#[track_caller]
pub fn patchelf(name: &str, words: &[&str], file: &Path) {
    let tool = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::copy(fetch(name, Arch::X86_64), &tool).expect("copy patchelf");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&tool, executable).expect("chmod");
    let tool = tool.into_temp_path();
    let [tool, file] = [&*tool, file].map(|path| path.to_str().expect("UTF-8"));
    on_host(tool, &[words, &[file]].concat()).success();
}

/// The archive with the program called `name` in the list, for `arch`. Otherwise like [`fetch`].
pub fn fetch_archive(name: &str, arch: Arch) -> PathBuf {
    let pin = Pin::named(name, arch);
    pin.fetch_archive()
        .unwrap_or_else(|error| panic!("{pin}: {error}"))
}

/// The whole list. Panics if a line is malformed.
pub fn pins() -> Vec<Pin> {
    let parse =
        |line| Pin::parse(line).unwrap_or_else(|| panic!("tests/corpus.tsv: what is {line:?}?"));
    PINS.lines()
        .filter(|line| !line.starts_with('#'))
        .map(parse)
        .collect()
}

impl Pin {
    fn named(name: &str, arch: Arch) -> Pin {
        let mut pins = pins().into_iter();
        pins.find(|pin| pin.name == name && pin.arch == arch)
            .unwrap_or_else(|| panic!("tests/corpus.tsv has no {name} for {}", arch.name()))
    }

    fn parse(line: &'static str) -> Option<Pin> {
        let [name, arch, client, package, version, member, sha256] =
            line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pin = Pin {
            name,
            arch: Arch::ALL.into_iter().find(|known| known.name() == arch)?,
            client: match client {
                "npm" => Client::Npm,
                "pip" => Client::Pip,
                "apt" => Client::Apt,
                _ => return None,
            },
            package,
            version,
            member,
            sha256,
        };
        is_digest.then_some(pin)
    }

    fn fetch(&self) -> io::Result<PathBuf> {
        let place = self.place("", |archive, place| self.unpack(archive, place))?;
        Ok(place.join(self.member))
    }

    fn fetch_archive(&self) -> io::Result<PathBuf> {
        let place = self.place("-archive", |archive, place| {
            fs::create_dir(place)?;
            let name = archive.file_name().unwrap_or(OsStr::new("archive"));
            fs::rename(archive, place.join(name))
        })?;
        only_file(&place)
    }

    /// The directory for this file in the cache. If it does not exist, it is filled from the archive.
    fn place(
        &self,
        suffix: &str,
        fill: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let corpus = cache::target_dir().join("corpus");
        fs::create_dir_all(&corpus)?;
        // The digest is part of the name, so a new pin never finds an old file.
        let place = corpus.join(format!(
            "{}-{}-{}{suffix}",
            self.name,
            self.arch.name(),
            &self.sha256[..16]
        ));
        if place.is_dir() {
            return Ok(place);
        }
        // Tests are processes of their own. The first one downloads, and the others wait here.
        let lock = File::create(place.with_extension("lock"))?;
        lock.lock()?;
        if place.is_dir() {
            return Ok(place);
        }
        let fresh = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&corpus)?;
        let archive = self.download(fresh.path())?;
        self.verify(&archive)?;
        let filled = fresh.path().join("filled");
        fill(&archive, &filled)?;
        cache::make_readable(&filled)?;
        fs::rename(&filled, &place)?;
        Ok(place)
    }

    fn download(&self, dir: &Path) -> io::Result<PathBuf> {
        let mut failure = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(Duration::from_secs(2 << attempt));
            }
            let into = dir.join(format!("download-{attempt}"));
            fs::create_dir(&into)?;
            let mut command = self.client(&into);
            let output = command.output().map_err(|error| {
                let client = command.get_program().display();
                io::Error::new(
                    error.kind(),
                    format!("start {client}: {error}; run: cargo xtask setup"),
                )
            })?;
            if output.status.success() {
                return only_file(&into);
            }
            failure = String::from_utf8_lossy(&output.stderr).trim().to_string();
        }
        Err(io::Error::other(format!(
            "not downloaded in {ATTEMPTS} attempts: {failure}"
        )))
    }

    fn client(&self, into: &Path) -> Command {
        let mut command = match self.client {
            Client::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", "--pack-destination"])
                    .arg(into);
                npm.arg(format!("{}@{}", self.package, self.version));
                npm
            }
            Client::Pip => {
                let mut pip = Command::new("python3");
                pip.args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                ]);
                pip.args(["--no-deps", "--only-binary=:all:", "--no-cache-dir"]);
                for platform in [
                    "manylinux2014",
                    "manylinux_2_17",
                    "manylinux_2_28",
                    "manylinux_2_31",
                ] {
                    pip.arg(format!(
                        "--platform={platform}_{}",
                        self.arch.machine_name()
                    ));
                }
                pip.arg("--dest").arg(into);
                pip.arg(format!("{}=={}", self.package, self.version));
                pip
            }
            Client::Apt => {
                let mut apt = Command::new("apt-get");
                apt.args(["download", "--quiet", "-o", "APT::Sandbox::User=root"]);
                apt.arg(format!("{}={}", self.package, self.version));
                apt
            }
        };
        // A directory without a project, so the client finds no project settings.
        command.current_dir(into);
        command
    }

    fn verify(&self, archive: &Path) -> io::Result<()> {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(archive)?, &mut hash)?;
        let digest: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if digest == self.sha256 {
            return Ok(());
        }
        let message = format!(
            "the archive's SHA-256 is {digest}, but {} is pinned",
            self.sha256
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    fn unpack(&self, archive: &Path, into: &Path) -> io::Result<()> {
        fs::create_dir(into)?;
        let file = File::open(archive)?;
        let count = match archive.extension().and_then(OsStr::to_str) {
            Some("tgz") => self.unpack_tar(flate2::read::GzDecoder::new(file), into)?,
            Some("deb") => {
                let mut dpkg = Command::new("dpkg-deb");
                let output = dpkg.arg("--fsys-tarfile").arg(archive).output()?;
                self.unpack_tar(&*output.stdout, into)?
            }
            _ => self.unpack_zip(file, into)?,
        };
        match count {
            0 => Err(io::Error::other(format!(
                "the archive has no {}",
                self.member
            ))),
            _ => Ok(()),
        }
    }

    fn unpack_tar(&self, archive: impl Read, into: &Path) -> io::Result<usize> {
        let mut count = 0;
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let wanted = {
                let path = entry.path()?;
                // All paths of a Debian package begin with a dot.
                self.wants(path.strip_prefix(".").unwrap_or(&path))
            };
            // `unpack_in` refuses paths outside `into`.
            if wanted && entry.unpack_in(into)? {
                count += 1;
            }
        }
        Ok(count)
    }

    fn unpack_zip(&self, file: File, into: &Path) -> io::Result<usize> {
        use std::os::unix::fs::PermissionsExt;
        let mut archive = zip::ZipArchive::new(file)?;
        let mut count = 0;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index)?;
            let Some(name) = entry.enclosed_name() else {
                continue;
            };
            if !entry.is_file() || !self.wants(&name) {
                continue;
            }
            let path = into.join(name);
            fs::create_dir_all(path.parent().unwrap_or(into))?;
            io::copy(&mut entry, &mut File::create(&path)?)?;
            let mode = entry.unix_mode().unwrap_or(0o644) & 0o777;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            count += 1;
        }
        Ok(count)
    }

    fn wants(&self, path: &Path) -> bool {
        let mut parts = path.components();
        let inside = parts.all(|part| matches!(part, Component::Normal(_)));
        inside && path.starts_with(self.member)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} for {}",
            self.package,
            self.version,
            self.arch.name()
        )
    }
}

fn only_file(dir: &Path) -> io::Result<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    match <[PathBuf; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => Err(io::Error::other(format!(
            "downloaded {files:?} instead of one file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_pinned_once_per_architecture() {
        let pins = pins();
        for (index, pin) in pins.iter().enumerate() {
            let twin = pins[..index].iter().find(|other| {
                (other.name, other.arch) == (pin.name, pin.arch) || other.sha256 == pin.sha256
            });
            assert_eq!(twin, None, "{pin}");
        }
    }

    #[test]
    fn archive_with_wrong_digest_is_refused() {
        let mut archive = tempfile::NamedTempFile::new().expect("a temporary file");
        io::Write::write_all(&mut archive, b"something else").expect("write");
        let error = pins()[0]
            .verify(archive.path())
            .expect_err("an archive of 14 bytes");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(pins()[0].sha256), "{error}");
    }

    #[test]
    fn only_the_requested_member_is_unpacked() {
        let pin = Pin {
            member: "package/bin",
            ..pins()[0].clone()
        };
        assert!(pin.wants(Path::new("package/bin/node")));
        assert!(!pin.wants(Path::new("package/bins")));
        assert!(!pin.wants(Path::new("package/bin/../../outside")));
        assert!(!pin.wants(Path::new("/package/bin/node")));
    }
}
