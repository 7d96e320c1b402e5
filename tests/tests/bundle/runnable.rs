//! `bundle --runnable`: one file that unpacks itself to a cache and starts.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e::run::on_host;
use e2e::{Build, Root, Run, Running, Sample, Variant, matrix, says, source};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::{USER, bundle, listing, set_mode};

matrix!(systems: starts_anywhere_and_is_unpacked_once);
matrix!(architectures: the_name_decides_which_program_starts, unpacked_to_a_directory);

const CACHE: &str = "/cache";

fn native() -> Variant {
    Variant::named("x86_64_glibc_pie")
}

/// A root with programs, and a runnable file at /made/tools with them; the first is the sample.
fn made(variant: Variant) -> Sample {
    let sample = Sample::installed_at(variant, "/app/program");
    let root = &sample.root;
    for (name, fixture) in [("show", "argv.c"), ("exit", "exit.c"), ("abort", "abort.c")] {
        let built = Build::program(variant, source(fixture)).build();
        root.install(&built, &format!("/app/{name}"));
    }
    root.mkdir("/made");
    make(root, "/made/tools");
    sample
}

fn make(root: &Root, file: &str) {
    let programs = ["program", "show", "exit", "abort"].map(|name| format!("/app/{name}"));
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let args = [&programs[..], &["--runnable", file]].concat();
    bundle(root, &args).output().success();
}

/// A root that has only the file, at `place`, and a cache of `USER`.
fn only(sample: &Sample, variant: Variant, place: &str) -> Root {
    let root = Root::for_programs_of(&[(variant.arch, variant.libc)]);
    root.install(&sample.root.path("/made/tools"), place);
    chown(root.mkdir(CACHE), Some(USER), Some(USER)).expect("chown");
    root
}

fn started<'r>(root: &'r Root, file: &str) -> Run<'r> {
    let run = root.command(file).user(USER);
    run.env("XDG_CACHE_HOME", CACHE).env("HOME", "/none")
}

/// The names in the directory for unpacked bundles.
fn unpacked(root: &Root) -> Vec<String> {
    let directory = root.path(&format!("{CACHE}/wrap-buddy/bundle"));
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
    names.sort();
    names
}

fn first_of(root: &Root) -> PathBuf {
    let names = unpacked(root);
    assert_eq!(names.len(), 1, "{names:?}");
    root.path(&format!("{CACHE}/wrap-buddy/bundle/{}", names[0]))
}

fn starts_anywhere_and_is_unpacked_once(variant: Variant) {
    let sample = made(variant);
    let file = "/with some spaces/tools";
    let root = only(&sample, variant, file);
    says(started(&root, file).output());
    let tree = first_of(&root);
    let before = (listing(&tree), tree.metadata().expect("metadata").ino());
    says(started(&root, "./tools").cwd("/with some spaces").output());
    let after = (listing(&tree), tree.metadata().expect("metadata").ino());
    assert!(before == after, "it was unpacked again");
    // Another user has another cache.
    let other = started(&root, file)
        .user(USER + 1)
        .env("XDG_CACHE_HOME", "");
    says(other.env("HOME", "").output());
    assert_eq!(unpacked(&root).len(), 1);
    // A file of another name has the same bytes.
    make(&sample.root, "/made/other");
    assert!(sample.root.read("/made/tools") == sample.root.read("/made/other"));
}

/// By the last part of the name, and else the first. Arguments, status and signals are those of the program.
fn the_name_decides_which_program_starts(variant: Variant) {
    let sample = made(variant);
    let root = only(&sample, variant, "/tools");
    for name in ["show", "exit", "abort"] {
        symlink("tools", root.path(&format!("/{name}"))).expect("a link");
    }
    let output = started(&root, "/show")
        .args(["one", "", "two words"])
        .output();
    let output = output.success();
    let (_, tree) = CACHE.split_at(0);
    let bundle = first_of(&root);
    let bundle = bundle.file_name().expect("a name").to_string_lossy();
    let program = format!("{tree}/wrap-buddy/bundle/{bundle}/bin/show");
    assert_eq!(
        output.stdout,
        format!("4\n{program}\none\n\ntwo words\nend\n")
    );
    started(&root, "/exit").output().exits_with(42);
    let output = started(&root, "/abort").output();
    assert_eq!(output.signal, Some(6), "{output}");
    // The name as given, not the file.
    let output = started(&root, "/tools").argv0("show").output().success();
    assert!(output.stdout.starts_with("1\n"), "{output}");
    says(started(&root, "/tools").argv0("other").output());
}

