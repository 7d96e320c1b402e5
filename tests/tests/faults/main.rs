//! Stops the tool at each system call that can change a file, and makes the kernel refuse calls. Every file then works as before or as
//! planned, and the next run finishes the work.

mod transitions;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use e2e::offsets::Offsets;
use e2e::{Arch, Kind, Libc, Output, Variant, matrix, run, toolchain};
use object::elf;

use tree::{Call, IN_PLACE, RESTORE, SELF_CONTAINED, Snapshot, Tree, WRAP};

/// A run of the tool, and the state before.
struct Scenario {
    /// Runs that are completed before.
    before: &'static [&'static [&'static str]],
    /// The run that is stopped, and then repeated.
    run: &'static [&'static str],
    /// Whether the run restores all files.
    restores: bool,
    room: Room,
}

/// The bytes of the library that its search path replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Padding,
    /// Its own search path.
    OwnPath,
    /// Its program header PT_PHDR.
    Header,
}

impl Scenario {
    /// The tree before and after the run.
    fn prepare(
        &self,
        variant: Variant,
    ) -> (Tree, Snapshot, BTreeMap<PathBuf, SystemTime>, Snapshot) {
        let tree = match self.room {
            Room::Padding => Tree::new(variant),
            Room::OwnPath => crammed(variant),
            Room::Header => with_unused_header(variant),
        };
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
        let library = Path::new("app/libbar.so");
        let (original, edited) = match self.restores {
            true => (&after[library].0, &before[library].0),
            false => (&before[library].0, &after[library].0),
        };
        let loses = |has: fn(&[u8]) -> bool| has(original) && !has(edited);
        assert_eq!(loses(has_gone), self.room == Room::OwnPath);
        assert_eq!(loses(has_phdr), self.room == Room::Header);
        tree.reset(&before, &times);
        (tree, before, times, after)
    }

    fn stopped_anywhere(&self, variant: Variant) {
        let (tree, before, times, after) = self.prepare(variant);
        let stops = tree.stops(self.run);
        tree.reset(&before, &times);
        let (mut stopped, mut half_done) = (0, 0);
        for (call, n) in &stops {
            let fault = format!("signal=KILL:when={n}");
            let what = format!("{call}:{fault}");
            let output = tree.run_with(call, &fault, self.run);
            // Some calls, such as those for the environment, may occur less often in this run.
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
            if tree.is_new(&now) {
                tree.works(&what);
                tree.run(self.run).success();
                // It starts, and finds its library, because it does so after the run without a stop.
                let differing = differing(&tree.snapshot(), &after);
                assert!(differing.is_empty(), "{what}: {differing:?}");
            }
            tree.reset(&before, &times);
        }
        assert!(
            stopped >= 10 && half_done > 0,
            "{stopped} {half_done}: {stops:?}"
        );
    }

    fn refused_anything(&self, variant: Variant) {
        let (tree, before, times, after) = self.prepare(variant);
        for known in [&before, &after] {
            tree.is_new(known);
        }
        let faults = faults(&tree.calls(self.run));
        tree.reset(&before, &times);
        let mut refused = 0;
        for (call, fault) in faults.iter().step_by(tree.one_in()) {
            let what = format!("{call}:{fault}");
            let output = tree.run_with(call, fault, self.run);
            let now = tree.snapshot();
            if tree.is_new(&now) {
                tree.works(&what);
            }
            // The tool can do without some calls.
            if output.status != Some(0) {
                refused += 1;
                assert_eq!(output.signal, None, "{what}; {output}");
                // One file may succeed before another fails. The failed one is unchanged.
                for name in ["program", "libbar.so"] {
                    let path = Path::new("app").join(name);
                    let has_failed = output.stderr.contains(&format!("/{name}: "));
                    assert!(
                        !has_failed || now[&path] == before[&path],
                        "{what} left {name} changed; {output}"
                    );
                }
            }
            if now != before || tree.times() != times {
                tree.reset(&before, &times);
            }
        }
        assert!(refused > 5 / tree.one_in(), "{refused}: {faults:?}");
    }
}

