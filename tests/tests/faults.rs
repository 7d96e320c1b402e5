//! The tool stopped at every one of its system calls, and refused each by the kernel: no file is left that works neither as
//! before nor as planned, and the next run finishes what was begun.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use e2e::{Arch, Build, Kind, Libc, Variant, matrix, run, source, tool};
use tempfile::TempDir;

/// A program that needs `libbar.so`, which is beside it and needs `libfoo.so`, which is not.
struct Tree {
    arch: Arch,
    dir: TempDir,
}

/// What the tool is to do, and what it finds.
struct Scenario {
    /// Runs before, to their ends.
    before: &'static [&'static [&'static str]],
    /// The run that is stopped, and then made again.
    run: &'static [&'static str],
    /// Whether everything is the original in the end.
    restores: bool,
}

const WRAP: &[&str] = &["--paths", "app", "--libs", "lib"];
const SELF_CONTAINED: &[&str] = &["--self-contained", "--paths", "app", "--libs", "lib"];
const IN_PLACE: &[&str] = &["--strategy", "inplace", "--paths", "app", "--libs", "lib"];
const RESTORE: &[&str] = &["restore", "app"];

/// System calls by which the tool gets from one state of its files to the next; of openat, most only read.
const CHANGING: &[&str] = &[
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "linkat",
    "renameat",
    "unlinkat",
    "utimensat",
];

/// Names of files below the tree, with content, mode and, of sidecars and originals, time.
type Snapshot = BTreeMap<PathBuf, (Vec<u8>, u32)>;

impl Tree {
    fn new(variant: Variant) -> Tree {
        Self::with_library(variant, &[])
    }

    /// With more `flags` for the linker of `libbar.so`.
    fn with_library(variant: Variant, flags: &[&str]) -> Tree {
        let arch = variant.arch;
        // The machine's own, or what the cross compiler comes with.
        let linker = arch.find_library(arch.ld_so()).expect("a dynamic linker");
        let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let outer = Build::library(variant, source("lib/bar.c"), "libbar.so");
        let outer = flags.iter().fold(outer, |outer, flag| outer.flag(*flag));
        let outer = outer.link(&inner).build();
        let program = Build::program(variant, source("indirect.c"))
            .flag("-Wl,-rpath,$ORIGIN,--allow-shlib-undefined")
            .flag(format!("-Wl,--dynamic-linker={}", linker.display()))
            .link(&outer)
            .build();
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (file, name) in [
            (&inner, "lib/libfoo.so"),
            (&outer, "app/libbar.so"),
            (&program, "app/program"),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::copy(file, &path).expect("copy");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            let file = fs::File::open(&path).expect("just copied");
            let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 1);
            file.set_modified(long_ago).expect("utimensat");
        }
        Tree { arch, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The tool's command line: paths are absolute, loaders go into the tree, one thread does it all.
    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let known = ["app", "lib", "loaders"];
        let absolute = arguments.iter().map(|one| match known.contains(one) {
            true => self.path(one).display().to_string(),
            false => (*one).to_string(),
        });
        let mut all = vec![tool::path().display().to_string()];
        all.extend(absolute);
        all.extend(["-j", "1"].map(String::from));
        if arguments[0].starts_with("--") {
            let linker = self.arch.find_library(self.arch.ld_so());
            let system = linker.into_iter().flat_map(|linker| {
                let linker = linker.display().to_string();
                ["--interpreter".to_string(), linker]
            });
            all.extend(system);
            all.push("--libs".to_string());
            all.extend(self.system_directories());
            let loaders = self.path("loaders").display().to_string();
            all.extend(["--loader-dir-path".to_string(), loaders]);
        }
        all
    }

    fn run(&self, arguments: &[&str]) -> run::Output {
        let command = self.command(arguments);
        let rest: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        run::on_host(&command[0], &rest)
    }

    /// The tool with something injected into one of its system calls.
    fn run_with(&self, injected: &str, arguments: &[&str]) -> run::Output {
        let command = self.command(arguments);
        let mut all = vec!["-o", "/dev/null", "-e", injected];
        all.extend(command.iter().map(String::as_str));
        run::on_host("strace", &all)
    }

