//! Which sidecars a program trusts, for each user who starts it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use e2e::check::sidecar_of;
use e2e::sample::SAYS;
use e2e::{Build, Output, Run, Sample, Variant, matrix, says, source};
use sidecar::Sidecar;

matrix!(systems:
    a_build_directory_that_another_user_makes_anew, a_sidecar_planted_next_to_a_copy, a_sidecar_of_another_user,
    a_sidecar_that_others_may_write, program_wrapped_by_another_user_starts, owners_without_id_in_the_namespace,
    a_start_by_a_child_of_a_set_id_program, a_build_directory_made_anew_with_a_loader, a_loader_planted_next_to_a_copy,
    a_loader_that_others_own_or_may_write, a_program_renamed_with_its_sidecar, a_sidecar_that_is_a_link,
    a_link_next_to_a_copy, the_owner_of_a_file_with_capabilities,
);

const OWNER: u32 = 500;
const MALLORY: u32 = 1000;
const VICTIM: u32 = 2000;

/// The id of owners that have none in a user namespace.
const NOBODY: u32 = 65534;

/// The output of the sample with the attacker's library.
const EVIL: &str = "value 668\n";

/// The paths at which the program was built and installed.
const BUILT: &str = "/build/program";
const INSTALLED: &str = "/opt/app/program";

/// A program that was wrapped in a build directory and installed with `cp -a`, together with its sidecar. Then the directory was
/// removed, and the attacker has made it again, with a sidecar of the same identity that finds the attacker's libraries.
fn installed_next_to_an_attack(variant: Variant, flags: &[&str]) -> Sample {
    let sample = Sample::unwrapped_at(variant, BUILT);
    let flags = || flags.iter().copied();
    sample.wrapping().args(flags()).run();
    let root = &sample.root;
    root.install(&root.path(BUILT), INSTALLED);
    let good = root.read(&sidecar_of(BUILT));
    let evil = Build::library(variant, source("lib/foo.c"), "libfoo.so")
        .flag("-DVALUE=666")
        .build();
    root.install(&evil, "/build/lib/libfoo.so");
    root.install(&sample.built, BUILT);
    let attack = root.wrap(BUILT).libs(["/build/lib"]);
    attack.args(flags()).run();
    let bad = root.read(&sidecar_of(BUILT));
    let id = |bytes: &[u8]| Sidecar::parse(bytes).expect("just written").header().id;
    assert_eq!(
        id(&good),
        id(&bad),
        "an attack that cannot work proves nothing"
    );
    fs::remove_file(root.path(BUILT)).expect("the copy has done its duty");
    root.write(&sidecar_of(INSTALLED), good);
    for path in ["/build", &sidecar_of(BUILT)] {
        own(&sample, path, MALLORY);
    }
    sample
}

fn a_build_directory_that_another_user_makes_anew(variant: Variant) {
    let sample = installed_next_to_an_attack(variant, &[]);
    let start = || sample.root.command(INSTALLED);
    says(start().output());
    says(start().user(VICTIM).output());
    // Even without its own sidecar, the program does not trust that of another user.
    fs::remove_file(sample.root.path(&sidecar_of(INSTALLED))).expect("a sidecar");
    let planted = sidecar_of(BUILT);
    start().output().refuses(&[&planted, "owned"]);
    start().user(VICTIM).output().refuses(&[&planted, "owned"]);
    start()
        .without_proc()
        .output()
        .refuses(&[&planted, "owned"]);
    // The user who runs the program may choose, and so may its owner.
    assert_eq!(start().user(MALLORY).output().success().stdout, EVIL);
    own(&sample, INSTALLED, MALLORY);
    assert_eq!(start().user(VICTIM).output().success().stdout, EVIL);
    // Root's link has the same effect as another copy.
    own(&sample, &planted, 0);
    own(&sample, INSTALLED, 0);
    assert_eq!(start().user(VICTIM).output().success().stdout, EVIL);
}

