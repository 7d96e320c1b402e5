//! `--root`: files of an image below a directory, wrapped from outside by a tool that executes nothing in it, and started inside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use e2e::check::sidecar_of;
use e2e::{Arch, Build, Kind, Libc, Output, Root, Variant, debian, matrix, says, source};
use e2e::{run, skipped, tool};
use nix::unistd::geteuid;

mod hostile;

matrix!(systems: minimal_image, edited_in_place, shared_loader, image_with_a_system);

const PROGRAM: &str = "/opt/app/program";

fn host() -> Variant {
    Variant::new(Arch::host(), Libc::Glibc, Kind::Pie)
}

/// Runs the tool outside of any root.
fn tool(args: &[&str]) -> Output {
    run::on_host(tool::path(), args)
}

/// A program in an image.
struct Image {
    root: Root,
    built: PathBuf,
    variant: Variant,
}

impl Image {
    /// A program in /opt/app, its library in `libs`, and the C library with its dynamic linker in `system`.
    fn new(variant: Variant, libs: &str, system: &str) -> Self {
        let root = Root::for_programs_of(&[(variant.arch, variant.libc)]);
        let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let build = Build::program(variant, source("sample.c")).link(&library);
        let built = build.build();
        root.install(&built, PROGRAM);
        root.install(&library, &format!("{libs}/libfoo.so"));
        let linker = Path::new(variant.arch.fhs_interpreter(variant.libc)).file_name();
        let linker = linker.expect("a name").to_string_lossy();
        let place = format!("{system}/{linker}");
        root.install(&variant.dynamic_linker(), &place);
        if variant.libc == Libc::Glibc {
            root.install(&variant.arch.glibc(), &format!("{system}/libc.so.6"));
        }
        Self {
            root,
            built,
            variant,
        }
    }

    /// Only the program, and what it needs in /opt/lib.
    fn minimal(variant: Variant) -> Self {
        Self::new(variant, "/opt/lib", "/opt/lib")
    }

    /// The root's directory on this machine.
    fn top(&self) -> String {
        let path = self.root.path("/").display().to_string();
        path.trim_end_matches('/').to_owned()
    }

    fn on_host(&self, inside: &str) -> String {
        format!("{}{inside}", self.top())
    }

    fn linker(&self) -> String {
        let linker = Path::new(self.variant.arch.fhs_interpreter(self.variant.libc)).file_name();
        format!("/opt/lib/{}", linker.expect("a name").to_string_lossy())
    }

    /// The tool with `--root`, after `args`.
    fn tool(&self, args: &[&str]) -> Output {
        tool(&[args, &["--root", &self.top()]].concat())
    }

    fn wrap(&self, more: &[&str]) -> Output {
        let (path, linker) = (self.on_host(PROGRAM), self.linker());
        let args = [&path, "--libs", "/opt/lib", "--interpreter", &linker];
        self.tool(&[&args[..], more].concat())
    }

    fn original(&self) -> Vec<u8> {
        fs::read(&self.built).expect("built before")
    }

    #[track_caller]
    fn starts(&self) {
        says(self.root.command(PROGRAM).output());
    }

    /// Asserts that neither the program nor its sidecar has a path of this machine.
    #[track_caller]
    fn names_nothing_outside(&self) {
        let top = self.top();
        for file in [PROGRAM.to_owned(), sidecar_of(PROGRAM)] {
            let bytes = self.root.read(&file);
            let mut parts = bytes.windows(top.len());
            assert!(!parts.any(|part| part == top.as_bytes()), "{file}");
        }
    }

    /// Restores the program from outside, bit for bit.
    #[track_caller]
    fn restore(&self) {
        self.tool(&["restore", &self.on_host("/opt")]).success();
        assert!(self.root.read(PROGRAM) == self.original());
        assert!(!self.root.path(&sidecar_of(PROGRAM)).exists());
    }
}

