//! Whole runs of the tool: its edits, its sidecars, and the effect of a second run.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use elf_file::{Elf, Source};
use sidecar::InPlace;
use wrap_buddy::plan::Plan;
use wrap_buddy::plan::outcome::{Report, Status};

use super::subjects::{Kind, Layout, LinkDir, MORE, NEEDS, Search};
use crate::fixture::*;

/// A file, and the directories of its libraries.
struct Case<'a> {
    link_dir: &'a LinkDir,
    target: Arch,
    path: PathBuf,
    original: Vec<u8>,
    what: String,
}

/// The arguments of the tool.
struct Given {
    libs: [PathBuf; 2],
    /// For a program: one more library.
    needed: Option<&'static str>,
}

impl Case<'_> {
    fn run(&self, Given { libs, needed }: &Given) -> Report {
        let mut more: Vec<&dyn AsRef<OsStr>> = vec![&"--strategy", &"inplace", &"--libs"];
        more.extend(libs.iter().map(|directory| directory as &dyn AsRef<OsStr>));
        if let Some(needed) = needed {
            more.extend([&"--needed" as &dyn AsRef<OsStr>, needed]);
        }
        let dir = &self.link_dir.dir;
        dir.wrap_for(self.target, &self.path, &more)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap()
    }

    /// Resets the file to its original, without a sidecar or links.
    fn start_again(&self) {
        fs::remove_dir_all(self.directory()).unwrap();
        fs::create_dir(self.directory()).unwrap();
        fs::write(&self.path, &self.original).unwrap();
    }

    /// Runs the tool twice. Returns whether the file was edited.
    fn edits(&self, given: &Given, tally: &mut Tally) -> bool {
        let before = snapshot(self.directory());
        let report = self.run(given);
        let file = only(&report);
        if file.status != Status::Edited {
            let reason = file.reason.as_ref();
            let no_room = reason.is_some_and(|reason| {
                matches!(
                    reason,
                    Reason::Skip(SkipReason::NoSearchPath { .. })
                        | Reason::Refusal(Refusal::NotInPlace(_))
                )
            });
            assert!(no_room, "{}: {reason:?}", self.what);
            assert!(snapshot(self.directory()) == before, "{}", self.what);
            tally.refused += 1;
            return false;
        }
        let plan = edited(&report);
        tally.edited += 1;
        tally.added += plan.resolution.added.len();
        tally.linked += usize::from(plan.links().is_some());
        self.only_what_was_planned(plan, &before);
        self.says_what_was_planned(plan);
        self.can_be_undone();

        let after = snapshot(self.directory());
        let again = self.run(given);
        let reason = reason(&again, Status::Skipped);
        assert_eq!(*reason, SkipReason::Edited.into(), "{}", self.what);
        assert!(snapshot(self.directory()) == after, "{}", self.what);
        true
    }

    fn only_what_was_planned(&self, plan: &Plan, before: &[(PathBuf, Vec<u8>)]) {
        let mut found = before.iter().filter(|(path, _)| *path == self.path);
        let mut expected = found.next().unwrap().1.clone();
        for edit in plan.undo_first.iter().chain(&plan.edits) {
            let place = edit.offset as usize..edit.offset as usize + edit.after.len();
            assert!(expected[place.clone()] == edit.before, "{}", self.what);
            expected[place].copy_from_slice(&edit.after);
        }
        assert!(self.bytes() == expected, "{}", self.what);
    }

    fn says_what_was_planned(&self, plan: &Plan) {
        let elf = Elf::read(&mut Source::open(&self.path).unwrap()).unwrap();
        let search = plan.search.join(OsStr::new(":"));
        let dynamic = elf.dynamic.as_ref().unwrap();
        assert_eq!(dynamic.search_path(), Some(&search), "{}", self.what);
        match plan.links() {
            None => {
                let found = &plan.resolution.found;
                assert!(
                    NEEDS
                        .iter()
                        .all(|need| found.iter().any(|(name, _)| name == need))
                );
            }
            Some(links) => {
                let entry = Path::new("$ORIGIN").join(links.directory.file_name().unwrap());
                assert!(
                    plan.search.iter().any(|one| *one == *entry),
                    "{}",
                    self.what
                );
                for need in NEEDS {
                    let target = fs::read_link(links.directory.join(need)).unwrap();
                    assert!(target.ends_with(need) && target.is_file(), "{}", self.what);
                }
            }
        }
        let mut added = plan.resolution.added.iter();
        assert!(added.all(|added| elf.needed().contains(&added.soname)));
        if let Some((_, interpreter)) = plan.interpreter() {
            assert_eq!(elf.interp.unwrap().path, *interpreter, "{}", self.what);
        }
    }

    fn can_be_undone(&self) {
        let name = self.path.file_name().unwrap().to_string_lossy();
        let sidecar = fs::read(self.path.with_file_name(format!(".{name}.wrapbuddy"))).unwrap();
        let record = InPlace::parse(&sidecar).unwrap();
        let mut bytes = self.bytes();
        for one in record.edits() {
            let place = one.edit.offset as usize..one.edit.end().unwrap() as usize;
            assert!(bytes[place.clone()] == *one.written, "{}", self.what);
            bytes[place].copy_from_slice(one.edit.original);
        }
        assert!(bytes == self.original, "{}: not undone", self.what);
    }
}

