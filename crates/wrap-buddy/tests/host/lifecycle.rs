//! Files after they were wrapped: wrapped again, restored, updated, or changed by another tool.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::commands::status::{Condition, FileStatus, status};
use wrap_buddy::plan::outcome::{Report, Status};
use wrap_buddy::report::Reporter;
use wrap_buddy::state::prior::Method;

use crate::fixture::*;

const MAIN: &str = "int main(void) { return 0; }";

pub fn restore(arguments: &[&str]) -> Report {
    let all = ["wrap-buddy", "restore"].into_iter();
    match parsed(all.chain(arguments.iter().copied())) {
        Parsed::Restore(restore) => {
            wrap_buddy::commands::restore::restore(&restore, &stages(), &Reporter::default())
                .unwrap()
        }
        other => panic!("{other:?}"),
    }
}

pub fn states(path: &Path) -> Vec<FileStatus> {
    let all = ["wrap-buddy", "status", path.to_str().unwrap()];
    match parsed(all) {
        Parsed::Status(look) => status(&look, &stages(), &Reporter::default()).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub fn condition(path: &Path) -> Condition {
    let states = states(path);
    assert_eq!(states.len(), 1, "{states:#?}");
    states[0].state
}

/// Every file below `directory` with its content, mode and time of modification.
fn details(directory: &Path) -> Vec<(PathBuf, Vec<u8>, u32, SystemTime)> {
    let files = snapshot(directory).into_iter();
    let files = files.map(|(path, content)| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let modified = metadata.modified().unwrap();
        (path, content, metadata.mode(), modified)
    });
    files.collect()
}

/// A program in `app/` that needs `libfoo.so.1` and `libbar.so.1`, and a library in `app/` that needs `libbar.so.1`. All were last
/// modified long ago.
fn tree(dir: &TestDir, target: Arch) -> PathBuf {
    let main = dir.walk_through(target, &[]);
    let source = "int bar(void); int plug(void) { return bar(); }";
    let soname = "-Wl,-soname,libplug.so";
    let arguments = ["-shared", "-fPIC", soname, "bar/lib/libbar.so.1"];
    let library = dir.compile(target, "app/libplug.so", source, &arguments);
    for (path, seconds) in [(&main, 1_000_000_000), (&library, 1_100_000_000)] {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    dir.path("app")
}

fn wrap(dir: &TestDir, target: Arch, more: &[&str]) -> Report {
    dir.wrap_with_libs(target, &dir.path("app"), more)
}

e2e::architectures!(
    the_same_settings_change_nothing,
    other_settings_refresh_the_sidecar_and_not_the_program,
    another_loader_is_another_stub,
    damaged_loader_in_a_sidecar_is_reported_and_repaired,
    missing_library_does_not_break_a_working_program,
    a_program_that_replaced_itself_is_wrapped_again,
    stripped_file_keeps_its_stub_and_loses_its_edits,
    a_sidecar_that_others_can_write_is_not_put_into_the_file,
    restore_removes_links_next_to_a_library,
    two_names_are_restored_once,
);

#[test]
fn restored_files_are_what_they_were() {
    for target in Arch::ALL {
        for strategy in ["stub", "inplace"] {
            let dir = TestDir::new();
            let tree = tree(&dir, target);
            fs::set_permissions(tree.join("main"), Permissions::from_mode(0o4511)).unwrap();
            let original = details(&tree);
            let report = wrap(&dir, target, &["--strategy", strategy]);
            assert!(!report.failed(), "{report:#?}");
            let conditions: Vec<Condition> = states(&tree).iter().map(|file| file.state).collect();
            let of_program = match strategy {
                "stub" => Condition::Wrapped,
                _ => Condition::InPlace,
            };
            assert_eq!(conditions, [Condition::InPlace, of_program]);
            assert!(details(&tree) != original);

            let before = details(&tree);
            let report = restore(&[tree.to_str().unwrap(), "--dry-run"]);
            assert_eq!(report.count(Status::WouldRestore), 2);
            assert!(details(&tree) == before, "a dry run");
            let report = restore(&[tree.to_str().unwrap()]);
            assert_eq!(report.count(Status::Restored), 2, "{report:#?}");
            assert!(details(&tree) == original, "{} {strategy}", target.name());
            assert!(restore(&[tree.to_str().unwrap()]).files.is_empty());
        }
    }
}

fn the_same_settings_change_nothing(target: Arch) {
    for strategy in ["stub", "inplace"] {
        let dir = TestDir::new();
        let tree = tree(&dir, target);
        wrap(&dir, target, &["--strategy", strategy]);
        let before = details(&tree);
        let report = wrap(&dir, target, &["--strategy", strategy]);
        assert_eq!(report.count(Status::Skipped), 2, "{report:#?}");
        assert!(details(&tree) == before);
    }
}

fn other_settings_refresh_the_sidecar_and_not_the_program(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    let original = details(&tree);
    wrap(&dir, target, &[]);
    let program = fs::read(tree.join("main")).unwrap();
    let report = wrap(&dir, target, &["--runtime-dependencies", "/x"]);
    assert_eq!(report.count(Status::Wrapped), 1, "{report:#?}");
    assert_eq!(fs::read(tree.join("main")).unwrap(), program);
    let program = states(&tree.join("main")).remove(0);
    let search = program.search_path.unwrap();
    assert!(search.split(':').any(|entry| entry == "/x"), "{search}");
    restore(&[tree.to_str().unwrap()]);
    assert!(details(&tree) == original);
}

fn another_loader_is_another_stub(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    let original = details(&tree);
    wrap(&dir, target, &[]);
    let elsewhere = dir.path("a/much/longer/path/than/before/to/the/directory/of/loaders");
    let elsewhere = elsewhere.to_str().unwrap();
    // A loader path of the same length, then a shorter one, then the loader in the sidecar, then another path.
    for more in [
        &["--loader-dir-path", elsewhere][..],
        &["--loader-dir-path", "/l"],
        &["--self-contained"],
        &[
            "--loader-dir-path",
            "/l",
            "--relocatable",
            "--allow-outside",
        ],
        &["--self-contained", "--relocatable", "--allow-outside"],
        &["--self-contained"],
        &["--loader-dir-path", "/l"],
    ] {
        let report = wrap(&dir, target, more);
        assert!(report.count(Status::Wrapped) == 1, "{more:?} {report:#?}");
        assert_eq!(condition(&tree.join("main")), Condition::Wrapped);
        let status = states(&tree.join("main")).remove(0);
        let own = more.contains(&"--self-contained");
        assert_eq!(status.self_contained, own, "{more:?}");
        assert_eq!(status.loader.is_none(), own, "{more:?}");
        let again = wrap(&dir, target, more);
        assert_eq!(again.count(Status::Skipped), 2, "{more:?} {again:#?}");
    }
    restore(&[tree.to_str().unwrap()]);
    assert!(details(&tree) == original);
}

/// A stub does not notice that, but the host tool does.
fn damaged_loader_in_a_sidecar_is_reported_and_repaired(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    let original = snapshot(&tree);
    wrap(&dir, target, &["--self-contained"]);
    let path = tree.join(".main.wrapbuddy");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[1000] ^= 1;
    fs::write(&path, &bad).unwrap();
    let status = states(&tree.join("main")).remove(0);
    assert_eq!(status.state, Condition::Wrapped);
    let advice = status.advice.unwrap();
    assert!(advice.contains("damaged loader; wrap it again"), "{advice}");
    wrap(&dir, target, &["--self-contained"]);
    assert!(fs::read(&path).unwrap() == good);
    // The original bytes are intact.
    fs::write(&path, &bad).unwrap();
    restore(&[tree.to_str().unwrap()]);
    assert!(!path.exists());
    assert!(snapshot(&tree) == original);
}

fn missing_library_does_not_break_a_working_program(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    wrap(&dir, target, &[]);
    let before = details(&tree);
    let report = dir.wrap_for(target, &tree.join("main"), &[]);
    let missing = Refusal::LibrariesMissing(Some(Method::Stub));
    assert_eq!(*reason(&report, Status::Failed), missing.into());
    assert_eq!(report.missing(true).len(), 2);
    assert!(details(&tree) == before);
}

fn a_program_that_replaced_itself_is_wrapped_again(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "app/main", MAIN, &[]);
    wrapped(&dir.wrap_for(target, &main, &[]));
    assert_eq!(condition(&main), Condition::Wrapped);
    let update = dir.compile(
        target,
        "app/update",
        "int main(void) { return 7; }",
        &["-g"],
    );
    fs::rename(&update, &main).unwrap();
    let new = fs::read(&main).unwrap();
    assert_eq!(condition(&main), Condition::Stale);
    wrapped(&dir.wrap_for(target, &main, &[]));
    assert_eq!(condition(&main), Condition::Wrapped);
    restore(&[main.to_str().unwrap()]);
    assert_eq!(fs::read(&main).unwrap(), new);

    // The new version is not wrapped, and the old sidecar is removed.
    wrapped(&dir.wrap_for(target, &main, &[]));
    fs::write(&main, &new).unwrap();
    assert_eq!(condition(&main), Condition::HalfDone);
    restore(&[main.to_str().unwrap()]);
    assert_eq!(snapshot(&dir.path("app")), [(main, new)]);
}

/// strip keeps the stub, its trailer, and the headers that lead to them. It removes strings that are in no section.
fn stripped_file_keeps_its_stub_and_loses_its_edits(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    let (main, library) = (tree.join("main"), tree.join("libplug.so"));
    let strip = |path: &Path| {
        let mut strip = Command::new(target.compiler().binutil("strip"));
        assert!(strip.arg(path).status().unwrap().success());
    };
    let stripped = dir.path("stripped");
    fs::copy(&main, &stripped).unwrap();
    strip(&stripped);
    wrap(&dir, target, &[]);
    strip(&main);
    strip(&library);
    assert_eq!(condition(&main), Condition::Wrapped);
    let report = restore(&[main.to_str().unwrap()]);
    assert_eq!(only(&report).status, Status::Restored, "{report:#?}");
    assert!(fs::read(&main).unwrap() == fs::read(&stripped).unwrap());
    assert!(!tree.join(".main.wrapbuddy").exists());

    let before = details(&tree);
    assert_eq!(condition(&library), Condition::Changed);
    let report = restore(&[library.to_str().unwrap()]);
    let reason = reason(&report, Status::Failed);
    assert!(
        matches!(reason, Reason::Refusal(Refusal::ChangedSinceEdit(_))),
        "{reason}"
    );
    assert!(details(&tree) == before);
}

fn a_sidecar_that_others_can_write_is_not_put_into_the_file(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    wrap(&dir, target, &[]);
    for name in [".main.wrapbuddy", ".libplug.so.wrapbuddy"] {
        fs::set_permissions(tree.join(name), Permissions::from_mode(0o666)).unwrap();
    }
    let before = details(&tree);
    let report = restore(&[tree.to_str().unwrap()]);
    assert_eq!(report.count(Status::Failed), 2, "{report:#?}");
    let report = wrap(&dir, target, &["--runtime-dependencies", "/x"]);
    assert_eq!(report.count(Status::Failed), 2, "{report:#?}");
    for file in states(&tree) {
        assert_eq!(file.state, Condition::Untrusted, "{file:?}");
    }
    assert!(details(&tree) == before);
}

#[test]
fn a_copy_takes_the_place_of_a_running_program() {
    let dir = TestDir::new();
    let source = "#include <unistd.h>\nint main(void) { write(1, \"r\", 1); pause(); return 0; }";
    let main = dir.compile(Arch::X86_64, "app/main", source, &[]);
    fs::set_permissions(&main, Permissions::from_mode(0o2751)).unwrap();
    xattr::set(&main, "user.note", b"kept").unwrap();
    // A hole at the end of the file.
    let file = fs::File::options().write(true).open(&main).unwrap();
    file.set_len(8 << 20).unwrap();
    drop(file);
    let original = fs::read(&main).unwrap();
    let mut running = Command::new(&main).stdout(Stdio::piped()).spawn().unwrap();
    running
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();

    let inode = fs::metadata(&main).unwrap().ino();
    let report = dir.wrap(&[&"--paths", &main, &"--replace"]);
    wrapped(&report);
    let metadata = fs::metadata(&main).unwrap();
    assert_ne!(metadata.ino(), inode, "the running file was written to");
    assert_eq!(metadata.mode() & 0o7777, 0o2751);
    assert!(metadata.blocks() < 1024, "the hole was filled");
    assert_eq!(
        xattr::get(&main, "user.note").unwrap().as_deref(),
        Some(&b"kept"[..])
    );
    assert_eq!(condition(&main), Condition::Wrapped);
    running.kill().unwrap();
    running.wait().unwrap();
    restore(&[main.to_str().unwrap()]);
    assert!(fs::read(&main).unwrap() == original);
    assert_eq!(fs::read_dir(dir.path("app")).unwrap().count(), 1);

    // Another name would keep the old content.
    fs::hard_link(&main, dir.path("app/name")).unwrap();
    let mut running = Command::new(&main).stdout(Stdio::piped()).spawn().unwrap();
    running
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();
    let report = dir.wrap(&[&"--paths", &main, &"--replace"]);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(refusal(&report), WriteFailure::RunningWithOtherNames.into());
}

fn restore_removes_links_next_to_a_library(target: Arch) {
    let dir = TestDir::new();
    let tree = tree(&dir, target);
    let original = details(&tree);
    // A search path of this length does not fit anywhere.
    let mut deep = dir.path("deep");
    fs::create_dir(&deep).unwrap();
    for _ in 0..16 {
        deep.push("d".repeat(240));
    }
    fs::create_dir_all(&deep).unwrap();
    for name in ["foo", "bar"] {
        let library = format!("lib{name}.so.1");
        symlink(
            dir.path(&format!("{name}/lib/{library}")),
            deep.join(&library),
        )
        .unwrap();
    }
    let library = tree.join("libplug.so");
    let report = dir.wrap_for(target, &library, &[&"--libs", &deep]);
    assert_eq!(only(&report).status, Status::Edited, "{report:#?}");
    let links = tree.join(".libplug.so.wrapbuddy.d");
    let names: Vec<_> = fs::read_dir(&links)
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert_eq!(names, ["libbar.so.1"]);
    restore(&[library.to_str().unwrap()]);
    assert!(!links.exists());
    assert!(details(&tree) == original);
}

fn two_names_are_restored_once(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "app/main", MAIN, &[]);
    let original = fs::read(&main).unwrap();
    fs::hard_link(&main, dir.path("app/name")).unwrap();
    let tree = dir.path("app");
    dir.wrap_for(target, &tree, &[]);
    let report = restore(&[tree.to_str().unwrap()]);
    assert_eq!(report.count(Status::Restored), 1, "{report:#?}");
    assert_eq!(report.count(Status::Skipped), 1, "{report:#?}");
    assert_eq!(fs::read(&main).unwrap(), original);
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 2);
}

