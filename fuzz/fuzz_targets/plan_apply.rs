//! Wraps an arbitrary file, wraps it again, and restores it. A refused file is unchanged. A restored file is the original bit for
//! bit, with its mode and time, and without other files next to it.
//!
//! The last four bytes of the input choose the settings, the rest is the file.
#![no_main]

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use wrap_buddy::commands::Command;
use wrap_buddy::commands::wrap::wrap;
use wrap_buddy::plan::outcome::{FileReport, Status};
use wrap_buddy::report::Reporter;

thread_local! {
    static TEST_DIR: OnceCell<TestDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((file, &settings)) = bytes.split_last_chunk::<4>() {
        TEST_DIR.with(|dir| dir.get_or_init(TestDir::new).test(file, settings));
    }
});

/// A directory with dynamic linkers, loaders, and the file in `app`.
struct TestDir {
    directory: TempDir,
    interpreters: Vec<PathBuf>,
}

/// Content, mode and time of modification.
type Details = (Vec<u8>, u32, SystemTime);

impl TestDir {
    fn new() -> Self {
        let directory = fuzz::directory();
        for name in ["app", "lib"] {
            fs::create_dir(directory.path().join(name)).expect("a fresh directory");
        }
        let interpreters = fuzz::make_linkers(directory.path());
        Self {
            directory,
            interpreters,
        }
    }

    fn test(&self, bytes: &[u8], [choice, mode, damage_at, damage]: [u8; 4]) {
        let app = self.directory.path().join("app");
        let path = app.join("program");
        let _ = fs::remove_dir_all(&app);
        fs::create_dir(&app).expect("it was removed");
        fs::write(&path, bytes).expect("a file in memory");
        let mode = 0o400 | u32::from(mode) << 4 & 0o4000 | u32::from(mode) & 0o777;
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        let file = File::open(&path).expect("its owner may read it");
        file.set_modified(time).expect("it is ours");
        drop(file);

        let original = details(&path);
        let first = self.wrap(&path, choice);
        match first.status {
            Status::Wrapped | Status::Edited => {}
            Status::Skipped | Status::Failed => {
                assert!(first.reason.is_some());
                assert!(details(&path) == original, "refused, and changed");
                assert_eq!(names(&app), ["program"], "refused, and not cleaned up");
                return;
            }
            status => panic!("{status:?} of a file that was to be wrapped"),
        }
        let wrapped = fs::read(&path).expect("it is there");
        assert_eq!(wrapped.len(), bytes.len(), "its length has changed");
        if damage != 0 {
            self.use_damaged_sidecar(&path, choice, damage_at, damage);
            return;
        }
        let again = self.wrap(&path, choice);
        assert_eq!(again.status, Status::Skipped, "{:?}", again.reason);
        assert!(fs::read(&path).expect("it is there") == wrapped);

        let restored = restore(&path);
        assert_eq!(restored.status, Status::Restored, "{:?}", restored.reason);
        assert!(details(&path) == original, "restored, and not the original");
        let left: Vec<OsString> = names(&app);
        // A relocatable program without a loader gets one next to it.
        let is_known = |name: &OsString| name == "program" || is_loader(name);
        assert!(left.iter().all(is_known), "{left:?} is left");
    }

    /// A sidecar with changed content and a valid checksum may be trusted, because the change cannot be detected. It causes neither
    /// a panic nor a change of the file's length.
    fn use_damaged_sidecar(&self, path: &Path, choice: u8, at: u8, damage: u8) {
        let sidecar = path.with_file_name(".program.wrapbuddy");
        let mut bytes = fs::read(&sidecar).expect("a wrapped file has a sidecar");
        let len = fs::metadata(path).expect("it is there").len();
        let at = usize::from(at) * bytes.len() / 256;
        if damage >= 0xf0 {
            // A 64-bit number that is too large for any field.
            bytes
                .iter_mut()
                .skip(at & !7)
                .take(8)
                .for_each(|byte| *byte = damage | 0xf);
        } else {
            let changed = bytes.iter_mut().skip(at).take(1 + usize::from(damage % 4));
            changed.for_each(|byte| *byte ^= damage);
        }
        fuzz::fix_checksum(&mut bytes);
        fs::write(&sidecar, bytes).expect("it is ours");
        self.wrap(path, choice);
        restore(path);
        assert_eq!(fs::metadata(path).expect("it is there").len(), len);
    }

    fn wrap(&self, path: &Path, choice: u8) -> FileReport {
        let directory = self.directory.path();
        let mut arguments = vec![OsString::from("wrap-buddy"), "-q".into(), "-j1".into()];
        arguments.extend(["--force", "--ignore-missing", "*", "--paths"].map(OsString::from));
        arguments.push(path.into());
        let strategy = ["stub", "inplace", "auto"][usize::from(choice % 3)];
        arguments.extend(["--strategy", strategy].map(OsString::from));
        for interpreter in &self.interpreters {
            arguments.extend(["--interpreter".into(), interpreter.into()]);
        }
        let flag = |bit: u8| choice >> bit & 1 == 1;
        if flag(7) {
            arguments.extend(["--relocatable", "--allow-outside"].map(OsString::from));
        }
        if flag(6) {
            arguments.extend(["--needed", "libfoo.so", "libbar.so.1"].map(OsString::from));
        }
        if flag(5) {
            let long = directory.join("a/directory/that/is/there/or/is/not/".repeat(5));
            arguments.extend(["--runtime-dependencies".into(), "/x".into(), long.into()]);
        } else if flag(4) {
            arguments.extend([
                "--runtime-dependencies".into(),
                directory.join("lib").into(),
            ]);
        }
        if !(flag(3) && flag(7)) {
            let loaders = directory.join("loaders");
            arguments.extend(["--loader-dir-path".into(), loaders.into()]);
        }
        let Command::Wrap(options) = read(arguments) else {
            panic!("not a command to wrap");
        };
        let report = wrap(
            &options,
            stages::all(),
            stages::MISSING,
            &Reporter::default(),
        )
        .expect("it can start");
        only(report.files)
    }
}

fn restore(path: &Path) -> FileReport {
    let words = [
        "wrap-buddy".as_ref(),
        "restore".as_ref(),
        "-q".as_ref(),
        "-j1".as_ref(),
    ];
    let words = words.into_iter().chain([path.as_os_str()]);
    let Command::Restore(options) = read(words.map(OsStr::to_owned)) else {
        panic!("not a command to restore");
    };
    only(
        wrap_buddy::commands::restore::restore(&options, stages::all(), &Reporter::default())
            .expect("it can start")
            .files,
    )
}

fn read(words: impl IntoIterator<Item = OsString>) -> Command {
    wrap_buddy::cli::read(words).expect("a command line that makes sense")
}

fn only(files: Vec<FileReport>) -> FileReport {
    let mut files = files.into_iter();
    let file = files.next().expect("a file named is reported on");
    assert!(files.next().is_none(), "of one file, two were reported on");
    file
}

fn details(path: &Path) -> Details {
    let metadata = fs::metadata(path).expect("it is there");
    let content = fs::read(path).expect("its owner may read it");
    let time = metadata.modified().expect("Linux has it");
    (content, metadata.mode(), time)
}

fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).expect("it is there");
    entries
        .map(|entry| entry.expect("it can be read").file_name())
        .collect()
}

fn is_loader(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b".loader-")
}
