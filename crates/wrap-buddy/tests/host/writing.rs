//! Writing: modes, files in use, and runs that were stopped.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use sidecar::Sidecar;
use wrap_buddy::commands::wrap::human;
use wrap_buddy::plan::outcome::Status;
use wrap_buddy::report::Output;
use wrap_buddy::report::Reporter;

use crate::fixture::*;

const MAIN: &str = "int main(void) { return 0; }";

e2e::architectures!(
    modes_are_put_back,
    file_capabilities_are_put_back,
    set_id_programs_are_not_made_relocatable,
    set_id_programs_are_not_made_self_contained,
    set_id_programs_do_not_trust_files_that_others_can_change,
    a_stopped_run_is_completed,
    a_stub_half_written_is_completed,
    a_stub_without_its_sidecar_is_never_taken_for_the_original,
    signed_and_sealed_files_are_left_alone,
    a_hole_stays_a_hole,
);

#[test]
fn a_dry_run_writes_nothing() {
    let dir = TestDir::new();
    dir.walk_through(Arch::X86_64, &[]);
    let before = snapshot(&dir.root);
    let more = ["--dry-run", "--relocatable", "--allow-outside"];
    let report = dir.wrap_with_libs(Arch::X86_64, &dir.path("app"), &more);
    let file = only(&report);
    assert_eq!(file.status, Status::WouldWrap);
    assert!(file.plan.as_ref().unwrap().edits.len() >= 2);
    assert!(snapshot(&dir.root) == before);
}

fn modes_are_put_back(target: Arch) {
    let dir = TestDir::new();
    for mode in [0o555, 0o4755, 0o2711, 0o6555] {
        let main = dir.compile(target, "main", MAIN, &[]);
        fs::set_permissions(&main, Permissions::from_mode(mode)).unwrap();
        let report = dir.wrap_for(target, &main, &[]);
        let plan = wrapped(&report);
        assert_eq!(fs::metadata(&main).unwrap().mode() & 0o7777, mode);
        let sidecar = fs::metadata(&plan.sidecar_path).unwrap().mode() & 0o7777;
        assert_eq!(sidecar & 0o111, 0);
        assert_eq!(
            sidecar & 0o444,
            0o444,
            "each user who may run it can read its sidecar"
        );
        fs::remove_file(&main).unwrap();
    }
}

fn file_capabilities_are_put_back(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    // cap_net_raw=ep in the format of VFS_CAP_REVISION_2.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let name = "security.capability";
    if let Err(error) = xattr::set(&main, name, &capability) {
        return skipped(&format!("a file capability cannot be set: {error}"));
    }
    let report = dir.wrap_for(target, &main, &[]);
    wrapped(&report);
    let now = xattr::get(&main, name).unwrap();
    assert_eq!(now.as_deref(), Some(&capability[..]));
    assert!(only(&report).notes.is_empty());
}

fn set_id_programs_are_not_made_relocatable(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    fs::set_permissions(&main, Permissions::from_mode(0o4755)).unwrap();
    let before = snapshot(&dir.root);
    let report = dir.wrap_for(target, &main, &[&"--relocatable"]);
    assert_eq!(refusal(&report), NotForPrivileged::Relocatable.into());
    assert!(snapshot(&dir.root) == before);
}

/// Users who can write to the program's directory would choose the code that runs first.
fn set_id_programs_are_not_made_self_contained(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&main, Permissions::from_mode(mode)).unwrap();
        let before = snapshot(&dir.root);
        let report = dir.wrap_for(target, &main, &[&"--self-contained"]);
        assert_eq!(refusal(&report), NotForPrivileged::SelfContained.into());
        assert!(snapshot(&dir.root) == before);
    }
}

