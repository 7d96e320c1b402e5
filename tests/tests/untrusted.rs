//! Root on trees that another user writes to: whatever that user puts there, nothing of root's is read, changed or removed for it.
//! Two user ids are needed, which only root can have in a user namespace.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::check::sidecar_of;
use e2e::{Arch, Build, Kind, Libc, Output, Root, Sample, Variant, matrix, says, source};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

matrix!(systems: what_a_user_owns_is_wrapped_with_its_rights);

/// Whoever writes to the trees.
const USER: u32 = 1000;

/// How often names are swapped, at least, while the tool runs again and again; but no longer than this.
const ROUNDS: usize = 2000;
const LONGEST: Duration = Duration::from_secs(8);

/// A file of root's outside of the tree.
const VICTIM: &str = "/srv/victim/program";

const IN_PLACE: [&str; 2] = ["--strategy", "inplace"];

fn host() -> Variant {
    Variant::new(Arch::host(), Libc::Glibc, Kind::Pie)
}

/// Whether there are two user ids; says so where not.
fn has_users() -> bool {
    let has = geteuid().is_root();
    if !has {
        println!("skipped: a second user id takes root");
    }
    has
}

/// Gives it to the user, and not what it leads to if it is a link.
fn give(root: &Root, path: &str) {
    lchown(root.path(path), Some(USER), Some(USER)).expect("chown");
}

fn set_mode(root: &Root, path: &str, mode: u32) {
    fs::set_permissions(root.path(path), Permissions::from_mode(mode)).expect("chmod");
}

