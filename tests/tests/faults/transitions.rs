//! Goes from each setting to each other one and stops the tool at any moment. The program then starts as before or as planned, and
//! the next run does what it is asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use e2e::{Arch, Driver, Variant, matrix};

use super::tree::{IN_PLACE, LONG_AGO, QUICK, RESTORE, SELF_CONTAINED, Tree, WRAP};

/// A name, and the run that leads there.
type Setting = (&'static str, &'static [&'static str]);

const SETTINGS: [Setting; 10] = [
    ("restored", RESTORE),
    ("stub", WRAP),
    ("self-contained", SELF_CONTAINED),
    (
        "relocatable",
        &[
            "--relocatable",
            "--allow-outside",
            "--paths",
            "app",
            "--libs",
            "lib",
        ],
    ),
    ("in place", IN_PLACE),
    // The library has no room for such a long path.
    (
        "links",
        &["--strategy", "auto", "--paths", "app", "--libs", "far"],
    ),
    (
        "frozen",
        &["--search", "frozen", "--paths", "app", "--libs", "lib"],
    ),
    ("other libraries", &["--paths", "app", "--libs", "other"]),
    (
        "in place, other libraries",
        &["--strategy", "inplace", "--paths", "app", "--libs", "other"],
    ),
    (
        "embedded",
        &["--embedded", "--paths", "app", "--libs", "lib"],
    ),
];

const RESTORED: usize = 0;

/// System calls that change the tree. Copying to a file without a name is not included: after a signal, that begins again.
const CHANGING: &str = "pwrite64,write,linkat,symlinkat,renameat,unlinkat,mkdirat,utimensat,fchmod,fchown,ftruncate,fsetxattr";

/// Content, mode, and whether the time of modification is the original's; for a link, its target.
type Found = (Vec<u8>, u32, bool);
type Content = BTreeMap<PathBuf, Found>;

/// The tree, and expected states of it.
struct Transitions {
    tree: Tree,
    /// Those of [`SETTINGS`] that are used.
    settings: Vec<usize>,
    /// The result of each run on each setting. A file edited in place stays that until it is restored.
    left: RefCell<BTreeMap<(usize, usize), Content>>,
}

/// The way in which the tool changes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Usual,
    /// The program is running, so a copy replaces it.
    Replaced,
    /// The same without /proc: a file without a name cannot get one then, so the copy has a name from the beginning.
    ReplacedByName,
}

impl Transitions {
    fn new(variant: Variant) -> Self {
        Self::with(variant, 0o755, (0..SETTINGS.len()).collect())
    }

    /// With a program whose mode is `mode`.
    fn with(variant: Variant, mode: u32, settings: Vec<usize>) -> Self {
        // Its constants do not end with a page of their own.
        let tree = Tree::with_library(variant, &["-Wl,-z,noseparate-code"]);
        tree.install_loader();
        let far = tree.far();
        fs::create_dir_all(far.parent().expect("a directory")).expect("mkdir");
        symlink(tree.path("lib"), &far).expect("a symlink");
        symlink(tree.path("lib"), tree.path("other")).expect("a symlink");
        let program = tree.path("app/program");
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).expect("chmod");
        let made = Self {
            tree,
            settings,
            left: RefCell::default(),
        };
        made.keep("restored");
        let mut distinct = BTreeSet::new();
        for &setting in &made.settings {
            let (name, run) = SETTINGS[setting];
            made.go_to("restored");
            if run != RESTORE {
                made.tree.run(run).success();
            }
            made.starts(run != RESTORE, name);
            made.keep(name);
            distinct.insert(made.content());
        }
        assert_eq!(
            distinct.len(),
            made.settings.len(),
            "settings that are the same"
        );
        made
    }

    /// The path of a copy of the program's directory.
    fn kept(&self, name: &str) -> PathBuf {
        self.tree.path(&format!("kept-{name}"))
    }

    fn keep(&self, name: &str) {
        copy(&self.tree.path("app"), &self.kept(name));
    }

    fn go_to(&self, name: &str) {
        copy(&self.kept(name), &self.tree.path("app"));
    }

    fn content(&self) -> Content {
        let mut found = Content::new();
        let app = self.tree.path("app");
        let mut directories = vec![app.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                let metadata = path.symlink_metadata().expect("it is there");
                let content = match metadata.file_type() {
                    kind if kind.is_dir() => {
                        directories.push(path.clone());
                        Vec::new()
                    }
                    kind if kind.is_symlink() => {
                        let target = fs::read_link(&path).expect("a link");
                        target.into_os_string().into_encoded_bytes()
                    }
                    _ => fs::read(&path).expect("a file"),
                };
                let is_old = metadata.is_file()
                    && metadata.modified().expect("a time")
                        < SystemTime::now() - Duration::from_secs(24 * 3600);
                let name = path.strip_prefix(&app).expect("below it").to_owned();
                found.insert(name, (content, metadata.permissions().mode(), is_old));
            }
        }
        found
    }

    /// Asserts the same, for files that no other process has open.
    fn starts_if_new(&self, wrapped: bool, what: &str) {
        if self.tree.is_new(&(self.content(), wrapped)) {
            self.starts(wrapped, what);
        }
    }

    /// Asserts that the program starts, and that it finds its library by itself if it is `wrapped`.
    fn starts(&self, wrapped: bool, what: &str) {
        match wrapped {
            true => self.tree.finds(true, what),
            false => self.tree.works(what),
        }
    }

    /// Goes from one setting to another, stops at each step, and tries everything there.
    fn try_all(&self, from: usize, to: usize, how: How) {
        let ((from_name, _), (to_name, run)) = (SETTINGS[from], SETTINGS[to]);
        let pair = format!("from {from_name} to {to_name}, {how:?}");
        let is_wrapped = ![from, to].contains(&RESTORED);
        self.go_to(from_name);
        let mut seen = BTreeSet::from([self.content()]);
        let mut command = self.tree.command(run);
        let mut running = None;
        let mut injected = None;
        if how != How::Usual {
            command.push("--replace".to_owned());
            match self.tree.arch.is_native() {
                true => running = Some(self.running()),
                // For the kernel, an emulated program is not running.
                false => injected = self.busy(from_name, &command),
            }
        }
        let mut stopped = Stopped::start(&command, how, injected);
        let mut points = 0;
        while stopped.wait() {
            points += 1;
            let what = format!("{pair}, stopped for the {points}th time");
            // The kernel starts no program that is open for writing. The original is, and so is the program while it is restored.
            if is_wrapped || how != How::Usual {
                self.starts(is_wrapped, &what);
            }
            let content = self.content();
            if !seen.contains(&content) {
                self.keep(&format!("stopped-{}", seen.len()));
                seen.insert(content);
            }
            stopped.go_on();
        }
        stopped.succeeded(&pair);
        let copied = |content: &Content| {
            let copy = Path::new(".program.wrapbuddy-copy");
            content.get(copy).map(|(_, mode, _)| *mode)
        };
        let copies: BTreeSet<u32> = seen.iter().filter_map(copied).collect();
        if how != How::Usual {
            // One with its mode; and one that is only for the tool before.
            let expected = 1 + usize::from(how == How::ReplacedByName);
            assert!(copies.len() >= expected, "{pair}: {copies:?}");
        }
        if let Some(mut running) = running {
            assert!(running.try_wait().expect("a child").is_none(), "{pair}");
            running.kill().expect("it runs");
            running.wait().expect("it ran");
        }
        self.is_at(&[from], to, &pair);
        let is_changed = self.left_by(from, to) != self.left_by(from, from);
        assert!(points > 3 || !is_changed, "{pair}: {points}");
        let others = (1..SETTINGS.len()).map(|n| (to + n) % SETTINGS.len());
        let mut others = others.filter(|one| self.settings.contains(one));
        let other = others.find(|one| ![from, to, RESTORED].contains(one));
        let mut runs = BTreeSet::from([RESTORED, to, other.expect("there are more"), from]);
        let leads = |next: usize| leads(from, next) && leads(to, next);
        runs.retain(|&next| [from, to].contains(&next) || leads(next));
        for n in 1..seen.len() {
            for &next in &runs {
                self.go_to(&format!("stopped-{n}"));
                let (next_name, run) = SETTINGS[next];
                let what = format!("{pair}, stopped at the {n}th state, then {next_name}");
                self.starts_if_new(is_wrapped, &what);
                let output = self.tree.run(run);
                assert_eq!(output.status, Some(0), "{what}; {output}");
                self.is_at(&[from, to], next, &what);
            }
        }
    }

    /// The program, running until it is killed.
    fn running(&self) -> Child {
        let libraries = [
            vec![self.tree.path("lib").display().to_string()],
            self.tree.system_directories(),
        ];
        let mut command = Command::new(self.tree.path("app/program"));
        let command = command.arg("wait").stdout(Stdio::null());
        let command = command.env("LD_LIBRARY_PATH", libraries.concat().join(":"));
        command.spawn().expect("the kernel starts it")
    }

    /// The injection that refuses to open the program for writing, as if it were running. `None` if the tool does not open it.
    fn busy(&self, from: &str, command: &[String]) -> Option<String> {
        let mut all = [&QUICK[..], &["-e", "trace=openat"]].concat();
        all.extend(command.iter().map(String::as_str));
        let output = e2e::run::on_host("strace", &all).success();
        self.go_to(from);
        let opened = output
            .stderr
            .lines()
            .filter(|line| line.starts_with("openat("));
        let is_written = |line: &str| line.contains("\"program\", O_RDWR");
        let nth = opened.into_iter().position(is_written)? + 1;
        Some(format!("inject=openat:error=ETXTBSY:when={nth}"))
    }

    /// Asserts that everything is as the run `to` leaves it, after one of the settings `from`.
    fn is_at(&self, from: &[usize], to: usize, what: &str) {
        self.starts_if_new(to != RESTORED, what);
        if to == RESTORED {
            for name in ["app/program", "app/libbar.so"] {
                let modified = fs::metadata(self.tree.path(name)).and_then(|file| file.modified());
                let expected = SystemTime::UNIX_EPOCH + LONG_AGO;
                assert_eq!(modified.expect("it is there"), expected, "{name}; {what}");
            }
        }
        let now = self.content();
        let then = from.iter().filter_map(|&from| self.left_by(from, to));
        let then: Vec<Content> = then.collect();
        let names = |then: &Content| {
            let names: BTreeSet<PathBuf> = now.keys().chain(then.keys()).cloned().collect();
            let differing = names
                .into_iter()
                .filter(|name| now.get(name) != then.get(name));
            differing.collect::<Vec<PathBuf>>()
        };
        let differing: Vec<Vec<PathBuf>> = then.iter().map(names).collect();
        assert!(then.contains(&now), "{what}: {differing:#?}");
    }

    /// The result of the run `to` on the setting `from` without a stop, if that changes the setting.
    fn left_by(&self, from: usize, to: usize) -> Option<Content> {
        if from != to && !leads(from, to) {
            return None;
        }
        if let Some(left) = self.left.borrow().get(&(from, to)) {
            return Some(left.clone());
        }
        self.go_to(SETTINGS[from].0);
        self.tree.run(SETTINGS[to].1).success();
        let left = self.content();
        self.left.borrow_mut().insert((from, to), left.clone());
        Some(left)
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let [from, to] = [from, to].map(|path| path.to_str().expect("UTF-8"));
    e2e::run::on_host("cp", &["-a", from, to]).success();
}

