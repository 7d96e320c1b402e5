//! Checks one file.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::diagnosis::{Diagnosis, Next, Problem, Trouble};
use super::libraries::LibraryCheck;
use super::noexec::noexec;
use super::subject::Subject;
use super::{Checker, FileCheck, kernel, script};
use crate::scan::Target;
use elf_file::io_reason;
use elf_file::{Elf, ElfTarget, Identity, Kind, Payload, Source, identify};
use sys::arch::Arch;

/// `None` for a file that is not reported.
pub fn file_state(checker: &Checker<'_>, target: &Target) -> Option<FileCheck> {
    let shown = target.shown.as_path();
    let asked_for = target.named;
    let unreadable = |diagnosis: Diagnosis, reason: String| {
        let help = match diagnosis {
            Diagnosis::Malformed => "download or build it again",
            _ => "make it readable, or leave it out of the paths",
        };
        let problem = Problem::new(diagnosis, reason).help(help);
        Some(FileCheck {
            problems: vec![problem],
            ..FileCheck::new(shown, Kind::Other)
        })
    };
    let mut source = match target.open().and_then(Source::of) {
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
        Ok(Identity::Script(line)) if asked_for || is_executable(&target.on_host()) => {
            let file = script::file_state(checker, shown, &line);
            return (asked_for || !file.is_well()).then_some(file);
        }
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(Identity::Elf { target, .. }) => {
            let mut file = FileCheck::new(shown, Kind::Other);
            let name = format!("big-endian {target}");
            machine_of(checker, &mut source, &name, &mut file);
            return Some(file);
        }
        Ok(_) if !asked_for => return None,
        Ok(Identity::Malformed(reason)) => {
            let reason = format!("malformed ELF file: {reason}");
            return unreadable(Diagnosis::Malformed, reason);
        }
        Ok(_) => {
            let mut file = FileCheck::new(shown, Kind::Other);
            let text = match archive(&mut source) {
                Some(name) => format!("{name}; unpack it and check its files"),
                None => "neither an ELF file nor a script".to_owned(),
            };
            file.note(Diagnosis::NotExecutable, text);
            return Some(file);
        }
        Err(error) => return unreadable(Diagnosis::Unopenable, format!("{error:#}")),
    }
    match Subject::read(target, &mut source, checker.stages) {
        Ok(subject) => elf_file(checker, target, &mut source, subject),
        Err(error) => unreadable(
            Diagnosis::Malformed,
            format!("malformed ELF file: {error:#}"),
        ),
    }
}

/// Whether `.note.nixos.ldcache` has directories that are not on the search path.
fn has_stale_cache(elf: &Elf) -> bool {
    let search = elf.dynamic.as_ref().and_then(|own| own.search_path());
    let search = search.map_or(&[][..], |search| search.as_bytes());
    let entries: Vec<&[u8]> = search.split(|&byte| byte == b':').collect();
    let mut places = elf.resolved.iter().flat_map(|one| &one.places);
    places.any(|place| !entries.contains(&place.directory().as_bytes()))
}