fn set_id_programs_do_not_trust_files_that_others_can_change(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    fs::set_permissions(&main, Permissions::from_mode(0o4755)).unwrap();
    let weak = dir.root.join("weak");
    fs::create_dir(&weak).unwrap();
    fs::set_permissions(&weak, Permissions::from_mode(0o777)).unwrap();
    let before = snapshot(&dir.root);
    let report = dir.wrap_for(target, &main, &[&"--loader-dir-path", &weak]);
    let refusal = refusal(&report);
    let part = match &refusal {
        Refusal::Privileged(NotForPrivileged::Untrusted { part, .. }) => part,
        other => panic!("{other}"),
    };
    assert_eq!(*part, weak);
    assert!(snapshot(&dir.root) == before);
}

#[test]
fn a_running_program_is_left_alone() {
    let dir = TestDir::new();
    let source = "#include <unistd.h>\nint main(void) { write(1, \"r\", 1); pause(); return 0; }";
    let main = dir.compile(Arch::X86_64, "main", source, &[]);
    let before = snapshot(&dir.root);
    let mut running = Command::new(&main)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(running.stdout.as_mut().unwrap(), &mut byte).unwrap();
    let report = dir.wrap(&[&"--paths", &main]);
    let dry = dir.wrap(&[&"--paths", &main, &"--dry-run"]);
    let replaced = dir.wrap(&[&"--paths", &main, &"--dry-run", &"--replace"]);
    running.kill().unwrap();
    running.wait().unwrap();
    let refused = "cannot be written: it is running; stop it first, or pass --replace";
    assert_eq!(reason(&report, Status::Failed).to_string(), refused);
    assert_eq!(reason(&dry, Status::Failed).to_string(), refused);
    assert_eq!(only(&replaced).status, Status::WouldWrap);
    assert!(snapshot(&dir.root) == before);
    let after = dir.wrap(&[&"--paths", &main, &"--dry-run"]);
    assert_eq!(only(&after).status, Status::WouldWrap);
}