    /// The system calls that the tool makes, as strace writes them.
    fn strace(&self, options: &[&str], arguments: &[&str]) -> String {
        let log = self.path("trace");
        let log = log.to_str().expect("UTF-8");
        let command = self.command(arguments);
        let mut all = [&["-o", log], options].concat();
        all.extend(command.iter().map(String::as_str));
        run::on_host("strace", &all).success();
        let text = fs::read_to_string(log).expect("a trace");
        fs::remove_file(log).expect("it was there");
        text
    }

    /// The names of the system calls that the tool makes, in order.
    fn trace(&self, arguments: &[&str]) -> Vec<String> {
        let text = self.strace(&[], arguments);
        let calls = text.lines().filter_map(|line| {
            let (call, _) = line.split_once('(')?;
            let is_call =
                !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            // The kernel does not return from it, and strace was not there before exec.
            let is_usual = !["execve", "exit_group", "exit"].contains(&call);
            (is_call && is_usual).then(|| call.to_string())
        });
        calls.collect()
    }

    /// How often the tool makes each system call.
    fn count(&self, arguments: &[&str]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.trace(arguments) {
            *counts.entry(call).or_default() += 1;
        }
        counts
    }

    /// What the tool writes to files that are there and waits for, in order, the same calls in a row as one.
    fn steps(&self, arguments: &[&str]) -> Vec<String> {
        let mut steps = self.trace(arguments);
        let told = ["pwrite64", "fsync", "fdatasync", "renameat", "unlinkat"];
        steps.retain(|call| told.contains(&call.as_str()));
        steps.dedup();
        steps
    }

    /// Where the C library is.
    fn system_directories(&self) -> Vec<String> {
        let directories = self.arch.library_dirs().into_iter();
        directories.map(|one| one.display().to_string()).collect()
    }

    /// Starts the program, which finds libraries in `directories` as well.
    fn start(&self, directories: &[String]) -> run::Output {
        let search = format!("LD_LIBRARY_PATH={}", directories.join(":"));
        let program = self.path("app/program").display().to_string();
        let emulator = (!self.arch.is_native()).then(|| self.arch.qemu_path());
        let emulator = emulator.map(|path| path.display().to_string());
        let all: Vec<&str> = [search.as_str()]
            .into_iter()
            .chain(emulator.as_deref())
            .chain([program.as_str()])
            .collect();
        run::on_host("env", &all)
    }

    /// Works, wherever its library comes from.
    fn works(&self, what: &str) {
        let library = self.path("lib").display().to_string();
        let output = self.start(&[vec![library], self.system_directories()].concat());
        assert_eq!(output.stdout, "42\n", "{what}; {output}");
    }

    /// Finds its library by itself, or does not.
    fn finds(&self, found: bool, what: &str) {
        let output = self.start(&self.system_directories());
        assert_eq!(output.stdout == "42\n", found, "{what}; {output}");
    }

    /// Of so many other system calls of the same name one is tried, the first of them: an emulated program takes its time, and
    /// the tool does the same for it.
    fn one_in(&self) -> usize {
        if self.arch == Arch::host() { 1 } else { 5 }
    }

    /// Whether the `n`th call of the name `call` is tried.
    fn is_tried(&self, call: &str, n: usize) -> bool {
        CHANGING.contains(&call) || (n - 1).is_multiple_of(self.one_in())
    }

    fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        for name in ["app", "lib"] {
            for entry in fs::read_dir(self.path(name)).expect("a directory") {
                let path = entry.expect("an entry").path();
                let content = fs::read(&path).expect("a file");
                let mode = fs::metadata(&path).expect("a file").permissions().mode();
                let inside = path.strip_prefix(self.dir.path()).expect("below it");
                found.insert(inside.to_owned(), (content, mode));
            }
        }
        found
    }

    /// Makes everything what it was in `snapshot`.
    fn reset(&self, snapshot: &Snapshot, times: &BTreeMap<PathBuf, SystemTime>) {
        for name in ["app", "loaders"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        fs::create_dir(self.path("app")).expect("mkdir");
        self.install_loader();
        for (name, (content, mode)) in snapshot {
            let path = self.dir.path().join(name);
            fs::write(&path, content).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("chmod");
            let file = fs::File::open(&path).expect("just written");
            file.set_modified(times[name]).expect("utimensat");
        }
    }

    fn install_loader(&self) {
        let stage = stages::for_machine(self.arch.machine()).expect("a stage");
        fs::create_dir_all(self.path("loaders")).expect("mkdir");
        let loader = self.path("loaders").join(self.arch.loader_file());
        fs::write(loader, stage.loader).expect("write");
    }

    fn times(&self) -> BTreeMap<PathBuf, SystemTime> {
        let names = self.snapshot().into_keys();
        let time = |name: &Path| {
            let metadata = fs::metadata(self.dir.path().join(name)).expect("a file");
            metadata.modified().expect("a time")
        };
        names.map(|name| (name.clone(), time(&name))).collect()
    }
}