/// The tool, stopped after each system call that changes the tree.
struct Stopped {
    strace: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    text: String,
}

/// Runs a command with an empty directory as /proc.
const WITHOUT_PROC: [&str; 7] = [
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    r#"mount -t tmpfs none /proc && exec "$@""#,
    "sh",
];

impl Stopped {
    fn start(command: &[String], how: How, injected: Option<String>) -> Self {
        let mut run = Command::new("strace");
        if how == How::ReplacedByName {
            run = Command::new("unshare");
            if !nix::unistd::geteuid().is_root() {
                run.args(["--user", "--map-root-user"]);
            }
            run.args(WITHOUT_PROC).arg("strace");
        }
        let mut strace = run
            // strace injects only into calls that it prints.
            .args(["-e", &format!("trace={CHANGING},openat")])
            .args(["-e", &format!("inject={CHANGING}:signal=STOP")])
            .args(injected.iter().flat_map(|one| ["-e", one]))
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let lines = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
        Self {
            strace,
            lines,
            text: String::new(),
        }
    }

    /// Waits until it stops; `false` when it has ended.
    fn wait(&mut self) -> bool {
        for line in self.lines.by_ref() {
            let line = line.expect("UTF-8");
            self.text.push_str(&line);
            self.text.push('\n');
            if line.contains("--- stopped by SIGSTOP ---") {
                return true;
            }
        }
        false
    }

