//! ld.so, linkers and other tools on libraries that are edited in place.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wrap_buddy::plan::Plan;
use wrap_buddy::plan::edits::{Visibility, Wanted};
use wrap_buddy::plan::outcome::Status;

use super::subjects::{Kind, Layout, LinkDir, NEEDS, Original, Search};
use crate::fixture::*;

/// The output of a tool, which has to succeed.
fn output(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{command:?}: {out}{errors}");
    out.into_owned()
}

fn shown(tool: &str, option: &str, path: &Path) -> String {
    output(Command::new(tool).arg(option).arg(path))
}

fn edit(link_dir: &LinkDir, path: &Path) -> Plan {
    let libs = &link_dir.dir.root;
    let report = link_dir.dir.wrap(&[&"--paths", &path, &"--libs", libs]);
    edited(&report).clone()
}

#[test]
fn ld_so_finds_a_string_wherever_it_is() {
    let mut visible = 0;
    let mut hidden = 0;
    for target in Arch::ALL {
        let link_dir = LinkDir::new(target);
        for linker in Linker::installed_for(target) {
            let library = link_dir.link("app/libsubject.so", &Layout::usual(linker));
            let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
            assert!(
                !run(target, &main).unwrap().status.success(),
                "found anyway"
            );
            let original = Original::read(&library);
            let search = link_dir.dir.root.as_os_str().as_encoded_bytes();
            let wanted = Wanted {
                search,
                ..Wanted::default()
            };
            let mut last = None;
            for allowed in [Visibility::Listed, Visibility::Unlisted, Visibility::Hidden] {
                let Ok(edited) = original.edit(&wanted, allowed) else {
                    continue;
                };
                if last.replace(edited.bytes.clone()).as_ref() == Some(&edited.bytes) {
                    continue;
                }
                fs::write(&library, &edited.bytes).unwrap();
                let done = run(target, &main).unwrap();
                let errors = String::from_utf8_lossy(&done.stderr);
                assert!(
                    done.status.success(),
                    "{} {linker:?} {allowed:?}: {errors}",
                    target.name()
                );
                *if edited.changes.hidden {
                    &mut hidden
                } else {
                    &mut visible
                } += 1;
            }
            assert!(last.is_some(), "{} {linker:?}: no room", target.name());
        }
    }
    assert!(visible > 3 && hidden > 0, "{visible} {hidden}");
}

#[test]
fn linkers_link_against_an_edited_library() {
    for made_by in Linker::installed() {
        let link_dir = LinkDir::new(Arch::X86_64);
        let library = link_dir.link("app/libsubject.so", &Layout::usual(made_by));
        let link = |linker| link_dir.try_program("linked", "app/libsubject.so", linker);
        // Without a search path, GNU ld does not find the libraries that the library needs.
        let errors = link(Linker::Bfd).unwrap_err();
        assert!(errors.contains("libdep0.so"), "{errors}");
        let plan = edit(&link_dir, &library);
        if is_hidden(&plan) {
            assert_ne!(made_by, Linker::Bfd, "nothing to see");
            continue;
        }
        for linker in Linker::installed() {
            let main = link(linker).unwrap_or_else(|errors| panic!("{linker:?}: {errors}"));
            assert!(
                run(Arch::X86_64, &main).unwrap().status.success(),
                "{linker:?}"
            );
        }
    }
}

fn is_hidden(plan: &Plan) -> bool {
    plan.notes
        .iter()
        .any(|note| note.contains("patchelf and readelf do not"))
}

#[test]
fn patchelf_and_readelf_show_what_is_not_hidden() {
    for target in Arch::ALL {
        let link_dir = LinkDir::new(target);
        for linker in Linker::installed_for(target) {
            let library = link_dir.link("app/libsubject.so", &Layout::usual(linker));
            let interpreter = target.interpreter();
            let report = link_dir.dir.wrap(&[
                &"--paths",
                &library,
                &"--libs",
                &link_dir.dir.root,
                &"--interpreter",
                &interpreter,
            ]);
            let plan = edited(&report);
            let search = plan.search.join(OsStr::new(":"));
            let search = search.to_str().unwrap();
            let by_readelf = shown("readelf", "-dW", &library).contains(&format!("[{search}]"));
            let by_patchelf = shown("patchelf", "--print-rpath", &library).trim_end() == search;
            let visible = !is_hidden(plan);
            assert_eq!(
                (by_readelf, by_patchelf),
                (visible, visible),
                "{} {linker:?}",
                target.name()
            );
        }
    }
}

/// As in some packages: .dynstr is at the end of the file, in a segment of its own.
fn patchelfd(link_dir: &LinkDir, linker: Linker) -> PathBuf {
    let library = link_dir.link("app/libsubject.so", &Layout::usual(linker));
    // Some versions cannot do both at once.
    for change in [["--set-rpath", "$ORIGIN"], ["--add-needed", "libm.so.6"]] {
        output(Command::new("patchelf").args(change).arg(&library));
    }
    library
}