#[test]
fn no_directory_of_links_is_made_for_no_links() {
    let dir = TestDir::new();
    let main = dir.compile(
        Arch::X86_64,
        "app/main",
        MAIN,
        &["-nostdlib", "-Wl,-e,main"],
    );
    let original = details(&dir.path("app"));
    // The program needs no library, and a search path of this length does not fit anywhere.
    let deep = format!("/x{}", "/a-long-name".repeat(600));
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--strategy",
        &"inplace",
        &"--runtime-dependencies",
        &deep,
    ]);
    let text = reason(&report, Status::Failed).to_string();
    assert!(text.contains("no library to link to"), "{text}");
    assert!(details(&dir.path("app")) == original);
    assert_eq!(fs::read_dir(dir.path("app")).unwrap().count(), 1);
}

#[test]
fn runs_on_the_same_tree_wait_for_each_other() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "app/main", MAIN, &[]);
    let tree = dir.path("app");
    let held = fs::File::open(&tree).unwrap();
    held.lock().unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| dir.wrap(&[&"--paths", &tree, &"-q"]));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(condition(&main), Condition::Original);
        assert!(!run.is_finished());
        held.unlock().unwrap();
        wrapped(&run.join().unwrap());
    });

    // For different trees, the file itself is locked.
    let held = fs::File::open(&main).unwrap();
    held.lock().unwrap();
    let report = restore(&[main.to_str().unwrap()]);
    let text = reason(&report, Status::Failed).to_string();
    let this = format!("PID {}, of the user", std::process::id());
    assert!(text.contains(&this), "{text}");
    assert_eq!(condition(&main), Condition::Wrapped);
}