    fn go_on(&self) {
        let strace = self.strace.id();
        let children = format!("/proc/{strace}/task/{strace}/children");
        let children = fs::read_to_string(children).expect("strace runs");
        let tool: i32 = children.trim().parse().expect("one child");
        let signal = nix::sys::signal::Signal::SIGCONT;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(tool), signal).expect("it is stopped");
    }

    fn succeeded(mut self, what: &str) {
        let status = self.strace.wait().expect("it was started");
        assert!(status.success(), "{what}: {status}\n{}", self.text);
    }
}

/// Whether the tool can do this: it edits a program with a stub in place only after it is restored. A program edited in place stays
/// that, and cannot be relocatable.
fn leads(from: usize, to: usize) -> bool {
    let has = |setting: usize, flag| SETTINGS[setting].1.contains(&flag);
    match has(from, "inplace") || has(from, "auto") {
        true => !has(to, "--relocatable"),
        false => from == RESTORED || !has(to, "inplace"),
    }
}

/// The pairs to try: all of them if the program and strace are for this machine. For other architectures, where the tool does the
/// same, from each setting to the next one and back.
fn pairs(arch: Arch) -> Vec<(usize, usize)> {
    let all = (0..SETTINGS.len()).flat_map(|from| (0..SETTINGS.len()).map(move |to| (from, to)));
    let is_next = |one: usize, other: usize| (one + 1) % SETTINGS.len() == other;
    let is_tried = |from, to| arch == Arch::host() || is_next(from, to) || is_next(to, from);
    all.filter(|&(from, to)| from != to && leads(from, to) && is_tried(from, to))
        .collect()
}