impl Scenario {
    /// The tree as the run finds it, and as it leaves it.
    fn prepare(
        &self,
        variant: Variant,
    ) -> (Tree, Snapshot, BTreeMap<PathBuf, SystemTime>, Snapshot) {
        let tree = Tree::new(variant);
        tree.install_loader();
        tree.finds(false, "before any run");
        for arguments in self.before {
            tree.run(arguments).success();
        }
        tree.works("before the run");
        let (before, times) = (tree.snapshot(), tree.times());
        tree.run(self.run).success();
        tree.works("after the run");
        tree.finds(!self.restores, "after the run");
        let after = tree.snapshot();
        assert!(before != after, "a run that changes nothing");
        tree.reset(&before, &times);
        (tree, before, times, after)
    }

    fn stopped_anywhere(&self, variant: Variant) {
        let (tree, before, times, after) = self.prepare(variant);
        let counts = tree.count(self.run);
        tree.reset(&before, &times);
        let (mut stopped, mut half_done) = (0, 0);
        let all = counts
            .iter()
            .flat_map(|(call, count)| (1..=*count).map(move |n| (call, n)));
        for (call, n) in all.filter(|(call, n)| tree.is_tried(call, *n)) {
            let injected = format!("inject={call}:signal=KILL:when={n}");
            let output = tree.run_with(&injected, self.run);
            // What differs from run to run, such as reading the environment, may be less often this time.
            if output.status == Some(0) {
                tree.reset(&before, &times);
                continue;
            }
            stopped += 1;
            let now = tree.snapshot();
            if now == before {
                continue;
            }
            half_done += usize::from(now != after);
            tree.works(&injected);
            tree.run(self.run).success();
            tree.works(&injected);
            tree.finds(!self.restores, &injected);
            let differing = differing(&tree.snapshot(), &after);
            assert!(differing.is_empty(), "{injected}: {differing:?}");
            tree.reset(&before, &times);
        }
        assert!(
            stopped > 50 / tree.one_in() && half_done > 0,
            "{stopped} {half_done}: {counts:?}"
        );
    }

    fn refused_anything(&self, variant: Variant) {
        let (tree, before, times, _) = self.prepare(variant);
        let counts = tree.count(self.run);
        tree.reset(&before, &times);
        let mut refused = 0;
        for (call, errors) in [
            ("pwrite64", ["ENOSPC", "EIO", "EDQUOT"]),
            ("write", ["ENOSPC", "EIO", "EDQUOT"]),
            ("fsync", ["ENOSPC", "EIO", "EDQUOT"]),
            ("fdatasync", ["ENOSPC", "EIO", "EDQUOT"]),
            ("openat", ["EROFS", "EIO", "EMFILE"]),
            ("openat2", ["EPERM", "EIO", "EMFILE"]),
            ("linkat", ["ENOSPC", "EROFS", "EDQUOT"]),
            ("renameat", ["ENOSPC", "EROFS", "EDQUOT"]),
        ] {
            let count = counts.get(call).copied().unwrap_or(0);
            for (error, n) in errors
                .iter()
                .flat_map(|error| (1..=count).map(move |n| (error, n)))
                .step_by(tree.one_in())
            {
                let injected = format!("inject={call}:error={error}:when={n}");
                let output = tree.run_with(&injected, self.run);
                if output.status == Some(0) {
                    // The call was for something that can be done without.
                    tree.works(&injected);
                    tree.reset(&before, &times);
                    continue;
                }
                refused += 1;
                assert_eq!(output.signal, None, "{injected}; {output}");
                tree.works(&injected);
                // One file may be done before another fails: that one is as it was.
                if !output.stderr.is_empty() {
                    let failed: Vec<&str> = ["program", "libbar.so"]
                        .into_iter()
                        .filter(|name| output.stderr.contains(&format!("/{name}: ")))
                        .collect();
                    let now = tree.snapshot();
                    for name in failed {
                        let path = Path::new("app").join(name);
                        assert!(
                            now[&path] == before[&path],
                            "{injected} left {name} changed; {output}"
                        );
                    }
                }
                tree.reset(&before, &times);
            }
        }
        assert!(refused > 5 / tree.one_in(), "{refused}: {counts:?}");
    }
}