/// Everything from outside: check, wrap, status, show, restore. The image has no system directories.
fn minimal_image(variant: Variant) {
    let image = Image::minimal(variant);
    let path = image.on_host(PROGRAM);
    let time = || {
        fs::metadata(&path)
            .and_then(|file| file.modified())
            .expect("a time")
    };
    let before = time();
    let find = ["check", &path, "--find-in", "/opt"];
    let output = image.tool(&find).exits_with(1);
    let next = format!("--interpreter {} --root {}", image.linker(), image.top());
    assert!(output.stdout.contains(&next), "{output}");
    // The proposed command does it.
    image
        .tool(&[&find[..], &["--fix", "--yes"]].concat())
        .success();
    image.starts();
    image.names_nothing_outside();
    image.tool(&["check", &path]).success();
    let output = image.tool(&["status", &path]).success();
    for line in [
        "/opt/app/program: wrapped".to_owned(),
        format!("sidecar      {}", sidecar_of(PROGRAM)),
        format!("interpreter  {}", image.linker()),
    ] {
        assert!(output.stdout.contains(&line), "{output}");
    }
    let output = image.tool(&["show", PROGRAM]).success();
    assert!(output.stdout.contains(&sidecar_of(PROGRAM)), "{output}");
    assert!(
        output.stdout.contains("8192 bytes, ABI 2, intact"),
        "{output}"
    );
    // A second run changes nothing, and knows the path inside.
    let linker = image.linker();
    let again = image.tool(&[PROGRAM, "--libs", "/opt/lib", "--interpreter", &linker]);
    assert!(again.success().stdout.contains("already wrapped"));
    image.restore();
    assert_eq!(time(), before);
}

fn edited_in_place(variant: Variant) {
    let image = Image::minimal(variant);
    image.wrap(&["--strategy", "inplace"]).success();
    image.starts();
    image.names_nothing_outside();
    image.tool(&["check", &image.on_host("/opt")]).success();
    image.restore();
}

/// A loader for several programs, which has to be in the image.
fn shared_loader(variant: Variant) {
    let image = Image::minimal(variant);
    let directory = "/usr/lib/wrap-buddy";
    let shared = ["--loader-dir-path", directory];
    let output = image.wrap(&shared).success();
    assert!(output.stderr.contains("does not exist yet"), "{output}");
    tool(&["generate", "loaders", &image.on_host(directory)]).success();
    let output = image.wrap(&shared).success();
    assert!(!output.stderr.contains("does not exist yet"), "{output}");
    image.starts();
    image.names_nothing_outside();
    let output = image.tool(&["status", &image.on_host(PROGRAM)]).success();
    assert!(
        output
            .stdout
            .contains(&format!("loader       {directory}/")),
        "{output}"
    );
    image.tool(&["check", PROGRAM]).success();
    fs::remove_dir_all(image.root.path(directory)).expect("remove the loaders");
    let output = image.tool(&["check", PROGRAM]).exits_with(1);
    assert!(
        output.stdout.contains(&format!("its loader {directory}/")),
        "{output}"
    );
    image.restore();
}

/// The image has its own system directories: they count, and not those of this machine.
fn image_with_a_system(variant: Variant) {
    let system = variant.default_library_dir();
    let image = Image::new(variant, &system, &system);
    let linker = variant.dynamic_linker();
    image.root.install(&linker, &variant.fhs_interpreter());
    let path = image.on_host(PROGRAM);
    let output = image.tool(&[&path]).success();
    assert!(
        output.stdout.contains("skipped: starts as it is"),
        "{output}"
    );
    image.starts();
    // Its library is elsewhere, and this machine has none.
    let (from, to) = (format!("{system}/libfoo.so"), "/opt/lib/libfoo.so");
    image.root.mkdir("/opt/lib");
    fs::rename(image.root.path(&from), image.root.path(to)).expect("move the library");
    let output = image.tool(&[&path]).exits_with(1);
    assert!(output.stderr.contains("libfoo.so"), "{output}");
    let next = format!("--root {} --fix", image.top());
    assert!(output.stderr.contains(&next), "{output}");
    assert!(image.root.read(PROGRAM) == image.original());
    // Absolute links lead inside.
    fs::remove_dir_all(image.root.path("/srv")).unwrap_or_default();
    image.root.mkdir("/srv");
    symlink("/opt/lib", image.root.path("/srv/libs")).expect("a link");
    image.tool(&[&path, "--libs", "/srv/libs"]).success();
    image.starts();
    image.names_nothing_outside();
    image.restore();
}