/// The errors that the kernel may return for calls of these names.
const REFUSALS: [(&str, [&str; 3]); 8] = [
    ("pwrite64", ["ENOSPC", "EIO", "EDQUOT"]),
    ("write", ["ENOSPC", "EIO", "EDQUOT"]),
    ("fsync", ["ENOSPC", "EIO", "EDQUOT"]),
    ("fdatasync", ["ENOSPC", "EIO", "EDQUOT"]),
    ("openat", ["EROFS", "EIO", "EMFILE"]),
    ("openat2", ["EPERM", "EIO", "EMFILE"]),
    ("linkat", ["ENOSPC", "EROFS", "EDQUOT"]),
    ("renameat", ["ENOSPC", "EROFS", "EDQUOT"]),
];

/// The faults to inject into these calls: the name of a call, and what happens to which call of that name. A call that opens a file
/// to read it has one of the errors, the next such call the next one. All others have each.
fn faults(calls: &[Call]) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for (name, errors) in REFUSALS {
        let calls = calls.iter().filter(|call| call.name == name);
        for (at, call) in calls.enumerate() {
            let tried = match call.opens_to_read() {
                true => &errors[at % errors.len()..][..1],
                false => &errors[..],
            };
            let n = at + 1;
            let tried = tried.iter().map(|error| format!("error={error}:when={n}"));
            all.extend(tried.map(|fault| (name, fault)));
        }
    }
    all
}

/// The names of files that differ.
fn differing(one: &Snapshot, other: &Snapshot) -> Vec<PathBuf> {
    let names = one.keys().chain(other.keys());
    let mut differing: Vec<PathBuf> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .cloned()
        .collect();
    differing.dedup();
    differing
}

/// Directories that do not exist.
const GONE: &str =
    "$ORIGIN/../_solib_0/_U_S_Sgone:$ORIGIN/../_solib_1/_U_S_Sgone:$ORIGIN/../_solib_2/_U_S_Sgone";

fn has_gone(file: &[u8]) -> bool {
    file.windows(GONE.len()).any(|part| part == GONE.as_bytes())
}

/// Whether the first program header is a PT_PHDR.
fn has_phdr(file: &[u8]) -> bool {
    file[Offsets::of(file).ehdr_len..].starts_with(&elf::PT_PHDR.to_le_bytes())
}

/// A tree whose library has no room but the bytes of its own search path, which has only directories that do not exist.
fn crammed(variant: Variant) -> Tree {
    let search = format!("-Wl,--enable-new-dtags,-rpath,{GONE}");
    let flags = toolchain::lld();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([&*search]).collect();
    Tree::with_library(variant, &flags)
}

/// A tree whose library has no room but its PT_PHDR.
fn with_unused_header(variant: Variant) -> Tree {
    Tree::with_library(variant, &toolchain::lld().each_ref().map(String::as_str))
}

