use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn tree() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(directory.path()).unwrap();
    fs::create_dir(path.join("real")).unwrap();
    fs::write(path.join("real/file"), "content").unwrap();
    symlink("real", path.join("link")).unwrap();
    symlink("file", path.join("real/link")).unwrap();
    (directory, path)
}

#[test]
fn no_part_of_a_path_is_a_link() {
    let (_directory, path) = tree();
    type Way = fn(&Path, OFlag) -> io::Result<OwnedFd>;
    for way in [open_without_links as Way, step_by_step] {
        let file = |name: &str| way(&path.join(name), OFlag::O_RDONLY | FILE);
        assert!(file("real/file").is_ok());
        assert!(file("link/file").is_err());
        assert!(file("real/link").is_err());
        let directory = |name: &str| way(&path.join(name), DIRECTORY);
        assert!(directory("real").is_ok());
        assert!(directory("").is_ok());
        assert!(directory("link").is_err());
        assert!(directory("real/file").is_err());
    }
    let top = Directory::open(&path).unwrap();
    assert!(top.subdirectory(OsStr::new("real")).is_ok());
    assert!(top.subdirectory(OsStr::new("link")).is_err());
    let real = Directory::open(&path.join("real")).unwrap();
    let open = |name: &str| real.file(OsStr::new(name), OFlag::O_RDWR);
    assert!(open("file").is_ok());
    for name in ["link", "../real/file", "..", ".", ""] {
        assert!(open(name).is_err(), "{name}");
    }
    assert!(real.own_file(OsStr::new("file")).is_ok());
    assert!(real.own_file(OsStr::new("link")).is_err());
}

#[test]
fn only_what_is_meant_is_removed() {
    let (_directory, path) = tree();
    let top = Directory::open(&path).unwrap();
    assert!(top.remove_file(OsStr::new("link")).is_err());
    assert!(top.remove_file(OsStr::new("real")).is_err());
    assert!(top.remove_directory(OsStr::new("link")).is_err());
    assert!(top.remove_directory(OsStr::new("real")).is_err());
    assert!(!top.remove_file(OsStr::new("none")).unwrap());
    assert!(!top.remove_directory(OsStr::new("none")).unwrap());
    let real = top.subdirectory(OsStr::new("real")).unwrap();
    assert!(real.remove_file(OsStr::new("file")).unwrap());
    assert!(path.join("real/link").is_symlink());
}

#[test]
fn a_temporary_file_has_its_name_at_once_or_none() {
    let (_directory, path) = tree();
    let real = Directory::open(&path.join("real")).unwrap();
    let count = || fs::read_dir(path.join("real")).unwrap().count();
    let fresh = || OsString::from("fresh");
    drop(real.temporary(fresh()).unwrap());
    assert_eq!(count(), 2);
    let temporary = |is_named: bool| {
        // Left by a run that was stopped.
        fs::write(path.join("real/fresh"), "left").unwrap();
        let mut temporary = real.temporary(fresh()).unwrap();
        if is_named {
            real.unlink(&fresh()).unwrap();
            temporary.file = real.create(&fresh(), 0o600).unwrap();
            temporary.is_named = true;
        }
        temporary
    };
    drop(temporary(true));
    assert_eq!(count(), 2);
    for is_named in [false, true] {
        temporary(is_named).replace(OsStr::new("file")).unwrap();
        assert_eq!(fs::read(path.join("real/file")).unwrap(), b"");
        assert_eq!(count(), 2);
        fs::write(path.join("real/file"), "content").unwrap();
    }
    real.replace_by_symlink(OsStr::new("file"), Path::new("x"))
        .unwrap();
    assert_eq!(
        fs::read_link(path.join("real/file")).unwrap(),
        Path::new("x")
    );
    assert_eq!(count(), 2);
}
