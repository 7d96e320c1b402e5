//! `wrap-buddy run`: starts a program once, and changes none of its files. `fixtures`, `once::…`, have what the program then sees.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use e2e::{Arch, Build, Kind, Libc, Run, Running, Sample, Variant, matrix, says, source};

matrix!(systems:
    by_an_ordinary_user, without_a_mount_namespace, a_program_that_has_changed, many_first_starts, from_another_place,
    found_by_check,
);
// The tool itself.
matrix!([x86_64_glibc_pie]: (
    programs_that_start_as_they_are, refusals, a_cache_that_is_read_only, a_cache_of_another_user, a_full_disk
));

const USER: u32 = 1000;
const CACHE: &str = "/cache";

/// `wrap-buddy run` in the sample's root, with its libraries and a cache that stays.
fn run<'r>(sample: &'r Sample, words: &[&str]) -> Run<'r> {
    let tool = sample.root.tool_itself();
    let command = sample.root.command(&tool).env("XDG_CACHE_HOME", CACHE);
    command.arg("run").args(words.iter().copied())
}

fn flags(sample: &Sample) -> Vec<String> {
    let mut flags = vec!["--interpreter".to_string(), sample.interpreter()];
    for directory in [sample.root.library_dirs(), vec![sample.library_dir.clone()]].concat() {
        flags.extend(["--libs".to_string(), directory]);
    }
    flags
}

/// The program, started with the libraries that it needs.
fn started<'r>(sample: &'r Sample, words: &[&str]) -> Run<'r> {
    run(sample, &[])
        .args(flags(sample))
        .arg(&sample.program)
        .args(words.iter().copied())
}

fn sample(variant: Variant, user: u32) -> Sample {
    let sample = Sample::unwrapped(variant);
    chown(sample.root.mkdir(CACHE), Some(user), Some(user)).expect("chown");
    sample
}