#[derive(Debug, Default)]
struct Tally {
    edited: usize,
    refused: usize,
    linked: usize,
    added: usize,
    changed: usize,
}

fn runs(target: Arch) {
    let link_dir = LinkDir::new(target);
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(target.machine()));
    let mut tally = Tally::default();
    let linkers: Vec<Linker> = Linker::installed_for(target).collect();
    for (linker, bits) in linkers
        .into_iter()
        .flat_map(|linker| (0..4).map(move |bits| (linker, bits)))
    {
        let layout = Layout {
            kind: match bits & 1 {
                0 => Kind::Library,
                _ => [Kind::Pie, Kind::Fixed][random.below(2)],
            },
            separate_code: bits & 2 == 0,
            stripped: random.below(2) == 0,
            search: [Search::None, Search::Runpath, Search::Rpath][random.below(3)],
            ..Layout::usual(linker)
        };
        let name = if layout.kind == Kind::Library {
            "app/libsubject.so"
        } else {
            "app/subject"
        };
        let path = link_dir.link(name, &layout);
        let mut case = Case {
            link_dir: &link_dir,
            target,
            original: fs::read(&path).unwrap(),
            path,
            what: String::new(),
        };
        // About as long as paths in a store, much longer, and longer than the room in most files.
        for len in [
            40 + random.below(200),
            300 + random.below(900),
            2000 + random.below(3000),
        ] {
            case.what = format!("{layout:?}, {len} bytes");
            let more = [None, Some(MORE)][random.below(2)];
            let given = |letters: [&str; 2], len: usize, needed| {
                let [first, second] = letters;
                link_dir.library_directory(MORE, len / 3, first);
                let libs = [
                    link_dir.library_directory(NEEDS[0], len / 3, first),
                    link_dir.library_directory(NEEDS[1], len - len / 3, second),
                ];
                Given { libs, needed }
            };
            let some = given(["a", "b"], len, None);
            let others = given(["c", "d"], 30 + random.below(600), more);
            let (some, others) = match random.below(2) {
                0 => (some, others),
                _ => (others, some),
            };
            case.start_again();
            let first = case.edits(&some, &mut tally);
            // With other directories, the file is as if it had been edited only for these, unless they do not fit.
            let second = case.edits(&others, &mut tally);
            let both = case.bytes();
            case.start_again();
            assert_eq!(case.edits(&others, &mut tally), second, "{}", case.what);
            if second {
                assert!(
                    case.bytes() == both,
                    "{}: a trace of the first run",
                    case.what
                );
                tally.changed += usize::from(first);
            }
        }
        fs::remove_dir_all(case.directory()).unwrap();
    }
    assert!(tally.edited > 40 && tally.refused > 3, "{tally:?}");
    assert!(
        tally.linked > 3 && tally.added > 3 && tally.changed > 10,
        "{tally:?}"
    );
}

e2e::architectures!(runs);