/// As in a sticky directory, where other users cannot replace the program.
fn a_sidecar_planted_next_to_a_copy(variant: Variant) {
    let sample = installed_next_to_an_attack(variant, &[]);
    let root = &sample.root;
    let good = root.read(&sidecar_of(INSTALLED));
    let bad = root.read(&sidecar_of(BUILT));
    root.write(&sidecar_of(BUILT), good);
    own(&sample, &sidecar_of(BUILT), 0);
    root.write(&sidecar_of(INSTALLED), bad);
    own(&sample, &sidecar_of(INSTALLED), MALLORY);
    let start = || root.command(INSTALLED);
    let words = [sidecar_of(INSTALLED), "owned".to_owned()];
    start().output().refuses(&words);
    start().user(VICTIM).output().refuses(&words);
    let status = root.wrap_buddy().args(["status", INSTALLED]).output();
    assert!(status.stdout.contains("not trusted"), "{status}");
    fs::remove_file(root.path(&sidecar_of(INSTALLED))).expect("the attacker's");
    says(start().output());
}

fn a_sidecar_of_another_user(variant: Variant) {
    let sample = Sample::new(variant);
    let sidecar = sidecar_of(&sample.program);
    own(&sample, &sidecar, OWNER);
    let start = || sample.command();
    start().output().refuses(&[&sidecar]);
    start().user(VICTIM).output().refuses(&[&sidecar]);
    says(start().user(OWNER).output());
    own(&sample, &sample.program, OWNER);
    says(start().output());
    says(start().user(VICTIM).output());
}

fn a_sidecar_that_others_may_write(variant: Variant) {
    let sample = Sample::new(variant);
    let sidecar = sidecar_of(&sample.program);
    let modes = |program, of_sidecar| {
        set_mode(&sample, &sample.program, program);
        set_mode(&sample, &sidecar, of_sidecar);
        sample.command()
    };
    for mode in [0o646, 0o664, 0o666] {
        modes(0o755, mode).output().refuses(&[&sidecar]);
    }
    modes(0o775, 0o666).output().refuses(&[&sidecar]);
    says(modes(0o775, 0o664).output());
    says(modes(0o777, 0o666).output());
    let path = sample.root.path(&sidecar);
    // Another group than that of the users who may write to the program.
    chown(&path, None, Some(OWNER)).expect("chgrp");
    modes(0o775, 0o664).output().refuses(&[&sidecar]);
    says(modes(0o775, 0o644).output());
    says(modes(0o777, 0o664).output());
}

fn program_wrapped_by_another_user_starts(variant: Variant) {
    let sample = Sample::new(variant);
    for path in [&sample.program, &sidecar_of(&sample.program)] {
        own(&sample, path, OWNER);
    }
    let by_ld_so = || sample.command_by_ld_so();
    for user in [0, VICTIM] {
        let as_user = |run: Run<'_>| -> Output { run.user(user).output() };
        says(as_user(sample.command()));
        says(as_user(sample.command().without_proc()));
        says(as_user(by_ld_so()));
    }
}

/// In a user namespace that does not map root, such as that of a build, installed files have no owner, and built files do.
fn owners_without_id_in_the_namespace(variant: Variant) {
    let sample = Sample::new(variant);
    let (program, sidecar, loader) = (
        sample.program.clone(),
        sidecar_of(&sample.program),
        sample.loader(),
    );
    for path in [&program, &sidecar, &loader] {
        own(&sample, path, NOBODY);
        set_mode(&sample, path, 0o555);
    }
    says(sample.command().user(VICTIM).output());
    // A program that copies itself, as compilers do.
    let copy = sample
        .root
        .install(&sample.root.path(&program), "/srv/copy");
    own(&sample, &copy, VICTIM);
    says(sample.root.command(&copy).user(VICTIM).output());
    let untrusted = "users who cannot write the file can write";
    assert!(!is_said(&sample, &copy, VICTIM, untrusted));
    let restore = sample.root.wrap_buddy().args(["restore", &copy]);
    let restored = restore.user(VICTIM).output();
    assert!(restored.stderr.contains(untrusted), "{restored}");
    own(&sample, &loader, OWNER);
    let start = sample.root.command(&copy).user(VICTIM);
    start.output().refuses(&[&sidecar]);
    assert!(is_said(&sample, &copy, VICTIM, untrusted));
}