macro_rules! scenarios {
    ($($name:ident: $scenario:expr;)+) => {
        $(
            mod $name {
                use super::*;

                matrix!(architectures: stopped_anywhere, refused_anything);

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
    wrap: Scenario { before: &[], run: WRAP, restores: false, room: Room::Padding };
    wrap_with_another_search_path: Scenario {
        before: &[WRAP],
        run: &["--paths", "app", "--libs", "lib", "--runtime-dependencies", "/nowhere"],
        restores: false,
        room: Room::Padding,
    };
    wrap_with_another_stub: Scenario {
        before: &[WRAP],
        run: &["--relocatable", "--allow-outside", "--paths", "app", "--libs", "lib"],
        restores: false,
        room: Room::Padding,
    };
    wrap_with_the_loader_in_the_sidecar: Scenario { before: &[WRAP], run: SELF_CONTAINED, restores: false, room: Room::Padding };
    wrap_with_a_loader_file_again: Scenario { before: &[SELF_CONTAINED], run: WRAP, restores: false, room: Room::Padding };
    edit_in_place: Scenario { before: &[], run: IN_PLACE, restores: false, room: Room::Padding };
    edit_in_place_with_another_search_path: Scenario {
        before: &[IN_PLACE],
        run: &[
            "--strategy", "inplace", "--paths", "app", "--libs", "lib", "--runtime-dependencies", "/nowhere",
        ],
        restores: false,
        room: Room::Padding,
    };
    replace_the_search_path_of_a_library: Scenario { before: &[], run: IN_PLACE, restores: false, room: Room::OwnPath };
    restore_the_search_path_of_a_library: Scenario { before: &[IN_PLACE], run: RESTORE, restores: true, room: Room::OwnPath };
    put_a_search_path_into_a_program_header: Scenario { before: &[], run: IN_PLACE, restores: false, room: Room::Header };
    restore_a_program_header: Scenario { before: &[IN_PLACE], run: RESTORE, restores: true, room: Room::Header };
    restore: Scenario { before: &[WRAP], run: RESTORE, restores: true, room: Room::Padding };
    restore_in_place: Scenario { before: &[IN_PLACE], run: RESTORE, restores: true, room: Room::Padding };
}

/// Runs the tool in a mount namespace of its own, after the shell command `mount`, whose `$app` is the program's directory. Returns
/// the tool's output, and whether the files in that directory are unchanged, without any others.
fn on_file_system(tree: &Tree, mount: &str, arguments: &[&str]) -> (Output, bool) {
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

matrix!(architectures: each_step_is_on_disk_before_the_next, a_change_is_on_disk_before_links_are_removed, each_program_is_opened_once_to_read, read_only_file_system, full_file_system);

/// The last step of wrapping is not synced. Every step of restoring is, because the sidecar is removed last.
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

/// A library with room for short paths only has links next to it for a long path. It uses them until the change is on disk.
fn a_change_is_on_disk_before_links_are_removed(variant: Variant) {
    // Its constants do not end with a page of their own.
    let tree = Tree::with_library(variant, &["-Wl,-z,noseparate-code"]);
    let library = tree.path("app/libbar.so");
    let far = tree.far();
    fs::create_dir_all(far.parent().expect("a directory")).expect("mkdir");
    symlink(tree.path("lib"), &far).expect("a symlink");
    let [library, far] = [&library, &far].map(|path| path.to_str().expect("UTF-8"));
    let wrap = |libs| ["--paths", library, "--libs", libs];
    tree.run(&wrap(far)).success();
    let links = tree.path("app/.libbar.so.wrapbuddy.d");
    assert!(links.is_dir(), "{far} fits into {library}");
    let steps = tree.steps(&wrap("lib"));
    // The sidecar is replaced before that, too.
    let in_order = ["pwrite64", "fdatasync", "renameat", "fsync", "unlinkat"];
    let mut steps = steps.iter();
    assert!(
        in_order.iter().all(|one| steps.any(|step| step == one)),
        "{steps:?}"
    );
    assert!(!links.exists());
    tree.works("without links");
}

/// It is opened once more for writing, unless nothing changes.
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

/// Only for its own architecture does the kernel refuse writes to a running program.
#[test]
fn a_copy_is_on_disk_before_it_takes_the_place_of_the_file() {
    let tree = Tree::new(Variant::new(Arch::host(), Libc::Glibc, Kind::Pie));
    tree.install_loader();
    let program = tree.path("app/program");
    fs::copy("/bin/sleep", &program).expect("copy");
    let mut running = Command::new(&program).arg("600").spawn().expect("it runs");
    // Only this file, because writes to other files do not matter.
    let path = program.to_str().expect("UTF-8");
    let steps = tree.steps(&["--replace", "--paths", path, "--libs", "lib"]);
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