#[test]
fn a_relocatable_program_needs_nothing_from_outside_of_its_tree() {
    let dir = TestDir::new();
    // The system's dynamic linker.
    let main = dir.walk_through(Arch::X86_64, &[]);
    let before = snapshot(&dir.root);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    let wrap = |more: &[&dyn AsRef<OsStr>]| {
        let all: [&dyn AsRef<OsStr>; 7] = [
            &"--paths",
            &main,
            &"--relocatable",
            &"--self-contained",
            &"--libs",
            &of_foo,
            &of_bar,
        ];
        dir.wrap(&[&all[..], more].concat())
    };
    let report = wrap(&[]);
    assert!(report.failed());
    let file = only(&report);
    let linker = Path::new(Arch::X86_64.interpreter());
    assert_eq!(file.outside, [linker]);
    let mut errors = Vec::new();
    human::write(&report, Output::default(), &mut Vec::new(), &mut errors).unwrap();
    let text = plain(errors);
    for part in [
        "--relocatable: 1 file is outside of ",
        &format!("1 file is unchanged:\n  {}\n", linker.display()),
        "cp -L",
        "--allow-outside",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(snapshot(&dir.root) == before);

    // Libraries and directories as well.
    let linker = dir.path("foo/ld-linux-x86-64.so.2");
    fs::copy(Arch::X86_64.interpreter(), &linker).unwrap();
    let elsewhere = TestDir::new();
    let library = elsewhere.path("libbar.so.1");
    fs::rename(of_bar.join("libbar.so.1"), &library).unwrap();
    let libs: [&dyn AsRef<OsStr>; 6] = [
        &"--interpreter",
        &linker,
        &"--libs",
        &elsewhere.root,
        &"--runtime-dependencies",
        &"/usr/lib",
    ];
    let report = wrap(&libs);
    assert_eq!(
        only(&report).outside,
        [library.as_path(), Path::new("/usr/lib")]
    );
    let allowed = [&libs[..], &[&"--allow-outside"]].concat();
    wrapped(&wrap(&allowed));
}

/// Undoes the edits of a wrapped program from `from` on, as if the run had been stopped before them.
fn stopped_before(dir: &TestDir, target: Arch, from: usize) {
    let main = dir.compile(target, "main", MAIN, &[]);
    let original = fs::read(&main).unwrap();
    let report = dir.wrap_for(target, &main, &[]);
    let plan = wrapped(&report);
    let complete = snapshot(&dir.root);
    let file = fs::File::options().write(true).open(&main).unwrap();
    for edit in &plan.edits[from..] {
        file.write_all_at(&edit.original, edit.offset).unwrap();
    }
    drop(file);
    let report = dir.wrap_for(target, &main, &[]);
    let again = wrapped(&report);
    assert_eq!(again.edits[0].original, plan.edits[0].original);
    assert!(
        snapshot(&dir.root) == complete,
        "stopped before edit {from}"
    );
    fs::write(&main, original).unwrap();
}

fn a_stopped_run_is_completed(target: Arch) {
    for from in [0, 1] {
        stopped_before(&TestDir::new(), target, from);
    }
}

fn a_stub_half_written_is_completed(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    let report = dir.wrap_for(target, &main, &[]);
    let plan = wrapped(&report);
    let complete = snapshot(&dir.root);
    let file = fs::File::options().write(true).open(&main).unwrap();
    let slot = &plan.edits[0];
    file.write_all_at(&slot.original[50..], slot.offset + 50)
        .unwrap();
    let interp = plan.edits.last().unwrap();
    file.write_all_at(&interp.original, interp.offset).unwrap();
    drop(file);
    let report = dir.wrap_for(target, &main, &[]);
    let notes = &wrapped(&report).notes;
    assert!(
        notes.iter().any(|note| note.contains("stopped")),
        "{notes:?}"
    );
    assert!(snapshot(&dir.root) == complete);
}

fn a_stub_without_its_sidecar_is_never_taken_for_the_original(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "main", MAIN, &[]);
    let report = dir.wrap_for(target, &main, &[]);
    let plan = wrapped(&report);
    let interp = plan.edits.last().unwrap();
    let file = fs::File::options().write(true).open(&main).unwrap();
    file.write_all_at(&interp.original, interp.offset).unwrap();
    drop(file);
    fs::write(&plan.sidecar_path, "garbage").unwrap();
    let before = snapshot(&dir.root);
    let report = dir.wrap_for(target, &main, &[]);
    let why = reason(&report, Status::Failed);
    let is_unknown = matches!(
        why,
        Reason::Refusal(Refusal::Unusable(Unusable::UnknownSidecar { .. }))
    );
    assert!(is_unknown, "{why}");
    assert!(snapshot(&dir.root) == before);
    fs::remove_file(&plan.sidecar_path).unwrap();
    let report = dir.wrap_for(target, &main, &[]);
    let why = reason(&report, Status::Failed);
    assert!(
        matches!(why, Reason::Refusal(Refusal::Unusable(Unusable::Orphan(_)))),
        "{why}"
    );
}

#[test]
fn more_files_than_can_be_open_at_a_time() {
    // Of this process, which runs only this test.
    setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "tree/main", MAIN, &[]);
    for n in 0..300 {
        fs::copy(&main, dir.path(&format!("tree/copy{n}"))).unwrap();
    }
    let report = dir.wrap(&[&"--paths", &dir.path("tree"), &"-j", &"3"]);
    assert_eq!(report.count(Status::Wrapped), 301);
    let again = dir.wrap(&[&"--paths", &dir.path("tree")]);
    assert_eq!(again.count(Status::Skipped), 301);
}