/// Relative paths are those inside, and so is the tree that is moved.
#[test]
fn a_tree_that_can_be_moved() {
    let libs = "/opt/app/lib";
    let image = Image::new(host(), libs, libs);
    let linker = Path::new(&image.linker())
        .file_name()
        .expect("a name")
        .to_owned();
    let linker = format!("{libs}/{}", linker.to_string_lossy());
    let path = image.on_host(PROGRAM);
    let flags = ["--interpreter", &linker, "--relocatable"];
    let outside = ["--libs", libs, "--runtime-dependencies", "/usr/lib"];
    image.root.mkdir("/usr/lib");
    let output = image
        .tool(&[&[&*path][..], &flags, &outside].concat())
        .exits_with(1);
    assert!(output.stderr.contains("/usr/lib"), "{output}");
    image
        .tool(&[&[&*path][..], &flags, &["--libs", libs]].concat())
        .success();
    image.starts();
    image.root.mkdir("/srv");
    fs::rename(image.root.path("/opt/app"), image.root.path("/srv/moved")).expect("move");
    says(image.root.command("/srv/moved/program").output());
    image.tool(&["restore", "/srv/moved"]).success();
    assert!(image.root.read("/srv/moved/program") == image.original());
}

/// Each library by its path inside.
#[test]
fn frozen_libraries() {
    let image = Image::minimal(host());
    image.wrap(&["--search", "frozen"]).success();
    image.starts();
    image.names_nothing_outside();
    let output = image.tool(&["status", PROGRAM]).success();
    assert!(
        output.stdout.contains("added        /opt/lib/libfoo.so"),
        "{output}"
    );
    fs::remove_file(image.root.path("/opt/lib/libfoo.so")).expect("remove a library");
    let output = image.tool(&["status", PROGRAM]).exits_with(1);
    assert!(
        output.stdout.contains("/opt/lib/libfoo.so is gone"),
        "{output}"
    );
    image.restore();
}

/// A library that needs another one gets a search path, and is restored.
#[test]
fn library_edited_in_place() {
    let image = Image::minimal(host());
    let foo = Build::library(host(), source("lib/foo.c"), "libfoo.so").build();
    let built = Build::library(host(), source("lib/foo.c"), "libbar.so");
    let built = built.link(&foo).flag("-Wl,--no-as-needed").build();
    let bar = "/opt/app/libbar.so";
    image.root.install(&built, bar);
    let flags = ["--libs", "/opt/lib", "--interpreter", &image.linker()];
    let output = image.tool(&[&[bar][..], &flags].concat()).success();
    assert!(output.stdout.contains("libbar.so: edited"), "{output}");
    let output = image.tool(&["show", bar]).success();
    assert!(output.stdout.contains("$ORIGIN/../lib") || output.stdout.contains("/opt/lib"));
    assert!(
        !output.stdout.contains(&format!("{}/opt/lib", image.top())),
        "{output}"
    );
    image.restore();
    assert!(image.root.read(bar) == fs::read(&built).expect("built before"));
}

/// The command that makes a file readable is for this machine, and names the file in the image.
#[test]
fn a_library_that_others_cannot_read() {
    let image = Image::minimal(host());
    let library = image.root.path("/opt/lib/libfoo.so");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o700)).expect("chmod");
    let output = image.wrap(&[]).success();
    let command = format!("chmod o+r {}", library.display());
    assert!(output.stderr.contains(&command), "{output}");
    let output = image.tool(&["check", PROGRAM]).exits_with(1);
    assert!(output.stdout.contains(&command), "{output}");
}

/// The dynamic linker and the C library of this machine do not make a program of an image start.
#[test]
fn libraries_of_this_machine_do_not_count() {
    let image = Image::minimal(host());
    for name in ["libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"] {
        let _ = fs::remove_file(image.root.path("/opt/lib").join(name));
    }
    let path = image.on_host(PROGRAM);
    let output = image.tool(&[&path, "--libs", "/opt/lib"]).exits_with(1);
    assert!(output.stderr.contains("no dynamic linker"), "{output}");
    assert!(image.root.read(PROGRAM) == image.original());
}

/// ld.so.cache of the image, whose directories are not the default ones.
#[test]
fn the_cache_of_the_image_counts() {
    let Some(ldconfig) = e2e::toolchain::find_program("/sbin/ldconfig") else {
        return skipped("there is no ldconfig");
    };
    let variant = host();
    let system = variant.default_library_dir();
    let image = Image::new(variant, "/opt/vendor", &system);
    image
        .root
        .install(&variant.dynamic_linker(), &variant.fhs_interpreter());
    let path = image.on_host(PROGRAM);
    image.tool(&[&path]).exits_with(1);
    image.root.write("/etc/ld.so.conf", "/opt/vendor\n");
    image.root.install(&ldconfig, "/tool/ldconfig");
    image.root.command("/tool/ldconfig").output().success();
    let output = image.tool(&[&path]).success();
    assert!(
        output.stdout.contains("skipped: starts as it is"),
        "{output}"
    );
    image.starts();
}

