//! Debian packages with all their dependencies. They are fetched by apt-get and kept under `target/e2e/debian`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cache;
use crate::run::on_host;

/// Unpacks `packages` and all their dependencies into `directory`, as `dpkg-deb --extract` does for an ordinary user: no file is
/// set-id, and no package script runs.
///
/// The archives are shared between trees, so a second call for the same packages downloads nothing. Panics if a package cannot be
/// fetched or unpacked.
pub fn unpack(packages: &[&str], directory: &Path) {
    unpack_of(Arch::host(), packages, directory);
}

/// Unpacks the packages of an architecture.
pub fn unpack_of(arch: Arch, packages: &[&str], directory: &Path) {
    let directory = directory.to_str().expect("a path in UTF-8");
    for archive in archives(arch, packages) {
        let archive = archive.to_str().expect("a path in UTF-8");
        on_host("dpkg-deb", &["--extract", archive, directory]).success();
    }
    let set_id = [
        "-type", "f", "-perm", "/6000", "-exec", "chmod", "a-s", "{}", "+",
    ];
    on_host("find", &[&[directory][..], &set_id].concat()).success();
}

/// The archives of `packages` and of all their dependencies.
fn archives(arch: Arch, packages: &[&str]) -> Vec<PathBuf> {
    let place = match arch == Arch::host() {
        true => cache::dir("debian"),
        false => cache::dir(&format!("debian-{}", arch.name())),
    };
    let key = cache::digest(packages.iter().map(|name| name.as_bytes()));
    let list = place.join(format!("{}-{}.list", packages[0], &key[..16]));
    // One process downloads, and the others wait here: they share most of the archives.
    let lock = File::create(place.join("lock")).expect("create a file to lock");
    lock.lock().expect("lock a file");
    let listed = fs::read_to_string(&list).unwrap_or_default();
    let known: Vec<PathBuf> = listed.lines().map(|name| place.join(name)).collect();
    if !known.is_empty() && known.iter().all(|archive| archive.is_file()) {
        return known;
    }
    let names = download(arch, packages, &place);
    let archives: Vec<PathBuf> = names.iter().map(|name| newest(&place, name)).collect();
    let listed: Vec<&str> = archives
        .iter()
        .filter_map(|archive| archive.file_name().and_then(OsStr::to_str))
        .collect();
    fs::write(&list, listed.join("\n")).expect("write a list of archives");
    archives
}

/// Fetches the archives into `place`, as if no package were installed. Returns the names of the packages.
fn download(arch: Arch, packages: &[&str], place: &Path) -> Vec<String> {
    let status = place.join("no-packages");
    fs::write(&status, "").expect("write an empty list of packages");
    fs::create_dir_all(place.join("partial")).expect("create a directory for apt-get");
    let lists = place.join("lists");
    let place = place.display();
    // Nothing below /var is written, and the packages installed on this system do not matter.
    let mut settings = vec![
        format!("Dir::State::status={}", status.display()),
        format!("Dir::Cache={place}"),
        format!("Dir::Cache::archives={place}"),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
        "Debug::NoLocking=1".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Retries=3".to_owned(),
    ];
    if arch != Arch::host() {
        // Lists of its own, so that the system need not have the architecture.
        assert_eq!(arch, Arch::Aarch64, "the only one that is emulated");
        fs::create_dir_all(lists.join("partial")).expect("create a directory for apt-get");
        settings.push(format!("Dir::State::lists={}", lists.display()));
        settings.extend(["APT::Architecture=arm64", "APT::Architectures=arm64"].map(String::from));
        let options = settings.iter().flat_map(|setting| ["-o", setting]);
        let all: Vec<&str> = options.chain(["update", "-q"]).collect();
        on_host("apt-get", &all).success();
    }
    let mut args = vec![
        "LC_ALL=C",
        "apt-get",
        "install",
        "--download-only",
        "--no-install-recommends",
        "-q",
        "-y",
    ];
    for setting in &settings {
        args.extend(["-o", setting]);
    }
    args.extend(packages);
    let output = on_host("env", &args).success();
    let listed = output.stdout.lines();
    let listed = listed.skip_while(|line| !line.contains("NEW packages will be installed"));
    let listed = listed.skip(1).take_while(|line| line.starts_with(' '));
    let names: Vec<String> = listed
        .flat_map(|line| line.split_whitespace().map(str::to_owned))
        .collect();
    assert!(!names.is_empty(), "apt-get lists no packages; {output}");
    names
}

/// The most recently published archive of the package called `name`.
fn newest(place: &Path, name: &str) -> PathBuf {
    let prefix = format!("{name}_");
    let is_of_package = |path: &PathBuf| {
        let file_name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        file_name.starts_with(&prefix) && file_name.ends_with(".deb")
    };
    let entries = fs::read_dir(place).expect("list the archives");
    let archives = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // apt-get gives an archive the time of its publication.
    let time = |path: &PathBuf| fs::metadata(path).map(|metadata| metadata.ctime()).ok();
    archives
        .filter(is_of_package)
        .max_by_key(time)
        .unwrap_or_else(|| panic!("apt-get did not fetch {name}"))
}