/// The stub has the old name of the sidecar.
fn a_program_renamed_with_its_sidecar(variant: Variant) {
    let sample = Sample::new(variant);
    let root = &sample.root;
    let (old, new) = (&sample.program, "/app/renamed");
    let rename = |from: &str, to: &str| {
        fs::rename(root.path(from), root.path(to)).expect("rename");
    };
    let missing = "it does not start: it looks for its sidecar at";
    let is_gone = || is_said(&sample, new, 0, missing);
    rename(old, new);
    says(root.command(new).output());
    assert!(!is_gone());
    rename(&sidecar_of(old), &sidecar_of(new));
    root.command(new).output().refuses(&[&sidecar_of(old)]);
    assert!(is_gone());
    // A sidecar with the old name in another directory works too.
    rename(&sidecar_of(new), &sidecar_of(old));
    let copy = root.install(&root.path(new), "/srv/renamed");
    root.install(
        &root.path(&sidecar_of(old)),
        &format!("/srv/{}", &sidecar_of(old)[5..]),
    );
    says(root.command(&copy).output());
    assert!(!is_said(&sample, &copy, 0, missing));
    rename(&sidecar_of(old), &sidecar_of(new));
    says(root.command(&copy).output());
    assert!(!is_said(&sample, &copy, 0, missing));
    // A set-id program trusts only the sidecar at the path in its stub.
    set_mode(&sample, &copy, 0o4755);
    root.command(&copy)
        .secure()
        .output()
        .refuses(&[&sidecar_of(old)]);
    assert!(is_said(&sample, &copy, 0, missing));
    let again = root.wrap(new).libs([&sample.library_dir]);
    again.run();
    says(root.command(new).output());
    assert!(!is_gone());
}

/// The owner of a link can change its target, and need not own that, so no start and no command follows the link.
fn a_sidecar_that_is_a_link(variant: Variant) {
    let own = ["--self-contained", "--relocatable", "--allow-outside"];
    // 40 is ELOOP, from a stub; the loader gives no reason for a path relative to the program.
    for (flags, error) in [
        (&[][..], ": symbolic link, not followed"),
        (&own[1..], "no sidecar"),
        (&own[..1], " denied or damaged"),
        (&own, " denied or damaged"),
    ] {
        let sample = Sample::unwrapped(variant);
        sample.wrapping().args(flags.iter().copied()).run();
        let (root, program) = (&sample.root, &sample.program);
        says(sample.command().output());
        let sidecar = sidecar_of(program);
        root.mkdir("/srv");
        fs::rename(root.path(&sidecar), root.path("/srv/sidecar")).expect("rename");
        symlink("/srv/sidecar", root.path(&sidecar)).expect("symlink");
        sample
            .command()
            .output()
            .refuses(&[".program.wrapbuddy", error]);
        sample.command().without_proc().output().exits_with(127);
        assert!(is_said(&sample, program, 0, "is a symbolic link"));
        let before = root.read(program);
        for command in [
            root.wrap_buddy().args(["restore", program]),
            sample.wrapping().args(flags.iter().copied()).command(),
        ] {
            let output = command.output().exits_with(1);
            assert!(output.stderr.contains("is a symbolic link"), "{output}");
        }
        assert!(root.read(program) == before && root.path(&sidecar).is_symlink());
    }
}

/// As in a tree of links in which copies replaced programs: the loader uses the sidecar at the stub's path.
fn a_link_next_to_a_copy(variant: Variant) {
    let sample = Sample::new(variant);
    let root = &sample.root;
    let sidecar = sidecar_of(&sample.program);
    let copy = root.install(&root.path(&sample.program), "/srv/program");
    symlink(&sidecar, root.path(&sidecar_of(&copy))).expect("symlink");
    says(root.command(&copy).output());
    assert!(!is_said(&sample, &copy, 0, "does not start"));
    let check = || {
        // No emulator is registered with the kernel.
        let check = root.wrap_buddy().args(["check", &copy]).output();
        let mut errors = check.stdout.lines().filter(|line| line.contains("error:"));
        assert!(!errors.any(|error| error.contains("sidecar")), "{check}");
        assert!(
            check.status == Some(0) || !variant.arch.is_native(),
            "{check}"
        );
    };
    check();
    let restore = root.wrap_buddy().args(["restore", &copy]).output();
    let restore = restore.exits_with(1);
    assert!(restore.stderr.contains("is a symbolic link"), "{restore}");
    // The same for any other file that is not its sidecar.
    let beside = root.path(&sidecar_of(&copy));
    fs::remove_file(&beside).expect("a link");
    root.write(&sidecar_of(&copy), "something else");
    says(root.command(&copy).output());
    check();
}

