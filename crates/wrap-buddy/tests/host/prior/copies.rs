//! Copies of wrapped programs, and programs made by wrapped ones.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use e2e::check::entry_offset;
use wrap_buddy::commands::status::Condition;
use wrap_buddy::plan::outcome::Status;

use super::*;
use crate::lifecycle::condition;

e2e::architectures!(
    a_copy_gets_a_sidecar_of_its_own,
    a_copy_whose_sidecar_is_gone,
    a_program_written_by_a_wrapped_one,
);

/// `app/main`, wrapped, and a copy of it, `copies/copy`.
fn copied(dir: &TestDir, target: Arch) -> (PathBuf, PathBuf, Vec<u8>) {
    let main = dir.walk_through(target, &[]);
    let original = fs::read(&main).unwrap();
    wrapped(&wrap(dir, target, &main, &[]));
    let copy = dir.path("copies/copy");
    fs::create_dir(dir.path("copies")).unwrap();
    fs::copy(&main, &copy).unwrap();
    (main, copy, original)
}

fn a_copy_gets_a_sidecar_of_its_own(target: Arch) {
    let dir = TestDir::new();
    let (main, copy, original) = copied(&dir, target);
    let first = (
        fs::read(&main).unwrap(),
        fs::read(sidecar_path(&main)).unwrap(),
    );
    assert_eq!(condition(&copy), Condition::Wrapped);
    let report = wrap(&dir, target, &copy, &["--runtime-dependencies", "/x"]);
    let plan = wrapped(&report);
    assert_eq!(
        plan.settings_changed.len(),
        1,
        "{:?}",
        plan.settings_changed
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("now has its own")),
        "{plan:#?}"
    );
    let status = states(&copy).remove(0);
    assert_eq!(status.sidecar, Some(sidecar_path(&copy)));
    assert!(status.search_path.unwrap().contains("/x"));
    assert!(
        (
            fs::read(&main).unwrap(),
            fs::read(sidecar_path(&main)).unwrap()
        ) == first
    );
    // The copy does not need the other sidecar any more.
    fs::remove_file(sidecar_path(&main)).unwrap();
    fs::remove_file(&main).unwrap();
    let again = wrap(&dir, target, &copy, &["--runtime-dependencies", "/x"]);
    assert_eq!(*reason(&again, Status::Skipped), SkipReason::Wrapped.into());
    restore(&[copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == original);
    assert!(!sidecar_path(&copy).exists());

    // Another name of the same file is not a copy.
    wrapped(&wrap(&dir, target, &copy, &[]));
    let name = dir.path("app/name");
    fs::hard_link(&copy, &name).unwrap();
    let before = snapshot(&dir.root);
    let report = wrap(&dir, target, &name, &["--runtime-dependencies", "/x"]);
    let text = reason(&report, Status::Skipped).to_string();
    assert!(
        text.contains("hard link of") && text.contains("copies/copy"),
        "{text}"
    );
    assert!(snapshot(&dir.root) == before);
}

fn a_copy_whose_sidecar_is_gone(target: Arch) {
    let dir = TestDir::new();
    let (main, copy, original) = copied(&dir, target);
    let wrapped_copy = fs::read(&copy).unwrap();
    // The program from which it was copied was restored, or wrapped with another stub: the original bytes are known.
    for more in [None, Some(["--self-contained"])] {
        restore(&[main.to_str().unwrap()]);
        if let Some(more) = more {
            wrapped(&wrap(&dir, target, &main, &more));
        }
        fs::write(&copy, &wrapped_copy).unwrap();
        let status = states(&copy).remove(0);
        assert_eq!(status.state, Condition::Orphan);
        let advice = status.advice.unwrap();
        assert!(advice.contains("has its original bytes"), "{advice}");
        restore(&[copy.to_str().unwrap()]);
        assert!(fs::read(&copy).unwrap() == original);
        fs::write(&copy, &wrapped_copy).unwrap();
        wrapped(&wrap(&dir, target, &copy, &[]));
        assert_eq!(condition(&copy), Condition::Wrapped);
        restore(&[copy.to_str().unwrap()]);
        assert!(fs::read(&copy).unwrap() == original);
    }
    // No bytes are taken from another program. The stub is not at the entry point on every architecture.
    restore(&[main.to_str().unwrap()]);
    let file = fs::File::options().write(true).open(&main).unwrap();
    file.write_all_at(&[0xf4], entry_offset(&original) as u64 + 100)
        .unwrap();
    drop(file);
    fs::write(&copy, &wrapped_copy).unwrap();
    let texts = [
        reason(&restore(&[copy.to_str().unwrap()]), Status::Failed).to_string(),
        reason(&wrap(&dir, target, &copy, &[]), Status::Failed).to_string(),
        states(&copy).remove(0).advice.unwrap(),
    ];
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
    assert!(texts[0].contains("put it back"), "{texts:#?}");
    assert!(fs::read(&copy).unwrap() == wrapped_copy);
}

/// As with sbcl's save-lisp-and-die: the running executable, and data after it.
fn a_program_written_by_a_wrapped_one(target: Arch) {
    let dir = TestDir::new();
    let (main, _, original) = copied(&dir, target);
    let payload = vec![b'p'; 10_000];
    let written = dir.path("copies/written");
    let with = |program: &[u8]| [program, &payload[..]].concat();
    let program = fs::read(&main).unwrap();
    fs::write(&written, with(&program)).unwrap();
    let status = states(&written).remove(0);
    assert_eq!(status.state, Condition::Wrapped);
    assert_eq!(status.sidecar, Some(sidecar_path(&main)));
    let report = restore(&[written.to_str().unwrap()]);
    assert_eq!(only(&report).status, Status::Restored, "{report:#?}");
    assert!(fs::read(&written).unwrap() == with(&original));
    assert!(sidecar_path(&main).exists());

    fs::write(&written, with(&program)).unwrap();
    let modified = fs::metadata(&written).unwrap().mtime();
    wrapped(&wrap(&dir, target, &written, &[]));
    assert_eq!(
        states(&written).remove(0).sidecar,
        Some(sidecar_path(&written))
    );
    fs::remove_file(sidecar_path(&main)).unwrap();
    let again = wrap(&dir, target, &written, &[]);
    assert_eq!(*reason(&again, Status::Skipped), SkipReason::Wrapped.into());
    restore(&[written.to_str().unwrap()]);
    assert!(fs::read(&written).unwrap() == with(&original));
    assert!(fs::metadata(&written).unwrap().mtime() >= modified);
}
