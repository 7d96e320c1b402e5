//! Other users' files at the path of a sidecar.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{
    IN_PLACE, USER, has_users, restoring, sample, set_mode, spares, watching_once, wrapping,
};

matrix!(architectures: other_files_at_the_path_of_a_sidecar_are_not_read, a_sidecar_of_another_group_is_not_trusted);

/// Any other file at the path of a sidecar is an error, and is not waited for.
fn other_files_at_the_path_of_a_sidecar_are_not_read(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    let sidecar = root.path(&sidecar_of("/app/program"));
    root.write("/srv/secret", "only root reads this");
    set_mode(root, "/srv/secret", 0o600);
    let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).expect("mkfifo");
    let link = |target: &'static str| move |path: &Path| symlink(target, path).expect("symlink");
    let huge = |path: &Path| {
        File::create(path)
            .and_then(|file| file.set_len(1 << 40))
            .expect("a hole")
    };
    let puts: [&dyn Fn(&Path); 6] = [
        &fifo,
        &link("/srv/secret"),
        &link("/dev/zero"),
        &link("/dev/ptmx"),
        &|path| fs::create_dir(path).expect("mkdir"),
        &huge,
    ];
    for put in puts {
        put(&sidecar);
        lchown(&sidecar, Some(USER), Some(USER)).expect("chown");
        spares(root, || {
            for more in [&[][..], &IN_PLACE] {
                let output = wrapping(&sample, "/app", more).exits_with(1);
                assert!(!output.timed_out, "{output}");
            }
            let output = restoring(root, "/app").exits_with(1);
            assert!(output.stderr.contains("sidecar"), "{output}");
            watching_once(&sample, "/app");
        });
        let _ = fs::remove_file(&sidecar).or_else(|_| fs::remove_dir(&sidecar));
    }
}

/// Both the group and the user count.
fn a_sidecar_of_another_group_is_not_trusted(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(variant);
    let root = &sample.root;
    set_mode(root, "/app/program", 0o775);
    wrapping(&sample, "/app", &[]).success();
    let sidecar = root.path(&sidecar_of("/app/program"));
    fs::set_permissions(&sidecar, Permissions::from_mode(0o664)).expect("chmod");
    restoring(root, "/app").success();
    wrapping(&sample, "/app", &[]).success();
    chown(&sidecar, Some(0), Some(50)).expect("chown");
    fs::set_permissions(&sidecar, Permissions::from_mode(0o664)).expect("chmod");
    let output = restoring(root, "/app").exits_with(1);
    assert!(
        output
            .stderr
            .contains("users who cannot write the file can write its sidecar"),
        "{output}"
    );
}