/// The variable takes no argument from the program. The directory has the same files, modes and times as that of `--output`.
fn unpacked_to_a_directory(variant: Variant) {
    let sample = made(variant);
    let programs = ["/app/program", "/app/show", "/app/exit", "/app/abort"];
    let output = [&programs[..], &["--output", "/out"]].concat();
    bundle(&sample.root, &output).output().success();
    let root = only(&sample, variant, "/tools");
    let to = |directory: &str| {
        let run = root.command("/tools").env("WRAP_BUDDY_UNPACK", directory);
        run.args(["--version"]).output()
    };
    assert_eq!(to("/there").success().stdout, "");
    assert_eq!(
        listing(&root.path("/there")),
        listing(&sample.root.path("/out"))
    );
    says(root.command("/there/bin/program").output());
    assert_eq!(unpacked(&root), [""; 0]);
    let before = listing(&root.path("/there"));
    refused(
        to("/there"),
        &["/tools: cannot be unpacked to /there: it exists; name a new"],
    );
    assert_eq!(listing(&root.path("/there")), before);
    refused(
        to("/none/there"),
        &["/none/there: no such file or directory"],
    );
}

#[track_caller]
fn refused(output: e2e::Output, words: &[&str]) {
    let output = output.exits_with(127);
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "{word}; {output}");
    }
}

#[test]
fn many_first_starts() {
    let sample = made(native());
    let root = only(&sample, native(), "/tools");
    let children: Vec<Running> = (0..12)
        .map(|_| started(&root, "/tools").spawn().expect("exec"))
        .collect();
    for child in children {
        says(child.finish(Duration::from_secs(60)));
    }
    first_of(&root);
}

/// A start that is killed while it unpacks leaves nothing that the next one takes for a bundle.
#[test]
fn a_first_start_that_is_killed() {
    let sample = Sample::installed_at(native(), "/opt/app/bin/program");
    // Enough files for the signal to arrive in time.
    for name in 0..3000 {
        sample.root.write(&format!("/opt/app/share/{name}"), "data");
    }
    let args = ["/opt/app/bin/program", "--runnable", "/made/tools"];
    sample.root.mkdir("/made");
    bundle(&sample.root, &args).output().success();
    let root = only(&sample, native(), "/tools");
    let running = started(&root, "/tools").spawn().expect("start it");
    let began = Instant::now();
    let is_half = |names: &[String]| names.iter().any(|name| name.ends_with(".new"));
    while !is_half(&unpacked(&root)) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nothing is unpacked"
        );
        thread::yield_now();
    }
    let pid = i32::try_from(running.pid()).expect("a process");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("send a signal");
    let output = running.finish(Duration::from_secs(60));
    assert_ne!(output.status, Some(0), "{output}");
    assert!(is_half(&unpacked(&root)), "it was not killed in time");
    says(started(&root, "/tools").output());
    let tree = first_of(&root);
    assert_eq!(
        fs::read_dir(tree.join("share")).expect("data").count(),
        3000
    );
}

/// A bundle at the place that another user made is not started.
#[test]
fn caches_that_others_can_change() {
    let sample = made(native());
    let root = only(&sample, native(), "/tools");
    let cache = root.path(CACHE);
    let temporary = |run: Run<'_>| says(run.env("TMPDIR", "").output());
    // Not the user's.
    chown(&cache, Some(USER + 1), None).expect("chown");
    set_mode(&cache, 0o777);
    temporary(started(&root, "/tools"));
    assert_eq!(unpacked(&root), [""; 0]);
    // The user's, but others write to it.
    chown(&cache, Some(USER), None).expect("chown");
    temporary(started(&root, "/tools"));
    assert_eq!(unpacked(&root), [""; 0]);
    // Others can replace it.
    set_mode(&cache, 0o755);
    set_mode(&root.mkdir("/weak"), 0o777);
    chown(root.mkdir("/weak/cache"), Some(USER), Some(USER)).expect("chown");
    temporary(started(&root, "/tools").env("XDG_CACHE_HOME", "/weak/cache"));
    let left = fs::read_dir(root.path("/weak/cache"))
        .expect("a directory")
        .count();
    assert_eq!(left, 0);
    // A link of another user among the temporary files.
    set_mode(&cache, 0o555);
    set_mode(&root.mkdir("/shared"), 0o1777);
    chown(root.mkdir("/other"), Some(USER + 1), None).expect("chown");
    symlink("/other", root.path(&format!("/shared/wrap-buddy-{USER}"))).expect("a link");
    let run = started(&root, "/tools").env("TMPDIR", "/shared").output();
    refused(
        run,
        &[
            "cannot be unpacked to /cache/wrap-buddy/bundle: ",
            "XDG_CACHE_HOME",
        ],
    );
    assert_eq!(
        fs::read_dir(root.path("/other"))
            .expect("a directory")
            .count(),
        0
    );
    // Nowhere else.
    let run = started(&root, "/tools").env("TMPDIR", "/none").output();
    refused(
        run,
        &["/tools: cannot be unpacked to /cache/wrap-buddy/bundle: permission denied; set XDG"],
    );
}