/// A program in a directory of the user's, and one of root's elsewhere.
fn sample() -> Sample {
    let sample = Sample::unwrapped(host());
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

/// All that is below a directory: names with kind, owner, mode, links, content or target.
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

/// Nothing of root's has changed in the course of `work`.
#[track_caller]
fn spares<T>(root: &Root, work: impl FnOnce() -> T) -> T {
    let before = everything(&root.path("/srv"));
    let result = work();
    assert_eq!(everything(&root.path("/srv")), before);
    result
}

/// Root wraps, wraps again, restores and watches what a user owns, and all files are that user's.
fn what_a_user_owns_is_wrapped_with_its_rights(variant: Variant) {
    if !has_users() {
        return;
    }
    for (directory, mode) in [(USER, 0o755), (USER, 0o555), (0, 0o755)] {
        let sample = Sample::unwrapped(variant);
        let root = &sample.root;
        give(root, &sample.program);
        set_mode(root, &sample.program, 0o555);
        chown(root.path("/app"), Some(directory), Some(directory)).expect("chown");
        set_mode(root, "/app", mode);
        let about = || {
            [&*sample.program, "/app"].map(|path| {
                let about = fs::metadata(root.path(path)).expect("it is there");
                (about.uid(), about.gid(), about.mode())
            })
        };
        let before = about();
        for more in [
            &[][..],
            &["--self-contained"],
            &["--relocatable", "--allow-outside"],
        ] {
            wrapping(&sample, "/app", more).success();
            assert_eq!(about(), before, "{directory} {more:?}");
            let sidecar = fs::metadata(root.path(&sidecar_of(&sample.program))).expect("a sidecar");
            assert_eq!((sidecar.uid(), sidecar.gid()), (USER, USER));
            says(sample.command().user(USER).output());
        }
        restoring(root, "/app").success();
        assert_eq!(about(), before, "{directory}");
        assert_eq!(
            fs::read(root.path(&sample.program)).ok(),
            fs::read(&sample.built).ok()
        );
        watching_once(&sample, "/app").success();
        says(sample.command().user(USER).output());
        assert_eq!(
            fs::read_dir(root.path("/app"))
                .expect("a directory")
                .count(),
            2
        );
    }
}

/// Files of root's that somebody else could replace, or may have linked to.
#[test]
fn what_others_can_replace_is_left_alone() {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(host());
    let root = &sample.root;
    let restores = || {
        restoring(root, "/app").success();
        assert_eq!(
            fs::read_dir(root.path("/app"))
                .expect("a directory")
                .count(),
            1
        );
    };
    for (user, group, mode, who) in [
        (USER, USER, 0o755, "the user 1000"),
        (0, 50, 0o2775, "the group 50"),
        (0, 0, 0o777, "everybody"),
        (USER, USER, 0o1777, "the user 1000"),
    ] {
        chown(root.path("/app"), Some(user), Some(group)).expect("chown");
        set_mode(root, "/app", mode);
        for more in [&[][..], &IN_PLACE, &["--dry-run"]] {
            let output = wrapping(&sample, "/app", more).exits_with(1);
            let said = output
                .stderr
                .contains(&format!("belongs to root, but {who} can write"));
            assert!(said && output.stderr.contains("--trust-tree"), "{output}");
            assert!(root.read(&sample.program) == fs::read(&sample.built).expect("built"));
            assert_eq!(
                fs::read_dir(root.path("/app"))
                    .expect("a directory")
                    .count(),
                1
            );
        }
        let watched = watching_once(&sample, "/app");
        assert!(watched.stdout.contains("belongs to root, but"), "{watched}");
        wrapping(&sample, "/app", &["--trust-tree"]).success();
        let output = restoring(root, "/app").exits_with(1);
        assert!(output.stderr.contains("belongs to root, but"), "{output}");
        sample.run();
        let trusting = root.wrap_buddy().args(["restore", "/app", "--trust-tree"]);
        trusting.output().success();
    }
    // Nobody else's group, and the sticky directory of root's.
    for (mode, group) in [(0o775, 0), (0o1777, 0), (0o755, 50)] {
        chown(root.path("/app"), Some(0), Some(group)).expect("chown");
        set_mode(root, "/app", mode);
        wrapping(&sample, "/app", &[]).success();
        restores();
    }
}

/// Root does for a user what the user could do, and nothing else.
#[test]
fn the_rights_are_those_of_the_owner() {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(host());
    let root = &sample.root;
    give(root, &sample.program);
    chown(root.path("/app"), Some(USER + 1), Some(0)).expect("chown");
    for more in [&[][..], &IN_PLACE, &["--dry-run"]] {
        let output = wrapping(&sample, "/app", more).exits_with(1);
        assert!(output.stderr.contains("permission denied"), "{output}");
    }
    wrapping(&sample, "/app", &["--trust-tree"]).success();
    sample.run();
    restoring(root, "/app");
}

#[test]
fn hard_links_that_others_may_have_made_are_left_alone() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    let linked = root.path("/app/linked");
    for (mode, user) in [(0o755, USER), (0o1777, 0)] {
        chown(root.path("/app"), Some(user), Some(user)).expect("chown");
        set_mode(root, "/app", mode);
        fs::hard_link(root.path(VICTIM), &linked).expect("link");
        spares(root, || {
            let output = wrapping(&sample, "/app/linked", &[]).exits_with(1);
            assert!(output.stderr.contains("left alone"), "{output}");
            wrapping(&sample, "/app/linked", &IN_PLACE).exits_with(1);
        });
        fs::remove_file(&linked).expect("unlink");
    }
}

