//! Root works on trees in which another user can write. Nothing that the user does makes root read, change or remove files outside.
//! This needs two user ids, which in a user namespace only root can have.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Arch, Build, Kind, Libc, Output, Root, Sample, Variant, skipped, source};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::geteuid;

mod forged;
mod links;
mod locks;
mod owners;
mod races;
mod running;
mod sidecars;

/// The user who can write in the trees.
const USER: u32 = 1000;

/// The minimum number of swaps while the tool runs repeatedly.
const ROUNDS: usize = 2000;

/// Root's file outside of the tree.
const VICTIM: &str = "/srv/victim/program";

const IN_PLACE: [&str; 2] = ["--strategy", "inplace"];

fn host() -> Variant {
    Variant::new(Arch::host(), Libc::Glibc, Kind::Pie)
}

/// Whether there are two user ids. Prints it if not.
fn has_users() -> bool {
    let has = geteuid().is_root();
    if !has {
        skipped("a second user id takes root");
    }
    has
}

/// Gives the path to the user, without following a link.
fn give(root: &Root, path: &str) {
    lchown(root.path(path), Some(USER), Some(USER)).expect("chown");
}

fn set_mode(root: &Root, path: &str, mode: u32) {
    fs::set_permissions(root.path(path), Permissions::from_mode(mode)).expect("chmod");
}

/// A program in the user's directory, and another one of root's elsewhere.
fn sample(variant: Variant) -> Sample {
    let sample = Sample::unwrapped(variant);
    give(&sample.root, "/app");
    give(&sample.root, "/app/program");
    sample.root.install(&sample.built, VICTIM);
    sample
}

fn wrapping(sample: &Sample, paths: &str, more: &[&str]) -> Output {
    let wrap = sample.root.wrap(paths).libs([sample.library_dir.clone()]);
    wrap.args(more.iter().copied()).command().output()
}

fn restoring(root: &Root, paths: &str) -> Output {
    root.wrap_buddy().args(["restore", paths]).output()
}

fn watching_once(sample: &Sample, paths: &str) -> Output {
    let wrap = sample.root.wrap(paths).libs([sample.library_dir.clone()]);
    let once = ["--once", "--settle", "1"];
    wrap.args(once).watch_command().output()
}

/// Without and with root's own rights.
const TRUST: [&[&str]; 2] = [&[], &["--trust-tree"]];

/// Everything below a directory: names with kind, owner, mode, links, content or target.
fn everything(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let about = path.symlink_metadata().expect("it is there");
        let content = if about.is_file() {
            fs::read(&path).expect("a file")
        } else if about.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            target.into_os_string().into_encoded_bytes()
        } else {
            everything(&path).concat().into_bytes()
        };
        let (mode, owner, times) = (about.mode(), about.uid(), about.mtime());
        let digest = content.iter().fold(0u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        found.push(format!(
            "{} {mode:o} {owner} {times} {digest}",
            path.display()
        ));
    }
    found
}

/// Asserts that `work` changes no file of root's.
#[track_caller]
fn spares<T>(root: &Root, work: impl FnOnce() -> T) -> T {
    let before = everything(&root.path("/srv"));
    let result = work();
    assert_eq!(everything(&root.path("/srv")), before);
    result
}

/// A user's library with links, a directory of root's with files of the same names, and the directory of links.
fn with_links(variant: Variant) -> (Root, String, impl Fn(&Root, &str) -> Output) {
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so");
    let outer = outer.flag("-Wl,-z,noseparate-code").link(&inner).build();
    let root = Root::new(variant);
    let far = format!("/{}", vec!["d".repeat(250); 14].join("/"));
    root.install(&inner, &format!("{far}/libfoo.so"));
    root.install(&outer, "/app/libbar.so");
    give(&root, "/app");
    give(&root, "/app/libbar.so");
    root.write("/srv/lib/libfoo.so", "root's own");
    // As the tool's own links are.
    root.mkdir("/srv/links");
    symlink(
        format!("{far}/libfoo.so"),
        root.path("/srv/links/libfoo.so"),
    )
    .expect("symlink");
    let wrap = move |root: &Root, more: &str| {
        let wrap = root.wrap("/app").libs([far.clone()]);
        let more = more.split_whitespace().map(str::to_owned);
        match more.clone().any(|one| one == "--once") {
            true => wrap.args(more).watch_command().output(),
            false => wrap.args(more).command().output(),
        }
    };
    (root, "/app/.libbar.so.wrapbuddy.d".to_owned(), wrap)
}

/// Swaps two names while `work` runs, repeatedly, until there were enough swaps.
fn swapped(variant: Variant, one: &Path, other: &Path, work: impl Fn()) {
    let (enough, longest) = effort(variant);
    let swaps = swapped_for(enough, longest, one, other, work);
    println!("{swaps} swaps");
}

/// The maximum time for the swaps, in seconds.
const SECONDS: &str = "WRAP_BUDDY_TEST_SECONDS";

fn time_limit() -> Duration {
    let seconds = env::var(SECONDS).map_or(8, |seconds| seconds.parse().expect(SECONDS));
    Duration::from_secs(seconds)
}

/// How many swaps there are, at least, and for how long at most. The tool does the same to files of every architecture: unless you set the
/// time, fewer swaps will do for those of another one than the machine's.
fn effort(variant: Variant) -> (usize, Duration) {
    match variant.arch == Arch::host() || env::var_os(SECONDS).is_some() {
        true => (ROUNDS, time_limit()),
        false => (ROUNDS / 4, time_limit() / 4),
    }
}

fn swapped_for(
    enough: usize,
    longest: Duration,
    one: &Path,
    other: &Path,
    work: impl Fn(),
) -> usize {
    /// Set to true when dropped: a failing assertion must not leave the other thread swapping.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                // One of them may be missing for a moment, because the tool removes sidecars.
                let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, exchange);
                rounds.fetch_add(1, Ordering::Relaxed);
                // So long that runs are interrupted at different steps.
                thread::sleep(Duration::from_micros(fastrand::u64(0..3000)));
            }
        });
        while rounds.load(Ordering::Relaxed) < enough && began.elapsed() < longest {
            work();
        }
    });
    rounds.into_inner()
}

/// Wraps with each strategy, restores and watches; each may fail. With `trust`, root keeps its rights, so only the way in which
/// files are opened protects root's files.
fn everything_that_writes(sample: &Sample, paths: &str, trust: &[&str]) {
    let wrap = |more: &[&str]| wrapping(sample, paths, &[more, trust].concat());
    let restore = || {
        let restore = sample.root.wrap_buddy().args(["restore", paths]);
        restore.args(trust.iter().copied()).output()
    };
    wrap(&[]);
    wrap(&["--runtime-dependencies", "/nowhere", "--replace"]);
    restore();
    wrap(&IN_PLACE);
    restore();
    if trust.is_empty() {
        watching_once(sample, paths);
    }
}