/// Whether both `status` and `check` print these words about the program for `user`.
#[track_caller]
fn is_said(sample: &Sample, program: &str, user: u32, words: &str) -> bool {
    let [by_status, by_check] = ["status", "check"].map(|command| {
        let run = sample.root.wrap_buddy().args([command, program]);
        run.user(user).output().stdout.contains(words)
    });
    assert_eq!(by_status, by_check, "status and check of {program}");
    by_status
}

/// AT_SECURE is set, but not because of the program. Its owner can run the unwrapped file, so the owner's sidecar is trusted too.
fn a_start_by_a_child_of_a_set_id_program(variant: Variant) {
    let sample = Sample::new(variant);
    let sidecar = sidecar_of(&sample.program);
    let start = || sample.command().secure();
    for path in [&sample.program, &sidecar] {
        own(&sample, path, OWNER);
    }
    says(start().output());
    set_mode(&sample, &sample.program, 0o775);
    set_mode(&sample, &sidecar, 0o664);
    says(start().output());
    set_mode(&sample, &sample.program, 0o755);
    start().output().refuses(&[&sidecar]);
    set_mode(&sample, &sidecar, 0o644);
    own(&sample, &sample.program, 0);
    start().output().refuses(&[&sidecar]);
    // Not that of the caller, who has fewer rights.
    own(&sample, &sidecar, MALLORY);
    start().output().refuses(&[&sidecar]);
    assert_eq!(
        sample.command().user(MALLORY).output().success().stdout,
        SAYS
    );
}

/// The owner does not have the file's capabilities.
fn the_owner_of_a_file_with_capabilities(variant: Variant) {
    const CAPABLE: [u8; 20] = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    let sidecar = sidecar_of(&sample.program);
    for path in [&sample.program, &sidecar] {
        own(&sample, path, OWNER);
    }
    set_mode(&sample, &sample.program, 0o4755);
    let by_set_id = || sample.command().user(VICTIM).output();
    says(by_set_id());
    xattr::set(
        sample.root.path(&sample.program),
        "security.capability",
        &CAPABLE,
    )
    .expect("as root");
    by_set_id().refuses(&[&sidecar]);
    set_mode(&sample, &sample.program, 0o755);
    sample.command().secure().output().refuses(&[&sidecar]);
    own(&sample, &sidecar, 0);
    says(sample.command().secure().output());
}

/// The stub starts the loader in the sidecar, so it checks the sidecar before any of the loader runs.
fn a_build_directory_made_anew_with_a_loader(variant: Variant) {
    let sample = installed_next_to_an_attack(variant, &["--self-contained"]);
    let planted = sidecar_of(BUILT);
    let start = || sample.root.command(INSTALLED);
    let words = [&*planted, " denied or damaged"];
    start().output().refuses(&words);
    start().user(VICTIM).output().refuses(&words);
    start().without_proc().output().refuses(&words);
    // The user who runs the program may choose, and so may root.
    assert_eq!(start().user(MALLORY).output().success().stdout, EVIL);
    own(&sample, &planted, 0);
    assert_eq!(start().user(VICTIM).output().success().stdout, EVIL);
}

/// The same if the stub looks next to the program, in a sticky directory.
fn a_loader_planted_next_to_a_copy(variant: Variant) {
    let flags = ["--self-contained", "--relocatable", "--allow-outside"];
    let sample = installed_next_to_an_attack(variant, &flags);
    let root = &sample.root;
    let copy = root.install(&root.path(INSTALLED), "/srv/program");
    let start = || root.command(&copy);
    root.write(&sidecar_of(&copy), root.read(&sidecar_of(INSTALLED)));
    says(start().user(VICTIM).output());
    root.write(&sidecar_of(&copy), root.read(&sidecar_of(BUILT)));
    own(&sample, &sidecar_of(&copy), MALLORY);
    let words = [".program.wrapbuddy", " denied or damaged"];
    start().output().refuses(&words);
    start().user(VICTIM).output().refuses(&words);
}