#[test]
fn a_relocatable_program_without_a_loader_directory_is_self_contained() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "app/main", MAIN, &[]);
    let arguments = [
        "wrap-buddy",
        "--relocatable",
        "--allow-outside",
        "--paths",
        main.to_str().unwrap(),
    ];
    let cli = wrap_options(arguments);
    let report =
        wrap_buddy::commands::wrap::wrap(&cli, &stages(), &[], &Reporter::default()).unwrap();
    assert!(report.installed.is_empty());
    let plan = wrapped(&report);
    assert_eq!(stub(plan).loader, None);
    let file = fs::read(&plan.sidecar_path).unwrap();
    let sidecar = Sidecar::parse(&file).unwrap();
    assert_eq!(
        sidecar.loader(),
        Ok(Some(&loader_image(Arch::X86_64.machine())[..]))
    );
    // Only its sidecar is next to it.
    assert_eq!(fs::read_dir(dir.path("app")).unwrap().count(), 2);
}

#[test]
fn a_loader_that_does_not_fit_is_refused() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "main", MAIN, &[]);
    let mut image = loader_image(Arch::X86_64.machine());
    dir.write("loaders/loader.bin", &image);
    dir.write("loaders/loader.bin", loader_image(Arch::Aarch64.machine()));
    let report = dir.wrap(&[&"--paths", &main]);
    let text = reason(&report, Status::Failed).to_string();
    assert!(
        text.contains("loader.bin: is a loader for another architecture"),
        "{text}"
    );
    image.pop();
    dir.write("loaders/loader.bin", &image);
    let report = dir.wrap(&[&"--paths", &main]);
    let text = reason(&report, Status::Failed).to_string();
    assert!(text.contains("was cut short"), "{text}");
}

/// Runs the tool as an ordinary user who owns `tree`: as the caller, if that is one.
fn run_as_owner(tree: &Path, arguments: &[&str]) -> std::process::Output {
    const USER: u32 = 12345;
    let mut command = Command::new(env!("CARGO_BIN_EXE_wrap-buddy"));
    command.args(arguments).current_dir("/");
    if nix::unistd::geteuid().is_root() {
        for entry in walkdir::WalkDir::new(tree) {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(USER), Some(USER)).unwrap();
        }
        // Other users may not enter cargo's directory.
        let tool = tree.join("tool");
        fs::copy(env!("CARGO_BIN_EXE_wrap-buddy"), &tool).unwrap();
        command = Command::new(tool);
        command.args(arguments).current_dir("/").uid(USER).gid(USER);
    }
    command.output().unwrap()
}