#[test]
fn library_changed_by_patchelf_is_edited() {
    let mut hidden = 0;
    for target in Arch::ALL {
        let link_dir = LinkDir::new(target);
        // patchelf breaks programs linked by gold: they do not start.
        for linker in Linker::installed_for(target).filter(|&linker| linker != Linker::Gold) {
            let library = patchelfd(&link_dir, linker);
            let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
            assert!(
                !run(target, &main).unwrap().status.success(),
                "found anyway"
            );
            let libc = Path::new(target.interpreter()).parent().unwrap();
            let interpreter = target.interpreter();
            let report = link_dir.dir.wrap(&[
                &"--paths",
                &library,
                &"--libs",
                &link_dir.dir.root,
                &libc,
                &"--interpreter",
                &interpreter,
            ]);
            let plan = edited(&report);
            let done = run(target, &main).unwrap();
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(
                done.status.success(),
                "{} {linker:?}: {errors}",
                target.name()
            );
            let search = plan.search.join(OsStr::new(":"));
            let seen = shown("readelf", "-dW", &library).contains(search.to_str().unwrap());
            assert_eq!(seen, !is_hidden(plan), "{} {linker:?}", target.name());
            hidden += usize::from(!seen);
        }
    }
    assert!(hidden > 0, "patchelf left room after .dynstr");
}

#[test]
fn a_stripped_library_works_as_before_and_can_be_edited_again() {
    for linker in Linker::installed() {
        let link_dir = LinkDir::new(Arch::X86_64);
        let library = link_dir.link("app/libsubject.so", &Layout::usual(linker));
        let main = link_dir.program_that_loads("app/libsubject.so", Linker::Bfd);
        let original = Original::read(&library);
        // There is no room for two of these, so the remains of the first must not count as used.
        let len = original.largest(Visibility::Hidden) * 2 / 3;
        let [libs, _] = NEEDS.map(|need| link_dir.library_directory(need, len, "l"));
        let wrap = || link_dir.dir.wrap(&[&"--paths", &library, &"--libs", &libs]);
        let runs = || run(Arch::X86_64, &main).unwrap().status.success();

        edited(&wrap());
        assert!(runs(), "{linker:?}");
        output(Command::new("strip").arg(&library));
        let needed = Original::read(&library).elf.needed().to_vec();
        assert_eq!(needed, original.elf.needed(), "{linker:?}");
        assert!(runs_if_shown(&main, &libs), "{linker:?}: strip broke it");

        let report = wrap();
        let plan = edited(&report);
        assert!(
            plan.links().is_none() && plan.search == [libs.as_os_str()],
            "{linker:?}"
        );
        assert!(
            plan.notes
                .iter()
                .any(|note| note.contains("was rewritten by strip")),
            "{linker:?}"
        );
        assert!(runs(), "{linker:?}: not edited again");
        assert_eq!(*reason(&wrap(), Status::Skipped), SkipReason::Edited.into());
    }
}

/// Whether a program runs with the libraries in LD_LIBRARY_PATH.
fn runs_if_shown(main: &Path, libs: &Path) -> bool {
    let shown = Command::new(main).env("LD_LIBRARY_PATH", libs).output();
    shown.unwrap().status.success()
}

#[test]
fn programs_edited_in_place_run() {
    for target in Arch::ALL {
        let link_dir = LinkDir::new(target);
        // Longer than a system's paths, as in a store.
        let interpreter = link_dir.dir.path(&format!("{}/ld.so", "d".repeat(60)));
        fs::create_dir_all(interpreter.parent().unwrap()).unwrap();
        fs::copy(target.interpreter(), &interpreter).unwrap();
        let libc = Path::new(target.interpreter()).parent().unwrap();
        for (linker, kind) in programs(target) {
            let layout = Layout {
                kind,
                // lld leaves no spare entry, and DT_RELACOUNT only in position-independent programs.
                search: match (linker, kind) {
                    (Linker::Lld, Kind::Fixed) => Search::Runpath,
                    _ => Search::None,
                },
                ..Layout::usual(linker)
            };
            let what = format!("{} {linker:?} {kind:?}", target.name());
            let program = link_dir.link("app/subject", &layout);
            let before = run(target, &program);
            assert!(!before.is_ok_and(|done| done.status.success()), "{what}");
            let report = link_dir.dir.wrap(&[
                &"--paths",
                &program,
                &"--libs",
                &link_dir.dir.root,
                &libc,
                &"--interpreter",
                &interpreter,
                &"--strategy",
                &"inplace",
            ]);
            edited(&report);
            let done = run(target, &program).unwrap();
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{what}: {errors}");

            // The program header, and the section that debuggers use.
            let shown = shown("readelf", "-lW", &program);
            let line = format!("interpreter: {}]", interpreter.display());
            assert!(shown.contains(&line), "{what}: {shown}");
            let alone = |line: &str| line.split_whitespace().skip(1).eq([".interp"]);
            assert!(shown.lines().any(alone), "{what}: {shown}");
        }
    }
}

fn programs(target: Arch) -> impl Iterator<Item = (Linker, Kind)> {
    Linker::installed_for(target).flat_map(|linker| [(linker, Kind::Pie), (linker, Kind::Fixed)])
}
