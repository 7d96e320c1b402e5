//! Looks at one file.

use std::collections::HashSet;
use std::path::Path;

use object::elf;

use super::dlopen::{self, Priority};
use super::solve::{self, Wanted};
use super::subject::Subject;
use super::{Desk, FileCheck, Kind, Next, Problem, State, Trouble, kernel, script};
use crate::arch::{self, Arch};
use crate::inspect::{Identity, Source, identify};
use crate::interpreter::{Fit, Interpreter, Libc};
use crate::resolve::{Linker, Lost, Misfit, Tree, misfit};
use crate::scan::{Candidate, io_reason};
use crate::status::loader_problem;

/// Where UPX's mark is, at the latest: behind the program headers.
const UPX_WITHIN: u64 = 1024;

/// A mark in what UPX has packed.
const UPX: &[u8] = b"UPX!";

/// Nothing of a file that nobody asks about.
pub fn look_at(desk: &Desk<'_>, candidate: &Candidate) -> Option<FileCheck> {
    let shown = candidate.shown.as_path();
    let asked_for = candidate.named;
    let unreadable = |reason: String| {
        let problem = Problem::new(Trouble::Unreadable, reason);
        Some(FileCheck {
            problems: vec![problem],
            ..FileCheck::new(shown, Kind::Other)
        })
    };
    let mut source = match Source::open(&candidate.path) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput && !asked_for => {
            return None;
        }
        Err(error) => return unreadable(format!("cannot be opened: {}", io_reason(&error))),
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
            file.notes
                .push("neither an ELF file nor a script".to_owned());
            return Some(file);
        }
        Err(error) => return unreadable(format!("{error:#}")),
    }
    match Subject::read(&candidate.path, &mut source, desk.stages) {
        Ok(subject) => elf_file(desk, candidate, &mut source, subject),
        Err(error) => unreadable(format!("malformed ELF file: {error:#}")),
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
    let head = source.read(0, source.file_len().min(UPX_WITHIN));
    if head.is_ok_and(|head| memchr::memmem::find(&head, UPX).is_some()) {
        let advice = "packed by UPX, which hides what it needs: upx -d unpacks it";
        file.notes.push(advice.to_owned());
    }
    match kind {
        Kind::Other => {
            file.notes
                .push("no program, and no shared library".to_owned());
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
    if kind != Kind::Static && arch::find(elf.machine, elf.class).is_some() {
        let inside = desk.root.inside(&candidate.path).ok()?;
        let mut look = Look {
            desk,
            subject: &subject,
            inside: &inside,
            file: &mut file,
        };
        look.at_libraries(source);
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
        file.notes.push(format!("it is for {name}"));
        return;
    }
    let head = source.read(0, source.file_len().min(256));
    match kernel::handler(&head.unwrap_or_default()) {
        Some(handler) if handler.is_open || handler.interpreter.exists() => {
            let (by, path) = (&handler.name, handler.interpreter.display());
            let text = format!("it is for {name}, and runs by {path} (binfmt_misc: {by})");
            file.notes.push(text);
        }
        handler => {
            let text = match handler {
                Some(handler) => format!(
                    "it is for {name}, and {}, which binfmt_misc has for that, does not exist",
                    handler.interpreter.display()
                ),
                None => format!("it is for {name}, and nothing here runs that"),
            };
            file.problems.push(Problem::new(Trouble::Machine, text));
            let text = format!(
                "take the one for this machine, or have {name} emulated: Debian's qemu-user-static with \
                 binfmt-support, or boot.binfmt.emulatedSystems of NixOS"
            );
            let command = None;
            file.next.push(Next { command, text });
        }
    }
}

fn noexec(path: &Path, shown: &Path, file: &mut FileCheck) {
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
    file.problems.push(Problem::new(Trouble::NoExec, text));
    let options = ["mount", "-o", "remount,exec", &mount.display().to_string()];
    file.next.push(Next {
        command: Some(solve::quoted(options)),
        text: format!("or copy {} elsewhere", shown.display()),
    });
}

/// A look at what one file has loaded.
struct Look<'l, 'd> {
    desk: &'l Desk<'d>,
    subject: &'l Subject,
    inside: &'l Path,
    file: &'l mut FileCheck,
}

impl Look<'_, '_> {
    fn at_libraries(&mut self, source: &mut Source) {
        let is_lost = |problem: &Problem| problem.trouble == Trouble::Sidecar;
        if self.file.problems.iter().any(is_lost) {
            return;
        }
        let given = self.given_interpreter();
        self.at_loader();
        let wanted = Wanted {
            elf: &self.subject.elf,
            inside: self.inside,
            is_library: self.file.kind == Kind::Library,
            state: self.subject.state,
            interpreter: self.subject.interpreter.as_deref(),
        };
        self.file.interpreter = given.as_ref().map(|given| given.path.clone());
        let chosen = match &given {
            Some(interpreter) => Some(interpreter.clone()),
            None => solve::interpreter(self.desk, &wanted, &[]),
        };
        let Some(chosen) = chosen else {
            self.file.next.push(solve::without_interpreter(&wanted));
            return;
        };
        let desk = self.desk;
        let Some(linker) = Linker::new(&chosen, &desk.shelf, &desk.surroundings) else {
            return;
        };
        let tree = linker.tree(self.inside, &self.subject.elf);
        self.at_tree(&tree, &linker);
        self.at_mounts(&tree);
        self.at_opened(&linker, source);
        if self.file.state == State::Wrapped {
            self.at_alignment();
        }
        if !self.file.is_well() && self.can_be_wrapped() {
            let next = solve::next(desk, &wanted, &tree, self.file);
            self.file.next.extend(next);
        }
        self.file.tree = tree;
    }

    /// Problems that wrapping has to do with.
    fn can_be_wrapped(&self) -> bool {
        let mut problems = self.file.problems.iter();
        problems.any(|problem| {
            matches!(
                problem.trouble,
                Trouble::Interpreter
                    | Trouble::Library
                    | Trouble::Unfit
                    | Trouble::Version
                    | Trouble::Opened
                    | Trouble::Loader
            )
        })
    }

    /// The dynamic linker that the file gets, if that is one for it.
    fn given_interpreter(&mut self) -> Option<Interpreter> {
        let root = &self.desk.root;
        let elf = &self.subject.elf;
        if self.file.kind == Kind::Library {
            return match self.desk.interpreters.fitting(elf, Libc::of_library(elf)) {
                Fit::Fits(interpreter) => Some(interpreter.clone()),
                _ => None,
            };
        }
        let asked_for = self.subject.interpreter.as_deref()?;
        let directory = self.inside.parent().unwrap_or(Path::new("/"));
        let path = directory.join(asked_for);
        if !path.is_absolute() || !root.on_host(&path).exists() {
            let text = format!("its dynamic linker {} does not exist", path.display());
            self.problem(Trouble::Interpreter, text);
            return None;
        }
        match Interpreter::open_in(root, &path) {
            Ok(found) if (found.elf.machine, found.elf.class) == (elf.machine, elf.class) => {
                Some(found)
            }
            Ok(found) => {
                let name = arch::describe(found.elf.machine, found.elf.class);
                let text = format!("its dynamic linker {} is for {name}", path.display());
                self.problem(Trouble::Interpreter, text);
                None
            }
            Err(error) => {
                self.problem(Trouble::Interpreter, format!("{error:#}"));
                None
            }
        }
    }

    fn problem(&mut self, trouble: Trouble, text: String) {
        self.file.problems.push(Problem::new(trouble, text));
    }

    fn at_loader(&mut self) {
        let Some(loader) = &self.subject.loader else {
            return;
        };
        let directory = self.inside.parent().unwrap_or(Path::new("/"));
        let path = directory.join(loader);
        let on_host = self.desk.root.on_host(&path);
        if let Some(why) = loader_problem(&on_host, self.subject.elf.machine) {
            let why = why.replace(&on_host.display().to_string(), &path.display().to_string());
            self.problem(Trouble::Loader, why);
        }
    }

    /// Neither the dynamic linker nor a library can be mapped from there.
    fn at_mounts(&mut self, tree: &Tree) {
        let interpreter = self.file.interpreter.clone();
        let libraries = tree.nodes.iter().map(|node| &node.found.path);
        let mut seen = HashSet::new();
        for path in interpreter.iter().chain(libraries) {
            let on_host = self.desk.root.on_host(path);
            let directory = on_host.parent().map(Path::to_owned);
            if seen.insert(directory) && kernel::is_noexec(&on_host) {
                noexec(&on_host, path, self.file);
                return;
            }
        }
    }

    fn at_tree(&mut self, tree: &Tree, linker: &Linker<'_>) {
        let interpreter = linker.interpreter;
        for lost in &tree.lost {
            // Whoever is for another libc needs that libc, which is not what is wrong.
            let by = tree.path_of(lost.by, self.inside);
            let of_other = lost
                .by
                .is_some_and(|by| unfit(tree, by, interpreter).is_some());
            if !of_other {
                let problem = self.lost(lost, by);
                self.file.problems.push(problem);
            }
        }
        for (index, node) in tree.nodes.iter().enumerate() {
            if let Some(why) = unfit(tree, index, interpreter) {
                let by = tree.path_of(node.by, self.inside);
                let instead = match why {
                    Misfit::Libc(_) => format!("not to {}", interpreter.libc.name()),
                    _ => format!("not for {}", linker.arch.name),
                };
                let text = format!(
                    "{}, which {} finds by {}, {why}, {instead}",
                    node.found.path.display(),
                    by.display(),
                    node.found.rule,
                );
                let mut problem = Problem::new(Trouble::Unfit, text);
                problem.soname = Some(node.name.display().to_string());
                self.file.problems.push(problem);
            }
        }
        for unmet in &tree.unmet {
            let newest = unmet.newest.as_ref();
            let newest = newest.map(|newest| format!(" has up to {newest}"));
            let text = format!(
                "{} wanted by {}, {}{}",
                unmet.versions.join(", "),
                unmet.wanted_by.display(),
                unmet.library.display(),
                newest.unwrap_or_else(|| " has none like it".to_owned())
            );
            let mut problem = Problem::new(Trouble::Version, text);
            let name = unmet.library.file_name().unwrap_or_default();
            problem.soname = Some(name.display().to_string());
            self.file.problems.push(problem);
        }
    }

    fn lost(&self, lost: &Lost, by: &Path) -> Problem {
        let name = lost.name.display().to_string();
        let for_whom = match lost.by {
            None => String::new(),
            Some(_) => format!(", which {} needs", by.display()),
        };
        let reason = match lost.near.as_slice() {
            [] => " is not found".to_owned(),
            nears => {
                let nears: Vec<String> = nears.iter().map(ToString::to_string).collect();
                format!(" is not found, but {}", nears.join(", "))
            }
        };
        let mut problem = Problem::new(Trouble::Library, format!("{name}{for_whom}{reason}"));
        problem.help = self.help(&name);
        problem.soname = Some(name);
        problem
    }

    /// Where there is a library, and which package has it.
    fn help(&self, name: &str) -> Vec<String> {
        let elf = &self.subject.elf;
        let directories = self.desk.library.with(name, elf.machine, elf.class);
        let first = directories.first();
        let there = first.map(|directory| format!("it is in {}", directory.display()));
        if let Some(there) = there {
            return vec![there];
        }
        let library = &self.desk.library;
        if let Some(path) = library.called_differently(name, elf.machine, elf.class) {
            let path = path.display();
            return vec![format!("{path} has this DT_SONAME: link it as {name}")];
        }
        let packages = self.desk.packages.with(name).into_iter();
        packages
            .map(|one| format!("nixpkgs has it in {one}"))
            .collect()
    }

    /// Libraries that it says it opens while it runs.
    fn at_opened(&mut self, linker: &Linker<'_>, source: &mut Source) {
        let elf = &self.subject.elf;
        let own = linker.search_path(self.inside, elf);
        let told = linker.told([&own]);
        for opened in dlopen::opened(elf, source) {
            let mut names = opened.soname.iter();
            let is_there = names.any(|name| {
                let name = std::ffi::OsStr::new(name);
                linker.find(name, self.inside, &told, true).is_ok()
            });
            let Some(first) = opened.soname.first().filter(|_| !is_there) else {
                continue;
            };
            let what = match (&*opened.description, &*opened.feature) {
                ("", "") => String::new(),
                ("", feature) => format!(" for {feature}"),
                (description, _) => format!(" ({description})"),
            };
            let text = format!("{first}, which it opens while it runs{what}, is not found");
            match opened.priority {
                Priority::Required => {
                    let mut problem = Problem::new(Trouble::Opened, text);
                    problem.help = self.help(first);
                    problem.soname = Some(first.clone());
                    self.file.problems.push(problem);
                }
                Priority::Recommended => self.file.notes.push(format!("{text}: recommended")),
                Priority::Suggested => self.file.notes.push(format!("{text}: suggested")),
            }
        }
    }

    /// The kernel maps a program without PT_INTERP differently (fs/binfmt_elf.c).
    fn at_alignment(&mut self) {
        let elf = &self.subject.elf;
        let largest = elf.loads().map(|load| load.align).max().unwrap_or(0);
        let honoured = arch::find(elf.machine, elf.class).map_or(0, |arch| arch.max_load_align);
        if largest > honoured {
            self.file.notes.push(format!(
                "its segments are aligned to {largest}, which a kernel from before 2024 does not honour for a wrapped program"
            ));
        }
    }
}

/// Why a library that ld.so takes will not do.
fn unfit(tree: &Tree, index: usize, interpreter: &Interpreter) -> Option<Misfit> {
    misfit(
        &interpreter.elf,
        interpreter.libc,
        &tree.nodes[index].found.elf,
    )
}
