//! Command lines that `check` proposes. Each is planned before it is proposed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use stages::Stage;

use super::{FileCheck, Next};
use crate::plan::options::WrapOptions;
use crate::plan::outcome::{FileReport, Report, Status};
use crate::report::Reporter;
use crate::system::shell::quoted;
use ldso::{Libc, Root};

/// A command line that wraps files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub root: Root,
    pub paths: Vec<PathBuf>,
    pub libs: Vec<PathBuf>,
    pub interpreters: Vec<PathBuf>,
    /// The dynamic linkers that the files get, named or not.
    pub linkers: Vec<PathBuf>,
    /// `--relocatable`, `--self-contained` or `--embedded`, as the file was wrapped before.
    pub flag: Option<&'static str>,
}

impl Command {
    fn words(&self) -> Vec<OsString> {
        let mut words = vec![OsString::from("wrap-buddy")];
        for (flag, paths) in [
            ("--paths", &self.paths),
            ("--libs", &self.libs),
            ("--interpreter", &self.interpreters),
        ] {
            // The other flags take several values.
            let one_each = flag == "--interpreter";
            for (index, path) in paths.iter().enumerate() {
                if index == 0 || one_each {
                    words.push(flag.into());
                }
                words.push(path.into());
            }
        }
        words.extend(self.flag.map(OsString::from));
        if let Some(root) = self.root.given() {
            words.extend(["--root".into(), root.into()]);
        }
        // The file was wrapped like this before, so files outside of the tree were accepted then.
        if self.flag == Some("--relocatable") {
            words.push("--allow-outside".into());
        }
        words
    }

    /// The command line, quoted for a shell.
    pub fn written(&self) -> String {
        quoted(self.words())
    }

    /// Does a dry run of it.
    ///
    /// # Errors
    /// If it would do nothing at all: the reason.
    pub fn rehearsed(&self, stages: &[Stage]) -> anyhow::Result<Report> {
        let options = WrapOptions {
            dry_run: true,
            ..self.options(&WrapOptions::default())?
        };
        crate::commands::wrap::wrap(&options, stages, stages::MISSING, &Reporter::default())
    }

    /// Its options, and those of `base` that it does not have.
    ///
    /// # Errors
    /// If the current directory cannot be determined.
    pub fn options(&self, base: &WrapOptions) -> io::Result<WrapOptions> {
        Ok(WrapOptions {
            root: self.root.clone(),
            paths: self.paths.clone(),
            libs: absolute(&self.libs)?,
            interpreter: self.interpreters.clone(),
            self_contained: base.self_contained || self.flag == Some("--self-contained"),
            embedded: base.embedded || self.flag == Some("--embedded"),
            relocatable: base.relocatable || self.flag == Some("--relocatable"),
            allow_outside: base.allow_outside || self.flag == Some("--relocatable"),
            ..base.clone()
        })
    }
}

fn absolute(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    paths.iter().map(std::path::absolute).collect()
}

pub fn changes(file: &FileReport) -> bool {
    let plan = file.plan.as_deref();
    let installs =
        |plan: &crate::plan::Plan| plan.loader().is_some_and(|one| one.install.is_some());
    plan.is_some_and(|plan| !plan.settled || installs(plan))
}

/// Why the command for one file would do nothing; `None` if it would change something.
pub fn no_effect(report: &anyhow::Result<Report>) -> Option<String> {
    let report = match report {
        Ok(report) => report,
        Err(error) => return Some(format!("{error:#}")),
    };
    if report.files.iter().any(changes) {
        return None;
    }
    let mut reasons = report.files.iter().filter_map(|file| file.reason.as_ref());
    let reason = reasons.next();
    Some(reason.map_or_else(
        || "it is already wrapped with these settings".to_owned(),
        ToString::to_string,
    ))
}

/// A proposal of one file: the index of the file, and of the proposal there.
type Place = (usize, usize);

/// A command that wraps, and its place.
struct Call {
    place: Place,
    command: Command,
    machine: Option<String>,
}

/// What the calls of one group have in common, from the largest groups to the smallest.
const LEVELS: [fn(&Command, &Command) -> bool; 3] = [
    |one, other| one.flag == other.flag,
    |one, other| one.flag == other.flag && one.interpreters == other.interpreters,
    |one, other| {
        (one.flag, &one.libs, &one.interpreters) == (other.flag, &other.libs, &other.interpreters)
    },
];

/// Commands for several files, as few as possible. Marks the proposals that they replace.
pub fn combined(files: &mut [FileCheck], named: &[PathBuf], stages: &[Stage]) -> Vec<Next> {
    let proposals = files.iter().enumerate().flat_map(|(file, check)| {
        let all = check.next.iter().enumerate();
        all.map(move |(next, one)| ((file, next), check, one))
    });
    let calls = proposals.filter_map(|(place, check, next)| {
        Some(Call {
            place,
            command: next.call.as_deref()?.clone(),
            machine: check.machine.clone(),
        })
    });
    let mut wraps = Vec::new();
    together(calls.collect(), &LEVELS, named, stages, &mut wraps);
    let wraps = wraps.into_iter().map(|(command, places)| {
        let text = format!("resolves all dependencies of {} files", places.len());
        let next = Next::typed(command.written(), text);
        let call = Some(Box::new(command));
        (Next { call, ..next }, places)
    });
    let mut all: Vec<(Next, Vec<Place>)> = wraps.collect();
    all.extend(same(files));
    for (file, next) in all.iter().flat_map(|(_, places)| places) {
        files[*file].next[*next].is_replaced = true;
    }
    all.into_iter().map(|(next, _)| next).collect()
}