/// The copies of the program.
fn copies(sample: &Sample) -> Vec<String> {
    let mut found = Vec::new();
    let run = sample.root.path(&format!("{CACHE}/wrap-buddy/run"));
    for program in fs::read_dir(run).expect("a cache") {
        let entries = fs::read_dir(program.expect("an entry").path()).expect("copies");
        found.extend(entries.map(|entry| entry.expect("an entry").file_name()));
    }
    found
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The path of its executable, as the kernel names it.
fn executable(run: Run<'_>) -> String {
    let output = run.output().success();
    let mut paths = output
        .stdout
        .lines()
        .filter_map(|line| line.rsplit(' ').next());
    paths
        .find(|path| path.ends_with("/program"))
        .expect("itself")
        .to_string()
}

fn by_an_ordinary_user(variant: Variant) {
    let sample = sample(variant, USER);
    says(started(&sample, &[]).user(USER).output());
    let output = started(&sample, &["ids"]).user(USER).output().success();
    assert_eq!(
        output.stdout, "uid 1000/1000, secure 0\nvalue 42\n",
        "{output}"
    );
    assert_eq!(
        executable(started(&sample, &["maps"]).user(USER)),
        sample.program
    );
    assert_eq!(copies(&sample).len(), 1);
}

/// A system may forbid mount namespaces.
fn without_a_mount_namespace(variant: Variant) {
    let sample = sample(variant, 0);
    let host = Variant::new(Arch::host(), Libc::Glibc, Kind::Exec);
    let fenced = Build::program(host, source("no_mounts.c"))
        .flag("-static")
        .build();
    sample.root.install(&fenced, "/tool/no_mounts");
    let tool = sample.root.tool_itself();
    let start = |flag: &[&str], words: &[&str]| {
        let fenced = sample
            .root
            .command("/tool/no_mounts")
            .env("XDG_CACHE_HOME", CACHE);
        let run = fenced.args([&*tool, "run"]).args(flag.iter().copied());
        let run = run.args(flags(&sample)).arg(&sample.program);
        run.args(words.iter().copied())
    };
    says(start(&[], &[]).output());
    let found = executable(start(&[], &["maps"]));
    assert!(found.starts_with(CACHE), "{found}");
    let output = start(&["-v"], &[]).output().success();
    assert!(output.stderr.contains("no mount namespace"), "{output}");
}

fn a_program_that_has_changed(variant: Variant) {
    let sample = sample(variant, 0);
    says(started(&sample, &[]).output());
    let first = copies(&sample);
    says(started(&sample, &[]).output());
    assert_eq!(copies(&sample), first, "it was made anew");
    // The copies of one program for several settings exist side by side.
    says(
        run(&sample, &["--needed", "libm.so.6"])
            .args(flags(&sample))
            .arg(&sample.program)
            .output(),
    );
    assert_eq!(copies(&sample).len(), 2);
    // The same bytes with another time of change.
    sample.root.install(&sample.built, &sample.program);
    says(started(&sample, &[]).output());
    let second = copies(&sample);
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
}

fn many_first_starts(variant: Variant) {
    let sample = sample(variant, 0);
    let children: Vec<Running> = (0..8)
        .map(|_| started(&sample, &[]).spawn().expect("exec"))
        .collect();
    for child in children {
        says(child.finish(Duration::from_secs(60)));
    }
    assert_eq!(copies(&sample).len(), 1);
}

fn from_another_place(variant: Variant) {
    let sample = sample(variant, 0);
    let typed = run(&sample, &[]).args(flags(&sample));
    says(typed.cwd("/app").arg("./program").output());
}

/// Without `--libs`, it uses what `check` proposes.
fn found_by_check(variant: Variant) {
    let sample = sample(variant, 0);
    let command = run(&sample, &["--interpreter", &sample.interpreter()]);
    says(
        command
            .args(["--find-in", "/nix/store"])
            .arg(&sample.program)
            .output(),
    );
}

/// A static program, a script, and a wrapped program: as without `run`.
fn programs_that_start_as_they_are(variant: Variant) {
    let sample = sample(variant, 0);
    let fixed = Variant::new(variant.arch, Libc::Glibc, Kind::Exec);
    let built = Build::program(fixed, source("exit.c"))
        .flag("-static")
        .build();
    sample.root.install(&built, "/app/static");
    run(&sample, &["/app/static"]).output().exits_with(42);
    let script = sample.root.path("/app/script");
    fs::write(&script, "#!/app/static\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    run(&sample, &["/app/script"]).output().exits_with(42);
    sample.wrap();
    says(run(&sample, &[&sample.program]).output());
    assert!(
        !sample.root.path(&format!("{CACHE}/wrap-buddy")).exists(),
        "copies that are not needed"
    );
}

fn refuses(run: Run<'_>, status: i32, words: &[&str]) {
    let output = run.output().exits_with(status);
    assert_eq!(output.stdout, "", "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "{word}; {output}");
    }
}

fn refusals(variant: Variant) {
    let sample = sample(variant, 0);
    let program = &*sample.program;
    refuses(
        run(&sample, &["/app/nothing"]),
        127,
        &["/app/nothing", "does not exist"],
    );
    refuses(
        run(&sample, &["nothing"]),
        127,
        &["nothing", "does not exist"],
    );
    refuses(run(&sample, &["/app"]), 126, &["/app", "name a program"]);
    let lacking = run(
        &sample,
        &[
            "--interpreter",
            &sample.interpreter(),
            "--libs",
            "/app",
            program,
        ],
    );
    refuses(lacking, 126, &[program, "libfoo.so", "--libs"]);
    sample.root.write("/app/script", "#!/gone\n");
    let script = sample.root.path("/app/script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    refuses(
        run(&sample, &["/app/script"]),
        126,
        &["/app/script", "check"],
    );
    let file = sample.root.path(program);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).expect("chmod");
    refuses(started(&sample, &[]), 126, &[program, "set-id"]);
    assert!(
        !sample.root.path(&format!("{CACHE}/wrap-buddy")).exists(),
        "half a copy"
    );
}

/// Among the temporary files instead.
fn a_cache_that_is_read_only(variant: Variant) {
    let sample = sample(variant, USER);
    fs::set_permissions(sample.root.path(CACHE), fs::Permissions::from_mode(0o555)).expect("chmod");
    says(started(&sample, &[]).user(USER).output());
    let nowhere = started(&sample, &[]).user(USER).env("TMPDIR", CACHE);
    refuses(nowhere, 126, &["XDG_CACHE_HOME"]);
}

fn a_cache_of_another_user(variant: Variant) {
    let sample = sample(variant, 0);
    fs::set_permissions(sample.root.path(CACHE), fs::Permissions::from_mode(0o777)).expect("chmod");
    says(started(&sample, &[]).user(USER).output());
    assert!(!sample.root.path(&format!("{CACHE}/wrap-buddy")).exists());
}

/// With a cache on a file system of 16 KiB. Nothing is started, and nothing is left.
fn a_full_disk(variant: Variant) {
    let sample = Sample::installed_at(variant, "/app/program");
    let root = &sample.root;
    let directory = variant.default_library_dir();
    let library = root.path(&format!("{directory}/libfoo.so"));
    root.install(&library, "/opt/lib/libfoo.so");
    fs::remove_file(library).expect("remove a library");
    root.install(&e2e::tool::path(), "/tool/itself");
    for name in ["libgcc_s.so.1", "libm.so.6"] {
        let library = variant.arch.find_library(name);
        let library = library.expect("a library of this machine");
        root.install(&library, &format!("{directory}/{name}"));
    }
    let (top, cache) = (root.path("/"), root.mkdir(CACHE));
    let run = |size: &str| {
        let script = format!(
            "mount --rbind /proc '{top}/proc' && mount -t tmpfs -o size={size},mode=755 none '{cache}' || exit 99; \
             XDG_CACHE_HOME={CACHE} chroot '{top}' /tool/itself run --libs /opt/lib /app/program; \
             echo \"status $?\"; find '{cache}' -type f",
            top = top.display(),
            cache = cache.display(),
        );
        e2e::run::on_host("unshare", &["--mount", "sh", "-c", &script])
    };
    let output = run("16k");
    assert_eq!(output.stdout, "status 126\n", "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    let words = "error: no wrapped copy can be made in /cache/wrap-buddy/run/";
    assert!(output.stderr.contains(words), "{output}");
    assert!(
        output.stderr.contains("no space left on the file system"),
        "{output}"
    );
    let output = run("1m");
    assert!(
        output.stdout.starts_with("value 42\nstatus 0\n"),
        "{output}"
    );
}