/// With a cache that is full, on a file system of 1 MiB.
#[test]
fn a_full_disk() {
    let sample = made(native());
    let root = only(&sample, native(), "/tools");
    let (top, cache) = (root.path("/"), root.path(CACHE));
    let script = format!(
        "mount -t tmpfs -o size=1m,mode=755 none '{cache}' && XDG_CACHE_HOME={CACHE} chroot '{top}' /tools; \
         echo \"status $?\"; cd '{cache}/wrap-buddy/bundle' && find . -type f -size +0 -o -name '*.new'",
        cache = cache.display(),
        top = top.display(),
    );
    let mounts = format!("mount --rbind /proc '{}/proc' && {script}", top.display());
    let output = on_host("unshare", &["--mount", "sh", "-c", &mounts]);
    assert_eq!(output.stdout, "status 127\n", "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    let words = "no space left on device; remove other files, or set XDG_CACHE_HOME";
    assert!(output.stderr.contains(words), "{output}");
}

/// Bytes that are lost or changed on the way are noticed before anything starts.
#[test]
fn a_damaged_file() {
    let sample = made(native());
    let root = only(&sample, native(), "/tools");
    let whole = root.read("/tools");
    let image = stages_len(&whole);
    for (len, flipped) in [
        (whole.len(), Some(whole.len() / 2)),
        (whole.len(), Some(whole.len() - 1)),
        (whole.len() - 1, None),
        (whole.len() / 2, None),
        (image + 10, None),
        (image, None),
        (whole.len(), Some(image)),
    ] {
        let mut bytes = whole[..len].to_vec();
        if let Some(at) = flipped {
            bytes[at] ^= 0x10;
        }
        root.write("/tools", &bytes);
        refused(
            started(&root, "/tools").output(),
            &["/tools: ", "it is damaged"],
        );
        let left = unpacked(&root);
        assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
    }
}

/// The length of the program at the start of the file.
fn stages_len(file: &[u8]) -> usize {
    let magic = sidecar::runnable::MAGIC;
    let mut windows = file.windows(magic.len());
    // The program has the mark, too.
    let found = windows
        .by_ref()
        .enumerate()
        .filter(|(_, bytes)| *bytes == magic);
    found.map(|(at, _)| at).take(2).last().expect("a header")
}

#[test]
fn a_set_id_file_is_refused() {
    let sample = made(native());
    let root = only(&sample, native(), "/tools");
    set_mode(&root.path("/tools"), 0o4755);
    refused(
        started(&root, "/tools").output(),
        &["/tools: set-id programs are not unpacked"],
    );
    assert_eq!(unpacked(&root), [""; 0]);
}

/// Names of files reach the terminal as text.
#[test]
fn control_characters_are_escaped() {
    let sample = made(native());
    let name = "/to\x1b[31mols\n";
    let root = only(&sample, native(), name);
    set_mode(&root.path(CACHE), 0o555);
    let run = started(&root, name).env("TMPDIR", "/no\x1bne").output();
    refused(run, &["wrap-buddy: /to^[[31mols^J: cannot be unpacked"]);
}

#[test]
fn check_and_status_know_it() {
    let sample = made(native());
    let root = &sample.root;
    let tool = |command: &str| root.wrap_buddy().args([command, "/made/tools"]).output();
    let status = tool("status").success();
    assert!(
        status
            .stdout
            .contains("/made/tools: a bundle that unpacks itself"),
        "{status}"
    );
    let check = tool("check").success();
    let words = "it is a bundle of bin/program, bin/show, bin/exit, bin/abort that unpacks itself";
    assert!(check.stdout.contains(words), "{check}");
    // It starts as it is.
    let before = root.read("/made/tools");
    root.wrap_buddy().arg("/made/tools").output();
    assert!(root.read("/made/tools") == before);
    exists(root, "/made/tools");
}

/// An output that exists stays.
fn exists(root: &Root, file: &str) {
    let before = root.read(file);
    let output = bundle(root, &["/app/program", "--runnable", file]).output();
    let output = output.exits_with(1);
    assert!(
        output.stderr.contains("exists and is no bundle"),
        "{output}"
    );
    assert!(root.read(file) == before && !Path::new("/made/.tools").exists());
}