macro_rules! transitions {
    ($($name:ident: $from:expr;)+) => {
        $(
            mod $name {
                use super::*;

                matrix!(architectures: stopped_anywhere);

                fn stopped_anywhere(variant: Variant) {
                    let transitions = Transitions::new(variant);
                    for (from, to) in pairs(variant.arch) {
                        if from == $from {
                            transitions.try_all(from, to, How::Usual);
                        }
                    }
                }
            }
        )+
    };
}

transitions! {
    from_the_original: RESTORED;
    from_a_stub: 1;
    from_self_contained: 2;
    from_relocatable: 3;
    from_in_place: 4;
    from_links: 5;
    from_frozen: 6;
    from_other_libraries: 7;
    from_other_libraries_in_place: 8;
    from_embedded: 9;
}

matrix!(architectures: a_program_that_runs, a_set_id_program_that_runs);

const STUB: usize = 1;
const OWN_LOADER: usize = 2;
const EDITED: usize = 4;
const EDITED_OTHERWISE: usize = 8;

fn a_program_that_runs(variant: Variant) {
    let transitions = Transitions::new(variant);
    for (from, to) in [
        (RESTORED, OWN_LOADER),
        (OWN_LOADER, RESTORED),
        (STUB, OWN_LOADER),
        (OWN_LOADER, STUB),
    ] {
        transitions.try_all(from, to, How::Replaced);
    }
}

/// No copy of it is left after any stop.
fn a_set_id_program_that_runs(variant: Variant) {
    let settings = vec![RESTORED, STUB, EDITED, EDITED_OTHERWISE];
    let transitions = Transitions::with(variant, 0o4755, settings);
    let pairs = [
        (RESTORED, STUB),
        (STUB, RESTORED),
        (RESTORED, EDITED),
        (EDITED, EDITED_OTHERWISE),
        (EDITED, RESTORED),
    ];
    let tried = if variant.arch.is_native() { 5 } else { 2 };
    for how in [How::Replaced, How::ReplacedByName] {
        for &(from, to) in &pairs[..tried] {
            transitions.try_all(from, to, how);
        }
    }
}

macro_rules! starts {
    ($($name:ident: $from:expr;)+) => {
        mod meanwhile {
            $(
                mod $name {
                    use super::super::*;

                    matrix!(architectures: no_start_fails);

                    fn no_start_fails(variant: Variant) {
                        no_start_fails_meanwhile(variant, $from);
                    }
                }
            )+
        }
    };
}

starts! {
    from_a_stub: 1;
    from_self_contained: 2;
    from_relocatable: 3;
    from_in_place: 4;
    from_links: 5;
    from_frozen: 6;
    from_other_libraries: 7;
    from_other_libraries_in_place: 8;
    from_embedded: 9;
}

/// From one setting to each other one, and back.
///
/// With a kernel of the program's architecture: QEMU's user-mode emulator executes a file that can be written to.
fn no_start_fails_meanwhile(variant: Variant, from: usize) {
    let Some(driver) = Driver::new(variant.arch) else {
        return;
    };
    let transitions = Transitions::new(variant);
    let tree = &transitions.tree;
    let is_both_ways = |to: &usize| leads(from, *to) && leads(*to, from);
    let others = (0..SETTINGS.len()).filter(|one| ![RESTORED, from].contains(one));
    let others = others.filter(is_both_ways);
    transitions.go_to(SETTINGS[from].0);
    let order = others.flat_map(|to| [from, to]);
    // The program is running all the time.
    let runs = order.map(|setting| tree.command(&[&["--replace"], SETTINGS[setting].1].concat()));
    let runs: Vec<Vec<String>> = runs.collect();

    let mut arguments = vec![
        tree.path("app/program").display().to_string(),
        "42\n".into(),
    ];
    for run in &runs {
        arguments.extend(["--".to_string(), driver.tool()]);
        arguments.extend_from_slice(&run[1..]);
    }
    let output = driver.run("meanwhile.c", tree.dir.path(), &[], &arguments);
    let output = output.success();
    let starts = output
        .stdout
        .strip_suffix(" starts\n")
        .and_then(|number| number.parse().ok());
    let starts: usize = starts.unwrap_or_else(|| panic!("{output}"));
    // Some during each run. The emulator is slow.
    let expected = if variant.arch.is_native() { 4 } else { 1 } * runs.len();
    assert!(starts > expected, "{starts} starts");
}