/// Groups the calls by the first of `levels`, and the groups that need several commands by the next one.
fn together(
    calls: Vec<Call>,
    levels: &[fn(&Command, &Command) -> bool],
    named: &[PathBuf],
    stages: &[Stage],
    found: &mut Vec<(Command, Vec<Place>)>,
) {
    let [is_same, finer @ ..] = levels else {
        return;
    };
    let mut groups: Vec<Vec<Call>> = Vec::new();
    for call in calls {
        let mut known = groups.iter_mut();
        match known.find(|group| is_same(&group[0].command, &call.command)) {
            Some(group) => group.push(call),
            None => groups.push(vec![call]),
        }
    }
    for group in groups.into_iter().filter(|group| group.len() > 1) {
        match for_all(&group, named, stages) {
            Some(command) => {
                let places = group.iter().map(|call| call.place);
                found.push((command, places.collect()));
            }
            None => together(group, finer, named, stages, found),
        }
    }
}

/// One command in place of `calls`.
fn for_all(calls: &[Call], named: &[PathBuf], stages: &[Stage]) -> Option<Command> {
    let mut all = Command::default();
    let mut linkers: HashMap<(Option<&str>, Libc), &PathBuf> = HashMap::new();
    for Call {
        command, machine, ..
    } in calls
    {
        all.root.clone_from(&command.root);
        all.flag = command.flag;
        extend(&mut all.paths, &command.paths);
        extend(&mut all.libs, &command.libs);
        extend(&mut all.interpreters, &command.interpreters);
        extend(&mut all.linkers, &command.linkers);
        // A command has one dynamic linker for each machine and libc.
        for linker in &command.linkers {
            let of = (machine.as_deref(), Libc::of_interpreter(linker));
            if linkers
                .insert(of, linker)
                .is_some_and(|known| known != linker)
            {
                return None;
            }
        }
    }
    // If one is named, the default ones of other machines are not used.
    if !all.interpreters.is_empty() {
        all.interpreters.clone_from(&all.linkers);
    }
    // Prefer directories that the user named, if the command changes no other files in them.
    let mut short = Vec::new();
    for path in &all.paths {
        let mut holding = named.iter().filter(|named| path.starts_with(named));
        let directory = holding.next().unwrap_or(path);
        extend(&mut short, std::slice::from_ref(directory));
    }
    let short = Command {
        paths: short,
        ..all.clone()
    };
    let mut commands = [short, all.clone()].into_iter();
    commands.find(|command| does_the_same(command, &all.paths, stages))
}

/// Proposals of several files that are the same, or are the same command with other files.
fn same(files: &[FileCheck]) -> Vec<(Next, Vec<Place>)> {
    let mut groups: Vec<(&Next, Vec<Place>, Vec<&Path>)> = Vec::new();
    let mut known = HashMap::new();
    for (file, check) in files.iter().enumerate() {
        let others = check.next.iter().enumerate();
        for (at, next) in others.filter(|(_, next)| next.call.is_none()) {
            let text = next.general.as_ref().unwrap_or(&next.text);
            let words = next.each.as_ref().map(|each| &each.words);
            let command = next.command.as_ref().filter(|_| words.is_none());
            let index = *known.entry((words, command, text)).or_insert(groups.len());
            if index == groups.len() {
                groups.push((next, Vec::new(), Vec::new()));
            }
            let (_, places, paths) = &mut groups[index];
            places.push((file, at));
            paths.extend(next.each.iter().map(|each| each.file.as_path()));
        }
    }
    groups.retain(|(_, places, _)| places.len() > 1);
    let each = groups.into_iter().map(|(next, places, paths)| {
        let words = next.each.iter().flat_map(|each| &each.words);
        let words = words.map(OsString::as_os_str);
        let line = quoted(words.chain(paths.iter().map(|path| path.as_os_str())));
        let all = Next {
            command: match next.each {
                Some(_) => Some(line),
                None => next.command.clone(),
            },
            ..Next::advice(next.general.as_ref().unwrap_or(&next.text))
        };
        (all, places)
    });
    each.collect()
}

/// Whether the command changes exactly the files at `paths` and resolves all of their dependencies.
fn does_the_same(command: &Command, paths: &[PathBuf], stages: &[Stage]) -> bool {
    let Ok(report) = command.rehearsed(stages) else {
        return false;
    };
    let complete = |file: &FileReport| {
        let plan = file.plan.as_ref();
        file.missing.is_empty() && plan.is_none_or(|plan| plan.resolution.unmet_versions.is_empty())
    };
    let mut changed: Vec<&Path> = report
        .files
        .iter()
        .filter(|file| changes(file))
        .map(|file| file.path.as_path())
        .collect();
    changed.sort_unstable();
    let mut wanted: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    wanted.sort_unstable();
    let failed = report.count(Status::Failed) > 0;
    // Other files in a directory stay as they are.
    let mut own = report.files.iter().filter(|file| changes(file));
    !failed && changed == wanted && own.all(complete)
}

fn extend(all: &mut Vec<PathBuf>, more: &[PathBuf]) {
    for path in more {
        if !all.contains(path) {
            all.push(path.clone());
        }
    }
}
