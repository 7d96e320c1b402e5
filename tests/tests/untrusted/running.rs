//! Programs that run while root replaces them: `--replace` reads all of the file and puts a copy in its place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::time::Duration;

use e2e::{Build, Driver, Output, SAYS, Variant, matrix, source};

use crate::{TRUST, USER, effort, has_users, time_limit};

matrix!(architectures: copy_of_a_running_program_belongs_to_its_owner, link_swapped_in_for_a_running_program_is_not_copied);

/// Runs `replacing.c` with the user's program below `app`, which belongs to `owner`, and root's `srv/victim/program`, which has more bytes.
fn replacing(
    variant: Variant,
    program: &str,
    owner: u32,
    names: [&str; 2],
    more: &[&str],
) -> Option<Output> {
    let driver = Driver::new(variant.arch)?;
    let linker = variant.dynamic_linker().display().to_string();
    let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let built = Build::program(variant, source("sample.c"))
        .flag(format!("-Wl,--dynamic-linker={linker}"))
        .link(&library)
        .build();
    let tree = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| tree.path().join(name).display().to_string();
    for name in ["app/sub", "srv/victim", "lib"] {
        fs::create_dir_all(path(name)).expect("mkdir");
    }
    fs::copy(&library, path("lib/libfoo.so")).expect("copy");
    let content = fs::read(&built).expect("built before");
    let secret = [&content[..], b"only root reads this"].concat();
    for (name, content, mode) in [
        (program, &content, 0o755),
        ("srv/victim/program", &secret, 0o700),
    ] {
        fs::write(path(name), content).expect("write");
        fs::set_permissions(path(name), Permissions::from_mode(mode)).expect("chmod");
    }
    symlink(path("srv/victim/program"), path("app/other")).expect("symlink");
    symlink(path("srv/victim"), path("app/aside")).expect("symlink");
    for name in ["app", "app/sub", "app/other", "app/aside", program] {
        let user = if name == "app" { owner } else { USER };
        lchown(Path::new(&path(name)), Some(user), Some(user)).expect("chown");
    }
    fs::set_permissions(tree.path(), Permissions::from_mode(0o755)).expect("chmod");

    let (swaps, mut longest) = match names {
        ["", ""] => (0, Duration::ZERO),
        _ => effort(variant),
    };
    if !variant.arch.is_native() {
        // The emulator is slow.
        longest = time_limit();
    }
    let mut arguments = vec![path(program), path("srv/victim/program")];
    arguments.extend([swaps.to_string(), longest.as_secs().to_string()]);
    arguments.extend(names.map(|name| {
        if name.is_empty() {
            String::new()
        } else {
            path(name)
        }
    }));
    arguments.extend([driver.tool(), "--paths".into(), path("app")]);
    arguments.extend(["--self-contained", "--replace", "--interpreter", &linker].map(String::from));
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    arguments.extend(["--libs".to_owned(), path("lib")]);
    let system = variant.arch.library_dirs().into_iter();
    arguments.extend(system.map(|directory| directory.display().to_string()));
    Some(
        driver
            .run("replacing.c", tree.path(), &[path("lib")], &arguments)
            .success(),
    )
}

/// It is made with the owner's rights, or with root's and then given to the owner. It starts.
fn copy_of_a_running_program_belongs_to_its_owner(variant: Variant) {
    if !has_users() {
        return;
    }
    let copied = format!("0 1 0 0\n{SAYS}");
    for (owner, more, expected) in [
        (USER, TRUST[0], &*copied),
        (USER, TRUST[1], &copied),
        // The owner of the program cannot replace it.
        (USER + 1, TRUST[0], "1 0 0 0\n"),
    ] {
        if let Some(output) = replacing(variant, "app/program", owner, ["", ""], more) {
            assert_eq!(output.stdout, expected, "{owner} {more:?} {output}");
        }
    }
}

fn link_swapped_in_for_a_running_program_is_not_copied(variant: Variant) {
    if !has_users() {
        return;
    }
    for (program, names) in [
        ("app/program", ["app/program", "app/other"]),
        ("app/sub/program", ["app/sub", "app/aside"]),
    ] {
        // Each boot takes seconds. Root's own rights are the greater danger.
        let without = usize::from(!variant.arch.is_native());
        for trust in &TRUST[without..] {
            let Some(output) = replacing(variant, program, USER, names, trust) else {
                return;
            };
            let numbers: Vec<usize> = output
                .stdout
                .split_whitespace()
                .flat_map(str::parse)
                .collect();
            let [_, copies, others, swaps] = numbers[..] else {
                panic!("{output}");
            };
            println!("{swaps} swaps");
            // The first run is not disturbed. Some of the others do not find a link; the emulator makes few runs.
            let first = usize::from(variant.arch.is_native());
            assert!(copies > first, "{output}");
            assert!(!trust.is_empty() || others == 0, "{output}");
        }
    }
}