fn a_loader_that_others_own_or_may_write(variant: Variant) {
    for flags in [
        &["--self-contained"][..],
        &["--self-contained", "--relocatable", "--allow-outside"],
    ] {
        let sample = Sample::unwrapped(variant);
        sample.wrapping().args(flags.iter().copied()).run();
        let (program, sidecar) = (&sample.program, sidecar_of(&sample.program));
        let emulator = "/tool/emulator";
        if !variant.arch.is_native() {
            let qemu = variant.arch.qemu_path();
            sample.root.install(&qemu, emulator);
        }
        // For the kernel, the file of an emulated program is the emulator.
        let files = || match variant.arch.is_native() {
            true => vec![program.as_str()],
            false => vec![program, emulator],
        };
        let start = |user| {
            let files = files();
            let run = sample.root.command(files[files.len() - 1]);
            run.args(files[1..].iter().map(|_| program)).user(user)
        };
        let is_started = |[owner, group, mode]: [u32; 3], of_sidecar: [u32; 3], user| {
            let sidecar = [(&*sidecar, of_sidecar)];
            let files = files().into_iter().map(|path| (path, [owner, group, mode]));
            for (path, [owner, group, mode]) in files.chain(sidecar) {
                chown(sample.root.path(path), Some(owner), Some(group)).expect("chown");
                set_mode(&sample, path, mode);
            }
            // `status` and `check` predict the result of a start by this user.
            let says_no = ["status", "check"].map(|command| {
                let run = sample.root.wrap_buddy().args([command, program]);
                let run = run.args(
                    ["--interpreter", &sample.interpreter()][..2 * usize::from(command == "check")]
                        .iter()
                        .copied(),
                );
                let said = run.user(user).output();
                said.stdout.contains("does not start the loader")
                    || said
                        .stdout
                        .contains("users who cannot write the file can write")
            });
            let output = start(user).output();
            assert_eq!(
                says_no,
                [output.status != Some(0); 2],
                "{of_sidecar:?} {output}"
            );
            if output.status == Some(0) {
                says(output);
                return true;
            }
            output.refuses(&[".program.wrapbuddy", " denied or damaged"]);
            false
        };
        let (own, roots) = ([OWNER, OWNER, 0o755], [0, 0, 0o755]);
        for (of_program, of_sidecar, user, expected) in [
            // The sidecar belongs to root, the user, or the program's owner.
            (own, [0, 0, 0o644], VICTIM, true),
            (own, [OWNER, OWNER, 0o644], VICTIM, true),
            (own, [OWNER, OWNER, 0o644], 0, true),
            (own, [VICTIM, VICTIM, 0o644], VICTIM, true),
            (roots, [OWNER, OWNER, 0o644], OWNER, true),
            (own, [MALLORY, OWNER, 0o644], VICTIM, false),
            (own, [MALLORY, MALLORY, 0o644], 0, false),
            (roots, [MALLORY, 0, 0o644], 0, false),
            (roots, [MALLORY, 0, 0o644], VICTIM, false),
            // Other users may write to it if they may write to the program.
            (own, [OWNER, OWNER, 0o664], VICTIM, false),
            (own, [OWNER, OWNER, 0o646], VICTIM, false),
            (roots, [0, 0, 0o664], 0, false),
            (roots, [0, 0, 0o646], 0, false),
            ([0, 0, 0o775], [0, 0, 0o664], VICTIM, true),
            ([0, 0, 0o775], [0, 0, 0o666], 0, false),
            ([0, 0, 0o775], [0, MALLORY, 0o664], 0, false),
            ([0, 0, 0o777], [0, 0, 0o666], 0, true),
            ([OWNER, OWNER, 0o775], [OWNER, OWNER, 0o664], VICTIM, true),
            ([OWNER, OWNER, 0o775], [OWNER, MALLORY, 0o664], OWNER, false),
            ([OWNER, OWNER, 0o775], [VICTIM, OWNER, 0o664], VICTIM, false),
        ] {
            assert_eq!(
                is_started(of_program, of_sidecar, user),
                expected,
                "{flags:?}: program {of_program:?}, sidecar {of_sidecar:?}, run by {user}"
            );
        }
    }
}

fn own(sample: &Sample, path: &str, user: u32) {
    chown(sample.root.path(path), Some(user), Some(user)).expect("chown");
}

fn set_mode(sample: &Sample, path: &str, mode: u32) {
    fs::set_permissions(sample.root.path(path), Permissions::from_mode(mode)).expect("chmod");
}
