//! Looks at one file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use object::elf;

use super::diagnosis::{Diagnosis, Next, Problem, Trouble};
use super::libraries::Look;
use super::subject::Subject;
use super::{Desk, FileCheck, Kind, State, kernel, script, solve};
use crate::arch::{self, Arch};
use crate::bytes;
use crate::inspect::{Identity, Source, identify};
use crate::scan::{Candidate, io_reason};

/// Where UPX's mark is, at the latest: behind the program headers.
const UPX_WITHIN: u64 = 1024;

/// A mark in what UPX has packed.
const UPX: &[u8] = b"UPX!";

/// Nothing of a file that nobody asks about.
pub fn look_at(desk: &Desk<'_>, candidate: &Candidate) -> Option<FileCheck> {
    let shown = candidate.shown.as_path();
    let asked_for = candidate.named;
    let unreadable = |diagnosis: Diagnosis, reason: String| {
        let help = match diagnosis {
            Diagnosis::Malformed => "get it again from where it came",
            _ => "make it readable, or take it out of the paths",
        };
        let problem = Problem::new(diagnosis, reason).help(help);
        Some(FileCheck {
            problems: vec![problem],
            ..FileCheck::new(shown, Kind::Other)
        })
    };
    let mut source = match candidate.open().and_then(Source::of) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput && !asked_for => {
            return None;
        }
        Err(error) => {
            let reason = format!("cannot be opened: {}", io_reason(&error));
            return unreadable(Diagnosis::Unopenable, reason);
        }
    };
    match identify(&mut source) {
        Ok(Identity::Script(line)) if asked_for || is_executable(&candidate.path) => {
            let file = script::look_at(desk, shown, &line);
            return (asked_for || !file.is_well()).then_some(file);
        }
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(Identity::Elf { machine, class, .. }) => {
            let mut file = FileCheck::new(shown, Kind::Other);
            let name = format!("big-endian {}", arch::describe(machine, class));
            machine_of(desk, &mut source, &name, &mut file);
            return Some(file);
        }
        Ok(_) if !asked_for => return None,
        Ok(_) => {
            let mut file = FileCheck::new(shown, Kind::Other);
            let text = "neither an ELF file nor a script";
            file.note(Diagnosis::NotExecutable, text);
            return Some(file);
        }
        Err(error) => return unreadable(Diagnosis::Unopenable, format!("{error:#}")),
    }
    match Subject::read(&candidate.path, &mut source, desk.stages) {
        Ok(subject) => elf_file(desk, candidate, &mut source, subject),
        Err(error) => unreadable(
            Diagnosis::Malformed,
            format!("malformed ELF file: {error:#}"),
        ),
    }
}

fn elf_file(
    desk: &Desk<'_>,
    candidate: &Candidate,
    source: &mut Source,
    subject: Subject,
) -> Option<FileCheck> {
    let elf = &subject.elf;
    let kind = kind(&subject);
    if kind == Kind::Other && !candidate.named {
        return None;
    }
    let mut file = FileCheck::new(&candidate.shown, kind);
    file.state = subject.state;
    file.machine = Some(arch::describe(elf.machine, elf.class));
    file.problems.clone_from(&subject.problems);
    file.notes.clone_from(&subject.notes);
    let head = source.read(0, source.file_len().min(UPX_WITHIN));
    if head.is_ok_and(|head| bytes::contain(&head, UPX)) {
        let advice = "packed by UPX, which hides what it needs: upx -d unpacks it";
        file.note(Diagnosis::Packed, advice);
    }
    match kind {
        Kind::Other => {
            let text = "no program, and no shared library";
            file.note(Diagnosis::NotLoadable, text);
            return Some(file);
        }
        Kind::Library => {}
        _ => {
            if !arch::find(elf.machine, elf.class).is_some_and(Arch::is_native) {
                let name = arch::describe(elf.machine, elf.class);
                machine_of(desk, source, &name, &mut file);
            }
            noexec(candidate.path.as_path(), &candidate.shown, &mut file);
        }
    }
    let is_known = arch::find(elf.machine, elf.class).is_some() && !subject.is_foreign;
    if kind != Kind::Static && is_known {
        let inside = desk.root.inside(&candidate.path).ok()?;
        let mut look = Look {
            desk,
            subject: &subject,
            inside: &inside,
            file: &mut file,
        };
        look.at_libraries(source.metadata().mode());
    }
    Some(file)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

fn kind(subject: &Subject) -> Kind {
    let elf = &subject.elf;
    let pie = elf.dynamic.as_ref().is_some_and(|dynamic| dynamic.pie);
    let is_wrapped = subject.state == State::Wrapped || !subject.problems.is_empty();
    match elf.kind {
        elf::ET_EXEC | elf::ET_DYN if elf.is_debug_information() => Kind::Other,
        // Such as libc.so.6, which prints its version when started.
        elf::ET_DYN if elf.soname().is_some() && !pie && !is_wrapped => Kind::Library,
        elf::ET_EXEC | elf::ET_DYN if elf.interp.is_some() || is_wrapped => Kind::Program,
        elf::ET_EXEC => Kind::Static,
        elf::ET_DYN if pie || elf.dynamic.is_none() => Kind::Static,
        elf::ET_DYN => Kind::Library,
        _ => Kind::Other,
    }
}

/// Who runs a program that the processor does not.
fn machine_of(desk: &Desk<'_>, source: &mut Source, name: &str, file: &mut FileCheck) {
    file.machine = Some(name.to_owned());
    if !desk.root.is_own() {
        file.note(Diagnosis::ForOtherMachine, format!("it is for {name}"));
        return;
    }
    let head = source.read(0, source.file_len().min(256));
    match kernel::handler(&head.unwrap_or_default()) {
        Some(handler) if handler.is_open || handler.interpreter.exists() => {
            let (by, path) = (&handler.name, handler.interpreter.display());
            let text = format!("it is for {name}, and runs by {path} (binfmt_misc: {by})");
            file.note(Diagnosis::Emulated, text);
        }
        handler => {
            let (diagnosis, text) = match handler {
                Some(handler) => (
                    Diagnosis::EmulatorGone,
                    format!(
                        "it is for {name}, and {}, which binfmt_misc has for that, does not exist",
                        handler.interpreter.display()
                    ),
                ),
                None => (
                    Diagnosis::NoEmulator,
                    format!("it is for {name}, and nothing here runs that"),
                ),
            };
            file.problems.push(Problem::new(diagnosis, text));
            file.next.push(Next::told(format!(
                "take the one for this machine, or have {name} emulated: Debian's qemu-user-static with \
                 binfmt-support, or boot.binfmt.emulatedSystems of NixOS"
            )));
        }
    }
}

/// Says so if nothing may be executed from where `path` is.
pub(super) fn noexec(path: &Path, shown: &Path, file: &mut FileCheck) {
    let mut known = file.problems.iter();
    if !kernel::is_noexec(path) || known.any(|known| known.trouble == Trouble::NoExec) {
        return;
    }
    let mount = kernel::mount_of(path);
    let text = format!(
        "{} is on {}, which is mounted noexec",
        shown.display(),
        mount.display()
    );
    file.problems.push(Problem::new(Diagnosis::NoExec, text));
    let options = ["mount", "-o", "remount,exec", &mount.display().to_string()];
    let text = format!("or copy {} elsewhere", shown.display());
    file.next.push(Next::typed(solve::quoted(options), text));
}
