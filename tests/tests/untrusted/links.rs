//! The directory of links next to a library.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Root, Variant, matrix};

use crate::{USER, give, has_users, restoring, set_mode, spares, with_links};

matrix!(architectures: links_are_not_changed_through_a_symlink, files_of_others_are_not_removed, a_directory_of_links_that_others_own_is_not_used);

fn links_are_not_changed_through_a_symlink(variant: Variant) {
    if !has_users() {
        return;
    }
    for target in ["/srv/lib", "/srv/links"] {
        let (root, links, wrap) = with_links(variant);
        // Before: nothing is made there.
        symlink(target, root.path(&links)).expect("symlink");
        give(&root, &links);
        for more in ["", "--once", "--trust-tree"] {
            let output = spares(&root, || wrap(&root, more)).exits_with(1);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(
                text.contains("symbolic link or not a directory"),
                "{output}"
            );
        }
        // After: nothing is removed there.
        fs::remove_file(root.path(&links)).expect("unlink");
        wrap(&root, "").success();
        let swap = |root: &Root| {
            fs::remove_dir_all(root.path(&links)).expect("rm");
            symlink(target, root.path(&links)).expect("symlink");
            give(root, &links);
        };
        swap(&root);
        spares(&root, || {
            let restore = root.wrap_buddy().args(["restore", "/app", "--trust-tree"]);
            let output = restore.output();
            assert!(
                output.stderr.contains("symbolic link or not a directory"),
                "{output}"
            );
        });
        assert!(root.path(&links).is_symlink());
        // A watch removes the links of a library that was removed.
        fs::remove_file(root.path(&links)).expect("unlink");
        wrap(&root, "").success();
        swap(&root);
        let watch = root.wrap("/app").libs(["/srv/lib"]).watch();
        spares(&root, || {
            fs::remove_file(root.path("/app/libbar.so")).expect("unlink");
            let sidecar = root.path("/app/.libbar.so.wrapbuddy");
            let deadline = Instant::now() + Duration::from_secs(8);
            while sidecar.exists() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
            assert!(!sidecar.exists());
        });
        watch.stop().success();
    }
}

/// Only a link to a file of its own name is the tool's.
fn files_of_others_are_not_removed(variant: Variant) {
    let (root, links, wrap) = with_links(variant);
    wrap(&root, "").success();
    let link = root.path(&links).join("libfoo.so");
    for put in [
        |link: &Path| fs::write(link, "a file").expect("write"),
        |link: &Path| symlink("/srv/lib/other", link).expect("symlink"),
    ] {
        wrap(&root, "").success();
        fs::remove_file(&link).expect("unlink");
        put(&link);
        let output = restoring(&root, "/app");
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains("wrap-buddy did not create it"), "{output}");
        assert!(link.symlink_metadata().is_ok());
    }
}

fn a_directory_of_links_that_others_own_is_not_used(variant: Variant) {
    if !has_users() {
        return;
    }
    let (root, links, wrap) = with_links(variant);
    for path in ["/app", "/app/libbar.so"] {
        chown(root.path(path), Some(0), Some(0)).expect("chown");
    }
    set_mode(&root, "/app", 0o755);
    root.mkdir(&links);
    for (user, mode) in [(USER, 0o755), (0, 0o777)] {
        chown(root.path(&links), Some(user), Some(user)).expect("chown");
        set_mode(&root, &links, mode);
        let output = wrap(&root, "").exits_with(1);
        assert!(
            output.stderr.contains("remove it if it is not yours"),
            "{output}"
        );
    }
}