/// A library of the user's that has links beside it, a directory of root's with files of the same names, and the directory of
/// links.
fn with_links() -> (Root, String, impl Fn(&Root, &str) -> Output) {
    let variant = host();
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
    // What the tool's own links look like.
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

#[test]
fn links_are_made_and_removed_in_no_directory_that_a_link_leads_to() {
    if !has_users() {
        return;
    }
    for target in ["/srv/lib", "/srv/links"] {
        let (root, links, wrap) = with_links();
        // Before: nothing is made there.
        symlink(target, root.path(&links)).expect("symlink");
        give(&root, &links);
        for more in ["", "--once", "--trust-tree"] {
            let output = spares(&root, || wrap(&root, more)).exits_with(1);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(text.contains("no link is followed"), "{output}");
        }
        // After: nothing is removed there.
        fs::remove_file(root.path(&links)).expect("unlink");
        wrap(&root, "").success();
        let swap = |root: &Root| {
            fs::remove_dir_all(root.path(&links)).expect("rm");
            symlink(target, root.path(&links)).expect("symlink");
            give(root, &links);
        };
        swap(&root);
        spares(&root, || {
            let restore = root.wrap_buddy().args(["restore", "/app", "--trust-tree"]);
            let output = restore.output();
            assert!(output.stderr.contains("no link is followed"), "{output}");
        });
        assert!(root.path(&links).is_symlink());
        // A watch removes what is left of a library that is gone.
        fs::remove_file(root.path(&links)).expect("unlink");
        wrap(&root, "").success();
        swap(&root);
        let watch = root.wrap("/app").libs(["/srv/lib"]).watch();
        spares(&root, || {
            fs::remove_file(root.path("/app/libbar.so")).expect("unlink");
            let sidecar = root.path("/app/.libbar.so.wrapbuddy");
            let deadline = Instant::now() + LONGEST;
            while sidecar.exists() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
            assert!(!sidecar.exists());
        });
        watch.stop().success();
    }
}

/// Only links that lead to a file of their own name are the tool's.
#[test]
fn what_the_tool_has_not_made_is_not_removed() {
    let (root, links, wrap) = with_links();
    wrap(&root, "").success();
    let link = root.path(&links).join("libfoo.so");
    for put in [
        |link: &Path| fs::write(link, "a file").expect("write"),
        |link: &Path| symlink("/srv/lib/other", link).expect("symlink"),
    ] {
        wrap(&root, "").success();
        fs::remove_file(&link).expect("unlink");
        put(&link);
        let output = restoring(&root, "/app");
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains("wrap-buddy has not made it"), "{output}");
        assert!(link.symlink_metadata().is_ok());
    }
}

#[test]
fn a_directory_of_links_that_others_own_is_not_used() {
    if !has_users() {
        return;
    }
    let (root, links, wrap) = with_links();
    for path in ["/app", "/app/libbar.so"] {
        chown(root.path(path), Some(0), Some(0)).expect("chown");
    }
    set_mode(&root, "/app", 0o755);
    root.mkdir(&links);
    for (user, mode) in [(USER, 0o755), (0, 0o777)] {
        chown(root.path(&links), Some(user), Some(user)).expect("chown");
        set_mode(&root, &links, mode);
        let output = wrap(&root, "").exits_with(1);
        assert!(
            output.stderr.contains("remove it if it is not yours"),
            "{output}"
        );
    }
}

/// Whatever goes where a sidecar should be is an error, and nothing is waited for.
#[test]
fn what_is_no_sidecar_is_not_read() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    let sidecar = root.path(&sidecar_of("/app/program"));
    root.write("/srv/secret", "nobody else reads this");
    set_mode(root, "/srv/secret", 0o600);
    let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).expect("mkfifo");
    let link = |target: &'static str| move |path: &Path| symlink(target, path).expect("symlink");
    let huge = |path: &Path| {
        File::create(path)
            .and_then(|file| file.set_len(1 << 40))
            .expect("a hole")
    };
    let puts: [&dyn Fn(&Path); 6] = [
        &fifo,
        &link("/srv/secret"),
        &link("/dev/zero"),
        &link("/dev/ptmx"),
        &|path| fs::create_dir(path).expect("mkdir"),
        &huge,
    ];
    for put in puts {
        put(&sidecar);
        lchown(&sidecar, Some(USER), Some(USER)).expect("chown");
        spares(root, || {
            for more in [&[][..], &IN_PLACE] {
                let output = wrapping(&sample, "/app", more).exits_with(1);
                assert!(!output.timed_out, "{output}");
            }
            let output = restoring(root, "/app").exits_with(1);
            assert!(output.stderr.contains("sidecar"), "{output}");
            watching_once(&sample, "/app");
        });
        let _ = fs::remove_file(&sidecar).or_else(|_| fs::remove_dir(&sidecar));
    }
}