/// A vendor's tree in a Debian system.
#[test]
fn debian_image() {
    const DASH: &str = "/bin/dash";
    let variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);
    let root = Root::for_programs_of(&[(Arch::X86_64, Libc::Glibc)]);
    debian::unpack(&["dash"], &root.path("/"));
    let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let built = Build::program(variant, source("sample.c"))
        .link(&library)
        .build();
    root.install(&built, "/opt/vendor/bin/program");
    root.install(&library, "/opt/vendor/lib/libfoo.so");
    let top = root.path("/").display().to_string();
    let whole = |command: &str| tool(&[command, &top, "--root", &top]);
    let system = root.read(DASH);
    let output = tool(&[&top, "--root", &top]).success();
    // Debian's own programs stay as they are.
    let unchanged = "files skipped (names with --verbose): starts as it is";
    assert!(output.stdout.contains(unchanged), "{output}");
    assert!(root.read(DASH) == system);
    let script = "/opt/vendor/bin/program && echo done";
    let output = root.command(DASH).args(["-c", script]).output().success();
    assert_eq!(output.stdout, "value 42\ndone\n");
    let output = whole("status").success();
    assert_eq!(output.stdout.matches(": wrapped").count(), 1, "{output}");
    whole("restore").success();
    assert!(root.read("/opt/vendor/bin/program") == fs::read(&built).expect("built before"));
}

#[test]
fn refused() {
    let variant = host();
    let image = Image::minimal(variant);
    let path = image.on_host(PROGRAM);
    let (top, linker) = (image.top(), image.linker());
    let refuses = |args: &[&str], status: i32, words: &str| {
        let output = tool(args).exits_with(status);
        assert!(output.stderr.contains(words), "{words}: {output}");
        assert!(image.root.read(PROGRAM) == image.original(), "{output}");
        assert!(!image.root.path(&sidecar_of(PROGRAM)).exists(), "{output}");
    };
    let none = format!("{top}/none");
    refuses(&[&path, "--root", &none], 2, "does not exist");
    refuses(&[&path, "--root", &path], 2, "not a directory");
    refuses(&["watch", &top, "--root", &top], 2, "unexpected argument");
    refuses(&["src", "--root", &top], 1, "is not below the root");
    let above = format!("{top}/opt/../../other");
    refuses(&[&above, "--root", &top], 1, "is not below the root");
    refuses(&["/opt/none", "--root", &top], 1, "does not exist");
    refuses(
        &[&path, "--root", &top, "--interpreter", "ld.so"],
        1,
        "is not below the root",
    );
    fs::remove_file(image.root.path("/opt/lib/libfoo.so")).expect("remove a library");
    refuses(
        &[&path, "--root", &top, "--interpreter", &linker],
        1,
        "libfoo.so",
    );
    let missing = ["--interpreter", &linker, "--libs", "/opt/none"];
    let missing = [&[&*path, "--root", &top][..], &missing].concat();
    refuses(&missing, 1, "no such directory in");
    let other = Variant::new(Arch::Aarch64, Libc::Glibc, Kind::Pie);
    image
        .root
        .install(&other.dynamic_linker(), "/opt/other/ld-linux-aarch64.so.1");
    let of_other = [
        "--interpreter",
        "/opt/other/ld-linux-aarch64.so.1",
        "--libs",
        "/opt/lib",
    ];
    refuses(
        &[&[&path, "--root", &top][..], &of_other].concat(),
        1,
        "pass a dynamic linker",
    );
    // Named, a static program needs nothing.
    let fixed = Variant::new(variant.arch, Libc::Glibc, Kind::Exec);
    let fixed = Build::program(fixed, source("hello.c"))
        .flag("-static")
        .build();
    image.root.install(&fixed, "/opt/app/static");
    let output = image.tool(&["/opt/app/static"]).success();
    assert!(output.stdout.contains("static"), "{output}");
    if geteuid().is_root() {
        let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        image.root.install(&library, "/opt/lib/libfoo.so");
        let set_id = fs::Permissions::from_mode(0o4755);
        fs::set_permissions(image.root.path(PROGRAM), set_id).expect("chmod");
        let flags = [
            "--libs",
            "/opt/lib",
            "--interpreter",
            &linker,
            "--root",
            &top,
        ];
        refuses(
            &[&[&*path][..], &flags].concat(),
            1,
            "wrap-buddy generate loaders",
        );
    }
}