/// Names of files that are not the same.
fn differing(one: &Snapshot, other: &Snapshot) -> Vec<PathBuf> {
    let names = one.keys().chain(other.keys());
    let mut differing: Vec<PathBuf> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .cloned()
        .collect();
    differing.dedup();
    differing
}

macro_rules! scenarios {
    ($($name:ident: $scenario:expr;)+) => {
        $(
            mod $name {
                use super::*;

                matrix!([x86_64_glibc_pie i686_glibc_pie aarch64_glibc_pie]: (stopped_anywhere, refused_anything));

                fn stopped_anywhere(variant: Variant) {
                    $scenario.stopped_anywhere(variant);
                }

                fn refused_anything(variant: Variant) {
                    $scenario.refused_anything(variant);
                }
            }
        )+
    };
}

scenarios! {
    wrap: Scenario { before: &[], run: WRAP, restores: false };
    wrap_with_another_search_path: Scenario {
        before: &[WRAP],
        run: &["--paths", "app", "--libs", "lib", "--runtime-dependencies", "/nowhere"],
        restores: false,
    };
    wrap_with_another_stub: Scenario {
        before: &[WRAP],
        run: &["--relocatable", "--allow-outside", "--paths", "app", "--libs", "lib"],
        restores: false,
    };
    wrap_with_the_loader_in_the_sidecar: Scenario { before: &[WRAP], run: SELF_CONTAINED, restores: false };
    wrap_with_a_loader_file_again: Scenario { before: &[SELF_CONTAINED], run: WRAP, restores: false };
    edit_in_place: Scenario { before: &[], run: IN_PLACE, restores: false };
    edit_in_place_with_another_search_path: Scenario {
        before: &[IN_PLACE],
        run: &[
            "--strategy", "inplace", "--paths", "app", "--libs", "lib", "--runtime-dependencies", "/nowhere",
        ],
        restores: false,
    };
    restore: Scenario { before: &[WRAP], run: RESTORE, restores: true };
    restore_in_place: Scenario { before: &[IN_PLACE], run: RESTORE, restores: true };
}

/// Runs the tool in a mount namespace of its own, after the shell command `mount`, whose `$app` is the program's directory; says
/// what the tool says, and whether each file in that directory is what it was, and alone.
fn on_file_system(tree: &Tree, mount: &str, arguments: &[&str]) -> (run::Output, bool) {
    let script = format!(
        r#"app=$1; shift
        cp -a "$app" "$app.before" && {mount} || exit
        "$@"; status=$?
        rm -f "$app/filler" 2>/dev/null
        diff -r "$app" "$app.before" || echo CHANGED
        exit $status"#
    );
    let app = tree.path("app").display().to_string();
    let mut all: Vec<String> = ["--user", "--map-root-user", "--mount", "sh", "-c"]
        .map(String::from)
        .to_vec();
    all.extend([script, "sh".to_string(), app]);
    all.extend(tree.command(arguments));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let output = run::on_host("unshare", &all);
    fs::remove_dir_all(tree.path("app.before")).expect("the script made it");
    let unchanged = !output.stdout.contains("CHANGED");
    (output, unchanged)
}

matrix!([x86_64_glibc_pie i686_glibc_pie aarch64_glibc_pie]: (each_step_is_on_disk_before_the_next, a_change_is_on_disk_before_links_are_removed, each_program_is_opened_once_to_read, read_only_file_system, full_file_system));

/// The last step of wrapping is not waited for; all of taking back is, as the sidecar goes then.
fn each_step_is_on_disk_before_the_next(variant: Variant) {
    for wrap in [WRAP, IN_PLACE] {
        let tree = Tree::new(variant);
        tree.install_loader();
        let sidecars_first = ["fsync", "pwrite64", "fdatasync", "pwrite64"];
        assert_eq!(tree.steps(wrap), sidecars_first, "{wrap:?}");
        let taken_back = ["pwrite64", "fdatasync", "pwrite64", "fdatasync", "unlinkat"];
        assert_eq!(tree.steps(RESTORE), taken_back, "{wrap:?}");
    }
}