/// The group counts as well as the user.
#[test]
fn a_sidecar_of_another_group_is_not_trusted() {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(host());
    let root = &sample.root;
    set_mode(root, "/app/program", 0o775);
    wrapping(&sample, "/app", &[]).success();
    let sidecar = root.path(&sidecar_of("/app/program"));
    fs::set_permissions(&sidecar, Permissions::from_mode(0o664)).expect("chmod");
    restoring(root, "/app").success();
    wrapping(&sample, "/app", &[]).success();
    chown(&sidecar, Some(0), Some(50)).expect("chown");
    fs::set_permissions(&sidecar, Permissions::from_mode(0o664)).expect("chmod");
    let output = restoring(root, "/app").exits_with(1);
    assert!(
        output
            .stderr
            .contains("can be written by somebody who cannot"),
        "{output}"
    );
}

/// Python that has the file open as the other user, and does something with the descriptor `f` that lasts.
fn holding(path: &Path, by: &str) -> std::process::Child {
    let script = format!(
        "import fcntl,os,signal,time\nsignal.signal(signal.SIGIO,signal.SIG_IGN)\nos.setgid({USER});os.setuid({USER})\nf=os.open({:?},os.O_RDONLY)\n{by}\nprint('held',flush=True)\ntime.sleep(100)",
        path.display().to_string()
    );
    let mut child = std::process::Command::new("python3")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = [0; 5];
    let stdout = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut line).expect("it says so");
    child
}

/// The kernel would wait for a lease to be given back for 45 seconds.
#[test]
fn no_lease_is_waited_for() {
    if !has_users() {
        return;
    }
    let sample = sample();
    for lease in ["F_RDLCK", "F_WRLCK"] {
        let by = format!("fcntl.fcntl(f,fcntl.F_SETLEASE,fcntl.{lease})");
        let mut holder = holding(&sample.root.path("/app/program"), &by);
        let began = Instant::now();
        let output = wrapping(&sample, "/app", &[]).exits_with(1);
        holder.kill().and_then(|()| holder.wait()).expect("killed");
        assert!(began.elapsed() < Duration::from_secs(20), "{output}");
        assert!(
            output.stderr.contains("is leased by another process"),
            "{output}"
        );
    }
}

/// A copy that takes the place of a program that runs is made with the owner's rights, too.
#[test]
fn what_replaces_a_running_program_is_its_owners() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    wrapping(&sample, "/app", &[]).success();
    let running = sample
        .command()
        .user(USER)
        .arg("loop")
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + LONGEST;
    while running.stdout_so_far().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let inode = || {
        fs::metadata(root.path("/app/program"))
            .expect("a file")
            .ino()
    };
    let before = inode();
    let more = ["--self-contained", "--replace"];
    spares(root, || wrapping(&sample, "/app", &more).success());
    assert_ne!(inode(), before);
    let files = fs::read_dir(root.path("/app")).expect("a directory");
    let owners: Vec<u32> = files
        .map(|file| file.and_then(|file| file.metadata()).expect("a file").uid())
        .collect();
    assert_eq!(owners, [USER, USER]);
    says(sample.command().user(USER).output());
}

/// A lock that nobody gives back ends nothing but the waiting.
#[test]
fn no_lock_of_others_is_waited_for_without_end() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    let hold = |path: &str| holding(&root.path(path), "fcntl.flock(f,fcntl.LOCK_EX)");
    let mut directory = hold("/app");
    let began = Instant::now();
    let output = wrapping(&sample, "/app", &[]).success();
    assert!(began.elapsed() < Duration::from_secs(30), "{output}");
    assert!(
        output.stderr.contains("locked: going on without that lock"),
        "{output}"
    );
    directory
        .kill()
        .and_then(|()| directory.wait())
        .expect("killed");
    // The owner of a file may keep it from being changed, and is named. Nobody else may.
    let mut file = hold("/app/program");
    let output = restoring(root, "/app").exits_with(1);
    assert!(
        output
            .stderr
            .contains("is being worked on by another process ("),
        "{output}"
    );
    for path in ["/app", "/app/program", &sidecar_of("/app/program")] {
        chown(root.path(path), Some(0), Some(0)).expect("chown");
    }
    restoring(root, "/app").success();
    file.kill().and_then(|()| file.wait()).expect("killed");
}

