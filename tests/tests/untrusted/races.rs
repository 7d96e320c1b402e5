//! Names that other users swap while the tool runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use e2e::{Output, Variant, matrix};

use crate::{
    TRUST, VICTIM, effort, everything_that_writes, give, has_users, host, restoring, sample,
    set_mode, spares, swapped, swapped_for, watching_once, with_links, wrapping,
};

matrix!(architectures: link_swapped_in_for_a_file_is_not_followed, link_swapped_in_for_a_directory_is_not_followed, secret_swapped_in_for_a_sidecar_is_not_copied, files_outside_the_tree_are_not_found);

fn link_swapped_in_for_a_file_is_not_followed(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    for path in [VICTIM, "/app/program"] {
        set_mode(root, path, 0o444);
    }
    symlink(VICTIM, root.path("/app/other")).expect("symlink");
    give(root, "/app/other");
    let [one, other] = ["/app/program", "/app/other"].map(|path| root.path(path));
    for trust in TRUST {
        spares(root, || {
            swapped(variant, &one, &other, || {
                everything_that_writes(&sample, "/app", trust)
            });
        });
    }
}

fn link_swapped_in_for_a_directory_is_not_followed(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    root.install(&sample.built, "/app/sub/program");
    for path in ["/app/sub", "/app/sub/program"] {
        give(root, path);
    }
    symlink("/srv/victim", root.path("/app/other")).expect("symlink");
    give(root, "/app/other");
    let [one, other] = ["/app/sub", "/app/other"].map(|path| root.path(path));
    for trust in TRUST {
        spares(root, || {
            swapped(variant, &one, &other, || {
                everything_that_writes(&sample, "/app", trust)
            });
        });
    }
}

/// If a later step fails, as that of the links does here, the previous sidecar is put back.
fn secret_swapped_in_for_a_sidecar_is_not_copied(variant: Variant) {
    const SECRET: &str = "only root reads this";
    if !has_users() {
        return;
    }
    let (root, links, wrap) = with_links(variant);
    symlink("/srv/lib", root.path(&links)).expect("symlink");
    root.write("/srv/secret", SECRET);
    set_mode(&root, "/srv/secret", 0o600);
    let sidecar = "/app/.libbar.so.wrapbuddy";
    let [one, other] = [sidecar, "/app/other"].map(|path| root.path(path));
    let holds_secret = || {
        let files = fs::read_dir(root.path("/app")).expect("a directory");
        files.flatten().any(|file| {
            let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
            is_file && fs::read(file.path()).is_ok_and(|bytes| bytes == SECRET.as_bytes())
        })
    };
    for more in ["", "--trust-tree"] {
        spares(&root, || {
            let (enough, longest) = effort(variant);
            let (mut swaps, began) = (0, Instant::now());
            while swaps < enough && began.elapsed() < longest {
                // An empty directory has nothing to lose.
                for path in [&one, &other] {
                    let _ = fs::remove_file(path);
                }
                root.write(sidecar, "");
                symlink("/srv/secret", &other).expect("symlink");
                for path in [sidecar, "/app/other"] {
                    give(&root, path);
                }
                swaps += swapped_for(20, longest, &one, &other, || {
                    wrap(&root, more);
                });
                assert!(!holds_secret(), "{more}");
            }
            println!("{swaps} swaps");
        });
    }
}

/// A directory that is swapped in while a tree is walked is neither reported nor wrapped.
fn files_outside_the_tree_are_not_found(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    for directory in 0..20 {
        for file in 0..10 {
            root.install(
                &sample.built,
                &format!("/srv/out/{directory}/outside-{file}"),
            );
            root.install(
                &sample.built,
                &format!("/app/sub/{directory}/inside-{file}"),
            );
        }
    }
    symlink("/srv/out", root.path("/app/other")).expect("symlink");
    give(root, "/app/other");
    give(root, "/app/sub");
    let [one, other] = ["/app/sub", "/app/other"].map(|path| root.path(path));
    let inside = AtomicUsize::new(0);
    let looks = |output: Output| {
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(!text.contains("outside-"), "{text}");
        inside.fetch_add(text.matches("inside-").count(), Ordering::Relaxed);
    };
    spares(root, || {
        swapped(variant, &one, &other, || {
            looks(wrapping(
                &sample,
                "/app",
                &["--dry-run", "--verbose", "--jobs", "2"],
            ));
            for command in ["status", "check", "restore"] {
                let command = root.wrap_buddy().args([command, "/app", "--verbose"]);
                looks(command.output());
            }
        });
        swapped(variant, &one, &other, || {
            looks(watching_once(&sample, "/app"));
            restoring(root, "/app");
        });
    });
    assert!(inside.into_inner() > 0);
}

/// The output of `generate` goes into the directory in the argument.
#[test]
fn generated_files_do_not_follow_links() {
    if !has_users() {
        return;
    }
    let sample = sample(host());
    let root = &sample.root;
    root.mkdir("/srv/man1");
    let page = "man/man1/wrap-buddy.1";
    for directory in ["/app/share", "/app/share/man", "/app/share/man/man1"] {
        root.mkdir(directory);
        give(root, directory);
    }
    let link = |path: &str, target: &str| {
        symlink(target, root.path(path)).expect("symlink");
        give(root, path);
    };
    link(&format!("/app/share/{page}"), VICTIM);
    link("/app/share/other", VICTIM);
    link("/app/share/man/aside", "/srv/man1");
    let generate = || {
        let generate = root.wrap_buddy().args(["generate", "share", "/app/share"]);
        generate.output()
    };
    spares(root, || {
        generate().success();
    });
    assert!(root.path(&format!("/app/share/{page}")).is_file());
    for names in [[page, "other"], ["man/man1", "man/aside"]] {
        let [one, other] = names.map(|path| root.path(&format!("/app/share/{path}")));
        spares(root, || {
            swapped(host(), &one, &other, || {
                generate();
            });
        });
    }
}