/// A library with room for short paths only has links beside it for a long one, and finds by them what it needs until it is
/// on disk that it does not.
fn a_change_is_on_disk_before_links_are_removed(variant: Variant) {
    // Its constants do not end with a page of their own.
    let tree = Tree::with_library(variant, &["-Wl,-z,noseparate-code"]);
    let library = tree.path("app/libbar.so");
    // Nearly as long as the kernel takes.
    let far = tree.path(&vec!["d".repeat(250); 15].join("/"));
    fs::create_dir_all(far.parent().expect("a directory")).expect("mkdir");
    symlink(tree.path("lib"), &far).expect("a symlink");
    let [library, far] = [&library, &far].map(|path| path.to_str().expect("UTF-8"));
    let wrap = |libs| ["--paths", library, "--libs", libs];
    tree.run(&wrap(far)).success();
    let links = tree.path("app/.libbar.so.wrapbuddy.d");
    assert!(links.is_dir(), "{far} fits into {library}");
    let steps = tree.steps(&wrap("lib"));
    assert!(
        steps.ends_with(&["pwrite64", "fdatasync", "unlinkat"].map(String::from)),
        "{steps:?}"
    );
    assert!(!links.exists());
    tree.works("without links");
}

/// And once more to be written to, unless nothing in it changes.
fn each_program_is_opened_once_to_read(variant: Variant) {
    let tree = Tree::new(variant);
    tree.install_loader();
    let program = format!("\"{}\"", tree.path("app/program").display());
    // Relative to its directory.
    let is_program = |line: &str| line.contains(&program) || line.contains(", \"program\"");
    for (arguments, written) in [(WRAP, 1), (WRAP, 0), (RESTORE, 1)] {
        let text = tree.strace(&["-f", "-e", "openat,openat2"], arguments);
        let opened = text.lines().filter(|line| is_program(line));
        let (to_write, to_read): (Vec<&str>, Vec<&str>) =
            opened.partition(|line| line.contains("O_RDWR"));
        assert_eq!(
            (to_read.len(), to_write.len()),
            (1, written),
            "{arguments:?}\n{text}"
        );
    }
}

/// Only the kernel of the machine's own architecture keeps a program that runs from being written to.
#[test]
fn a_copy_is_on_disk_before_it_takes_the_place_of_the_file() {
    let tree = Tree::new(Variant::new(Arch::host(), Libc::Glibc, Kind::Pie));
    tree.install_loader();
    let program = tree.path("app/program");
    fs::copy("/bin/sleep", &program).expect("copy");
    let mut running = Command::new(&program).arg("600").spawn().expect("it runs");
    let steps = tree.steps(&[&["--replace"], WRAP].concat());
    running.kill().expect("it runs");
    running.wait().expect("it ran");
    assert!(
        steps.ends_with(&["pwrite64", "fdatasync", "renameat"].map(String::from)),
        "{steps:?}"
    );
}

fn read_only_file_system(variant: Variant) {
    let tree = Tree::new(variant);
    for (before, arguments) in [(None, WRAP), (None, IN_PLACE), (Some(WRAP), RESTORE)] {
        if let Some(before) = before {
            tree.run(before).success();
        }
        let mount = r#"mount --bind "$app" "$app" && mount -o remount,bind,ro "$app""#;
        let (output, unchanged) = on_file_system(&tree, mount, arguments);
        assert_eq!(output.status, Some(1), "{arguments:?}; {output}");
        assert!(unchanged, "{arguments:?}; {output}");
        assert!(
            output.stderr.contains("read-only"),
            "{arguments:?}; {output}"
        );
    }
}

fn full_file_system(variant: Variant) {
    let tree = Tree::new(variant);
    for arguments in [WRAP, IN_PLACE] {
        let mount = r#"mount -t tmpfs -o size=1m none "$app" && cp -a "$app.before/." "$app" &&
            ! dd if=/dev/zero of="$app/filler" bs=4096 2>/dev/null"#;
        let (output, unchanged) = on_file_system(&tree, mount, arguments);
        assert_eq!(output.status, Some(1), "{arguments:?}; {output}");
        assert!(unchanged, "{arguments:?}; {output}");
        assert!(
            output.stderr.contains("no space left"),
            "{arguments:?}; {output}"
        );
    }
}