/// Swaps two names for as long as `work` goes on, and that again and again until enough was swapped.
fn swapped(one: &Path, other: &Path, work: impl Fn()) {
    swapped_for(ROUNDS, one, other, work);
}

fn swapped_for(enough: usize, one: &Path, other: &Path, work: impl Fn()) {
    let done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                // One of them may be gone for a moment: the tool removes sidecars.
                let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, exchange);
                rounds.fetch_add(1, Ordering::Relaxed);
                // Long enough for a run to come to one step or another.
                thread::sleep(Duration::from_micros(fastrand::u64(0..3000)));
            }
        });
        while rounds.load(Ordering::Relaxed) < enough && began.elapsed() < LONGEST {
            work();
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{} rounds", rounds.into_inner());
}

/// Wraps in either way, restores and watches, whatever comes of it. With `trust`, root keeps its rights, and nothing but how files
/// are opened stands between the user and root's files.
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

/// Whether root leaves its rights, and whether it does not.
const TRUST: [&[&str]; 2] = [&[], &["--trust-tree"]];

#[test]
fn no_link_swapped_in_for_a_file_is_followed() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    for path in [VICTIM, "/app/program"] {
        set_mode(root, path, 0o444);
    }
    symlink(VICTIM, root.path("/app/other")).expect("symlink");
    give(root, "/app/other");
    let [one, other] = ["/app/program", "/app/other"].map(|path| root.path(path));
    for trust in TRUST {
        spares(root, || {
            swapped(&one, &other, || {
                everything_that_writes(&sample, "/app", trust)
            });
        });
    }
}

#[test]
fn no_link_swapped_in_for_a_directory_is_followed() {
    if !has_users() {
        return;
    }
    let sample = sample();
    let root = &sample.root;
    root.install(&sample.built, "/app/sub/program");
    for path in ["/app/sub", "/app/sub/program"] {
        give(root, path);
    }
    symlink("/srv/victim", root.path("/app/other")).expect("symlink");
    give(root, "/app/other");
    let [one, other] = ["/app/sub", "/app/other"].map(|path| root.path(path));
    for trust in TRUST {
        spares(root, || {
            swapped(&one, &other, || {
                everything_that_writes(&sample, "/app", trust)
            });
        });
    }
}

/// When a later step fails, as that of the links does here, what was at the sidecar's name is put back.
#[test]
fn no_secret_swapped_in_for_a_sidecar_is_copied() {
    const SECRET: &str = "nobody else reads this";
    if !has_users() {
        return;
    }
    let (root, links, wrap) = with_links();
    symlink("/srv/lib", root.path(&links)).expect("symlink");
    root.write("/srv/secret", SECRET);
    set_mode(&root, "/srv/secret", 0o600);
    let sidecar = "/app/.libbar.so.wrapbuddy";
    let [one, other] = [sidecar, "/app/other"].map(|path| root.path(path));
    let holds_secret = || {
        let files = fs::read_dir(root.path("/app")).expect("a directory");
        files.flatten().any(|file| {
            let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
            is_file && fs::read(file.path()).is_ok_and(|bytes| bytes == SECRET.as_bytes())
        })
    };
    for more in ["", "--trust-tree"] {
        spares(&root, || {
            let began = Instant::now();
            while began.elapsed() < LONGEST {
                // There is nothing to lose in an empty one.
                for path in [&one, &other] {
                    let _ = fs::remove_file(path);
                }
                root.write(sidecar, "");
                symlink("/srv/secret", &other).expect("symlink");
                for path in [sidecar, "/app/other"] {
                    give(&root, path);
                }
                swapped_for(20, &one, &other, || {
                    wrap(&root, more);
                });
                assert!(!holds_secret(), "{more}");
            }
        });
    }
}