#[test]
fn an_owner_wraps_read_only_files_in_read_only_directories() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "app/main", MAIN, &[]);
    let (tree, loaders) = (dir.path("app"), dir.path("loaders"));
    fs::create_dir(&loaders).unwrap();
    for (path, mode) in [(&main, 0o555), (&tree, 0o555), (&dir.root, 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let original = snapshot(&tree);
    let (tree_name, loaders) = (tree.to_str().unwrap(), loaders.to_str().unwrap());
    let wrap = [
        "--force",
        "--paths",
        tree_name,
        "--loader-dir-path",
        loaders,
    ];
    let modes = || [&main, &tree].map(|path| fs::metadata(path).unwrap().mode() & 0o7777);
    for arguments in [&wrap[..], &["restore", tree_name]] {
        let output = run_as_owner(&dir.root, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        assert_eq!(modes(), [0o555, 0o555], "{arguments:?}");
    }
    assert!(snapshot(&tree) == original);

    // Another user's file is not changed, and one line reports that.
    if nix::unistd::geteuid().is_root() {
        let tool = dir.path("tool");
        for path in [&main, &tree] {
            std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
        }
        let output = Command::new(tool)
            .args(wrap)
            .current_dir("/")
            .uid(12345)
            .gid(12345)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let errors: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("error"))
            .collect();
        assert_eq!(errors.len(), 1, "{said}");
        assert!(
            errors[0].ends_with("main: cannot be written: permission denied"),
            "{said}"
        );
        assert!(snapshot(&tree) == original);
    }
}

/// If only the sidecar changes, the program is never made writable, and its seals do not matter.
#[test]
fn other_settings_leave_a_read_only_program_alone() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "app/main", MAIN, &[]);
    let (tree, loaders) = (dir.path("app"), dir.path("loaders"));
    fs::create_dir(&loaders).unwrap();
    for (path, mode) in [(&main, 0o555), (&dir.root, 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let (tree_name, loaders) = (tree.to_str().unwrap(), loaders.to_str().unwrap());
    let wrap = [
        "--force",
        "--paths",
        tree_name,
        "--loader-dir-path",
        loaders,
    ];
    let with =
        |directory: &'static str| [&wrap[..], &["--runtime-dependencies", directory]].concat();
    assert!(run_as_owner(&dir.root, &wrap).status.success());
    let sidecar = dir.path("app/.main.wrapbuddy");
    let first = fs::read(&sidecar).unwrap();

    // A change of its mode would change this time too.
    let times = || {
        let metadata = fs::metadata(&main).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let owner = fs::metadata(&main).unwrap().uid();
    let before = times();
    let copied = dir.path("tool");
    let run = |arguments: &[&str], user: u32| {
        let mut command = Command::new(&copied);
        command.args(arguments).current_dir("/").uid(user).gid(user);
        command.output().unwrap()
    };
    // An ordinary user runs the tool in cargo's directory.
    let output = match nix::unistd::geteuid().is_root() {
        true => run(&with("/x"), owner),
        false => run_as_owner(&dir.root, &with("/x")),
    };
    assert!(output.status.success(), "{output:?}");
    assert_eq!(times(), before);
    let second = fs::read(&sidecar).unwrap();
    assert_ne!(first, second);
    if !nix::unistd::geteuid().is_root() {
        return skipped("a second user id takes root");
    }

    // Other users do not write its sidecar, even if they may write to the directory.
    fs::set_permissions(&tree, Permissions::from_mode(0o777)).unwrap();
    let output = run(&with("/y"), owner + 1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cannot be written: permission denied"),
        "{said}"
    );
    assert_eq!(fs::read(&sidecar).unwrap(), second);

    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&main).status();
    if xattr::set(&main, "security.ima", &[3, 2, 4, 0]).is_ok()
        && chattr("+i").is_ok_and(|status| status.success())
    {
        let output = run(&with("/y"), 0);
        chattr("-i").unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_ne!(fs::read(&sidecar).unwrap(), second);
    }
}

fn signed_and_sealed_files_are_left_alone(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "app/main", MAIN, &[]);
    let before = snapshot(&dir.root);
    // Only root may set it, and not every file system supports it.
    if xattr::set(&main, "security.ima", &[3, 2, 4, 0]).is_ok() {
        let report = dir.wrap_for(target, &main, &[]);
        assert_eq!(refusal(&report), WriteFailure::Signed.into());
        assert!(snapshot(&dir.root) == before);
        xattr::remove(&main, "security.ima").unwrap();
        // The kernel makes a hash itself, and keeps it up to date.
        xattr::set(&main, "security.ima", &[4, 4, 0]).unwrap();
        wrapped(&dir.wrap_for(target, &main, &[]));
        fs::write(&main, &before[0].1).unwrap();
        fs::remove_file(dir.path("app/.main.wrapbuddy")).unwrap();
    }
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&main).status();
    if chattr("+i").is_ok_and(|status| status.success()) {
        let report = dir.wrap_for(target, &main, &[]);
        chattr("-i").unwrap();
        assert_eq!(refusal(&report), WriteFailure::Sealed.into());
        assert!(snapshot(&dir.root) == before);
    }
}

fn a_hole_stays_a_hole(target: Arch) {
    let dir = TestDir::new();
    let main = dir.compile(target, "app/main", MAIN, &[]);
    let file = fs::File::options().write(true).open(&main).unwrap();
    file.set_len(64 << 20).unwrap();
    drop(file);
    wrapped(&dir.wrap_for(target, &main, &[]));
    assert!(fs::metadata(&main).unwrap().blocks() < 1024);
}
