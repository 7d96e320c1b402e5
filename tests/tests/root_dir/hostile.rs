//! An image in `image`, with a victim outside of it, and hostile links and files in the image.

use super::*;

/// The image and the files next to it, in one root.
struct Stranger {
    image: Image,
    outside: tempfile::TempDir,
}

impl Stranger {
    /// A directory outside has a program that could be wrapped, a sidecar and a library.
    fn new() -> Self {
        let image = Image::minimal(host());
        let outside = tempfile::tempdir().expect("a directory");
        let at = |name: &str| outside.path().join(name);
        fs::copy(&image.built, at("program")).expect("copy");
        fs::copy(image.root.path("/opt/lib/libfoo.so"), at("libfoo.so")).expect("copy");
        fs::write(at("secret"), "a secret").expect("write");
        Self { image, outside }
    }

    fn target(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    /// `target` as a relative path that leads out of any directory of the image.
    fn upward(&self, name: &str) -> PathBuf {
        let up = "../".repeat(30);
        let target = self.target(name);
        Path::new(&up).join(target.strip_prefix("/").expect("absolute"))
    }

    fn link(&self, to: &Path, inside: &str) {
        let at = self.image.root.path(inside);
        let _ = fs::remove_file(&at);
        symlink(to, at).expect("a link");
    }

    /// Asserts that `work` leaves everything outside as it is.
    #[track_caller]
    fn spares<T>(&self, work: impl FnOnce() -> T) -> T {
        let content = || {
            let entries = fs::read_dir(self.outside.path()).expect("a directory");
            let files = entries.map(|entry| entry.expect("an entry").path());
            let read = |path: PathBuf| {
                let bytes = fs::read(&path).expect("a file");
                let time = fs::metadata(&path).and_then(|file| file.modified());
                (path, bytes, time.expect("a time"))
            };
            let mut all: Vec<_> = files.map(read).collect();
            all.sort();
            all
        };
        let before = content();
        let result = work();
        assert!(
            content() == before,
            "{:?}",
            fs::read_dir(self.outside.path())
        );
        result
    }
}

/// The tool works on no file that a link of the image leads to outside, however it is named.
#[test]
fn links_that_lead_out_are_not_followed() {
    let stranger = Stranger::new();
    let image = &stranger.image;
    let linker = image.linker();
    let flags = [
        "--libs",
        "/opt/lib",
        "--interpreter",
        &linker,
        "--trust-tree",
    ];
    for directory in [stranger.target(""), stranger.upward("")] {
        stranger.link(&directory, "/opt/out");
        stranger.link(&directory.join("program"), "/opt/app/link");
        for path in ["/opt/out", "/opt/out/program", "/opt/app/link"] {
            for named in [path.to_owned(), image.on_host(path)] {
                for command in [
                    &["wrap"][..],
                    &["restore"],
                    &["status"],
                    &["show"],
                    &["check"],
                ] {
                    let more: &[&str] = if command == ["wrap"] { &flags } else { &[] };
                    let args = [command, &[&named], more].concat();
                    let output = stranger.spares(|| image.tool(&args));
                    let text = format!("{}{}", output.stdout, output.stderr);
                    assert!(text.contains("does not exist"), "{args:?} {output}");
                }
            }
        }
    }
}

/// Libraries, a dynamic linker and settings outside are not used.
#[test]
fn files_outside_are_not_used() {
    let stranger = Stranger::new();
    let image = &stranger.image;
    let linker = image.linker();
    fs::remove_file(image.root.path("/opt/lib/libfoo.so")).expect("remove a library");
    image
        .root
        .write("/wrap-buddy.toml", "libs = [\"/opt/lib\"]\n");
    fs::write(
        stranger.target("ld.so.conf"),
        stranger.target("").display().to_string(),
    )
    .expect("write");
    image.root.mkdir("/etc");
    for directory in [stranger.target(""), stranger.upward("")] {
        stranger.link(&directory, "/opt/out");
        stranger.link(&directory.join("ld.so.conf"), "/etc/ld.so.conf");
        stranger.link(&directory.join("libfoo.so"), "/opt/lib/libfoo.so");
        let path = image.on_host(PROGRAM);
        let libs = ["--libs", "/opt/lib", "/opt/out"];
        let args = [&[&*path][..], &libs, &["--interpreter", &linker]].concat();
        let output = stranger.spares(|| image.tool(&args)).exits_with(1);
        assert!(output.stderr.contains("libfoo.so"), "{output}");
        let args = [&["check", &path][..], &libs].concat();
        let output = image.tool(&args).exits_with(1);
        assert!(!output.stdout.contains("libfoo.so, found"), "{output}");
    }
}

/// Sidecars, dynamic linkers and caches that are links, FIFOs or directories.
#[test]
fn other_files_are_errors_and_nothing_waits() {
    let stranger = Stranger::new();
    let image = &stranger.image;
    let sidecar = image.root.path(&sidecar_of(PROGRAM));
    let fifo = |path: &Path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    };
    fifo(&sidecar);
    stranger.spares(|| image.wrap(&[])).exits_with(1);
    fs::remove_file(&sidecar).expect("remove a FIFO");
    for target in [stranger.target("secret"), stranger.upward("new")] {
        symlink(&target, &sidecar).expect("a link");
        let output = stranger
            .spares(|| image.wrap(&["--trust-tree"]))
            .exits_with(1);
        assert!(output.stderr.contains("symbolic link"), "{output}");
        assert!(image.root.read(PROGRAM) == image.original());
        fs::remove_file(&sidecar).expect("remove a link");
    }
    image.root.mkdir("/etc");
    for name in ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.preload"] {
        fifo(&image.root.path(name));
    }
    image.wrap(&[]).success();
    // The real ld.so does wait.
    fs::remove_dir_all(image.root.path("/etc")).expect("remove the FIFOs");
    image.starts();
    // The path in the stub leads to a sidecar outside, with other bytes to restore.
    let wrapped = image.root.read(PROGRAM);
    let own = sidecar_of(PROGRAM);
    fs::copy(&sidecar, stranger.target(".program.wrapbuddy")).expect("copy");
    fs::rename(image.root.path("/opt/app"), image.root.path("/opt/moved")).expect("move");
    let moved = image
        .root
        .path("/opt/moved")
        .join(Path::new(&own).file_name().expect("a name"));
    fs::remove_file(&moved).expect("remove a sidecar");
    stranger.link(&stranger.target(""), "/opt/app");
    let args = ["restore", "/opt/moved/program"];
    let output = stranger.spares(|| image.tool(&args)).exits_with(1);
    assert!(image.root.read("/opt/moved/program") == wrapped, "{output}");
    let linker = image.root.path(&image.linker());
    fs::remove_file(&linker).expect("remove the linker");
    fifo(&linker);
    image.tool(&["check", "/opt/moved/program"]).exits_with(1);
}