fn elf_file(
    checker: &Checker<'_>,
    target: &Target,
    source: &mut Source,
    subject: Subject,
) -> Option<FileCheck> {
    let elf = &subject.elf;
    let kind = Kind::of(elf, subject.lost_interp);
    if !kind.is_loadable() && !target.named {
        return None;
    }
    let mut file = FileCheck::new(&target.shown, kind);
    file.file_id = elf.file_id;
    file.state = subject.state;
    file.has_wrapped_search = subject.has_wrapped_search;
    file.machine = Some(elf.target().to_string());
    file.problems.clone_from(&subject.problems);
    file.notes.clone_from(&subject.notes);
    let payload = match kind.is_loadable() && kind != Kind::Library {
        true => Payload::of(source),
        false => None,
    };
    if let Some(payload) = payload {
        let diagnosis = match payload {
            Payload::Upx => Diagnosis::Packed,
            _ => Diagnosis::CarriesProgram,
        };
        file.note(diagnosis, payload.to_string());
    }
    match kind {
        kind if !kind.is_loadable() => {
            let text = format!("{kind}, neither a program nor a shared library of Linux");
            file.note(Diagnosis::NotLoadable, text);
            return Some(file);
        }
        Kind::Library => {}
        _ => {
            if !elf.target().arch().is_some_and(Arch::is_native) {
                let name = elf.target().to_string();
                machine_of(checker, source, &name, &mut file);
            }
            noexec(&target.on_host(), &target.shown, &mut file);
            not_permitted(checker, target, &mut file);
        }
    }
    let is_known = elf.target().arch().is_some();
    if !kind.is_static() && is_known {
        let mut library_check = LibraryCheck {
            checker,
            subject: &subject,
            inside: &target.path,
            file: &mut file,
        };
        library_check.at_libraries(source.metadata().mode());
        if has_stale_cache(&subject.elf) {
            let text = "its .note.nixos.ldcache has libraries of another search path, which only an ld.so that reads it uses";
            file.note(Diagnosis::StaleCache, text.to_owned());
        }
    }
    Some(file)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Reports how a program for another machine is run.
fn machine_of(checker: &Checker<'_>, source: &mut Source, name: &str, file: &mut FileCheck) {
    file.machine = Some(name.to_owned());
    if !checker.root.is_own() {
        file.note(Diagnosis::ForOtherMachine, format!("it is for {name}"));
        return;
    }
    let head = source.read(0, source.file_len().min(256));
    match kernel::handler(&head.unwrap_or_default()) {
        Some(handler) if handler.is_open || handler.interpreter.exists() => {
            let (by, path) = (&handler.name, handler.interpreter.display());
            let text = format!("it is for {name}; {path} runs it (binfmt_misc: {by})");
            file.note(Diagnosis::Emulated, text);
        }
        handler => {
            let (diagnosis, text) = match handler {
                Some(handler) => (
                    Diagnosis::EmulatorGone,
                    format!(
                        "it is for {name}, and its emulator {} (binfmt_misc) does not exist",
                        handler.interpreter.display()
                    ),
                ),
                None => (
                    Diagnosis::NoEmulator,
                    format!("it is for {name}, and no emulator for that is registered"),
                ),
            };
            file.problems.push(Problem::new(diagnosis, text));
            file.next.push(Next::advice(match name {
                // There is no emulator for x32.
                name if name == ElfTarget::X32.to_string() => "use the one for this machine, or boot a kernel that has CONFIG_X86_X32_ABI with syscall.x32=y"
                    .to_owned(),
                name => format!(
                    "use the one for this machine, or install an emulator for {name}: qemu-user-static and \
                     binfmt-support on Debian, boot.binfmt.emulatedSystems on NixOS"
                ),
            }));
        }
    }
}

/// The type of an archive; `None` for other files.
fn archive(source: &mut Source) -> Option<&'static str> {
    const MAGIC: [(usize, &[u8], &str); 9] = [
        (0, b"\x1f\x8b", "gzip archive"),
        (0, b"BZh", "bzip2 archive"),
        (0, b"\xfd7zXZ\0", "xz archive"),
        (0, b"\x28\xb5\x2f\xfd", "zstd archive"),
        (0, b"PK\x03\x04", "zip archive"),
        (0, b"7z\xbc\xaf\x27\x1c", "7z archive"),
        (0, b"!<arch>\n", "ar archive"),
        (0, b"\xed\xab\xee\xdb", "rpm package"),
        (257, b"ustar", "tar archive"),
    ];
    let head = source.read(0, source.file_len().min(512)).ok()?;
    let mut known = MAGIC.iter();
    let found =
        known.find(|(at, magic, _)| head.get(*at..).is_some_and(|at| at.starts_with(magic)));
    found.map(|(_, _, name)| *name)
}

/// Reports a program that is not executable. With `--root`, it is unknown who will start it, so any x bit will do.
fn not_permitted(checker: &Checker<'_>, target: &Target, file: &mut FileCheck) {
    let may_start = match checker.root.is_own() {
        true => nix::unistd::access(&target.on_host(), nix::unistd::AccessFlags::X_OK).is_ok(),
        false => is_executable(&target.on_host()),
    };
    // If you cannot search its directory, it could not be opened either. access(2) also fails for noexec, which is reported already.
    if may_start
        || file
            .problems
            .iter()
            .any(|known| known.trouble == Trouble::NoExec)
    {
        return;
    }
    let text = match is_executable(&target.on_host()) {
        true => "you cannot execute it: its mode allows only other users to",
        false => "nobody can execute it: its mode has no x",
    };
    file.problems
        .push(Problem::new(Diagnosis::NotPermitted, text));
    let next = Next::each(&["chmod", "+x"], &target.shown, "makes it executable");
    file.next.push(next);
}
