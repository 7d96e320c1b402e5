//! Sidecars that their owner has forged for root to read, and names that are swapped meanwhile.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e::check::sidecar_of;
use e2e::{Root, Variant, matrix};
use sidecar::{InPlace, InPlaceDraft, Sidecar, checksum_of};

use crate::{
    TRUST, USER, VICTIM, give, has_users, restoring, sample, spares, swapped, with_links, wrapping,
};

matrix!(architectures: forged_lists_of_links_remove_nothing_of_roots, a_forged_sidecar_puts_nothing_into_roots_program);

const LIBRARY: &str = "/app/libbar.so";

/// The sidecar of a library, with other names of links.
fn listing(sidecar: &[u8], links: &[&[u8]]) -> Vec<u8> {
    let real = InPlace::parse(sidecar).expect("a sidecar");
    let edits: Vec<_> = real.edits().collect();
    let draft = InPlaceDraft {
        machine: real.machine,
        class: real.class,
        id: real.id,
        tool: real.tool,
        edits: &edits,
        links,
    };
    let mut bytes = vec![0; draft.encoded_len()];
    let len = draft.encode(&mut bytes).expect("it can be written");
    bytes.truncate(len);
    bytes
}

fn trusting(root: &Root, trust: &[&str]) {
    let restore = root.wrap_buddy().args(["restore", "/app"]);
    restore.args(trust.iter().copied()).output();
}

/// `restore` removes the links in a sidecar, and so does `watch` when the library is removed. Neither does so in a directory that
/// is reached through a link.
fn forged_lists_of_links_remove_nothing_of_roots(variant: Variant) {
    if !has_users() {
        return;
    }
    let (root, links, wrap) = with_links(variant);
    wrap(&root, "").success();
    // As the tool would make it.
    symlink("/somewhere/tool", root.path("/srv/links/tool")).expect("symlink");
    let library = root.read(LIBRARY);
    let sidecar = listing(&root.read(&sidecar_of(LIBRARY)), &[b"libfoo.so", b"tool"]);
    let link = "/app/other";
    symlink("/srv/links", root.path(link)).expect("symlink");
    give(&root, link);
    let [one, other] = [&*links, link].map(|path| root.path(path));
    let put_back = || {
        for directory in [&one, &other] {
            // The tool may have removed it.
            if fs::create_dir(directory).is_ok() {
                lchown(directory, Some(USER), Some(USER)).expect("chown");
            }
            // The names may be swapped at any time. A link then leads to root's directory, which has these names already.
            for name in ["libfoo.so", "tool"] {
                let _ = symlink(format!("/somewhere/{name}"), directory.join(name));
            }
        }
        for (path, content) in [(&*sidecar_of(LIBRARY), &sidecar), (LIBRARY, &library)] {
            root.write(path, content);
            give(&root, path);
        }
    };
    for trust in TRUST {
        spares(&root, || {
            swapped(variant, &one, &other, || {
                put_back();
                trusting(&root, trust);
            });
        });
    }
    put_back();
    let watch = root.wrap("/app").args(["--settle", "1"]).watch();
    let sidecar_path = root.path(&sidecar_of(LIBRARY));
    spares(&root, || {
        swapped(variant, &one, &other, || {
            put_back();
            fs::remove_file(root.path(LIBRARY)).expect("unlink");
            let deadline = Instant::now() + Duration::from_secs(5);
            while sidecar_path.exists() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(!sidecar_path.exists());
        });
    });
    watch.stop().success();
    // The list is used in the owner's own directory.
    for path in [&one, &other] {
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
    put_back();
    restoring(&root, LIBRARY).success();
    assert!(!one.exists());
}

/// The attacker chooses the original bytes in a sidecar, and root's program is wrapped in the same way.
fn a_forged_sidecar_puts_nothing_into_roots_program(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    wrapping(&sample, "/app", &[]).success();
    let name = sidecar_of("/app/program");
    let (program, mut sidecar) = (root.read("/app/program"), root.read(&name));
    for (path, content) in [(VICTIM, &program), (&sidecar_of(VICTIM), &sidecar)] {
        root.write(path, content);
    }
    let slot = Sidecar::parse(&sidecar).expect("a sidecar").slot().to_vec();
    let at = sidecar.windows(slot.len()).position(|bytes| bytes == slot);
    let at = at.expect("the slot's bytes are in it");
    sidecar[at..][..slot.len()].fill(0xcc);
    let sum = checksum_of(&sidecar).expect("long enough");
    sidecar[8..12].copy_from_slice(&sum.to_le_bytes());

    // Both the directory and the file are swapped.
    root.install(&sample.built, "/app/sub/program");
    give(root, "/app/sub");
    symlink(VICTIM, root.path("/app/other")).expect("symlink");
    symlink("/srv/victim", root.path("/app/aside")).expect("symlink");
    for path in ["/app/other", "/app/aside"] {
        give(root, path);
    }
    let put_back = |directory: &Path| {
        // While it is a link, the test does not write to it.
        let fresh = directory.join("fresh");
        for (name, content) in [(".program.wrapbuddy", &sidecar), ("program", &program)] {
            fs::write(&fresh, content).expect("write");
            chown(&fresh, Some(USER), Some(USER)).expect("chown");
            fs::rename(&fresh, directory.join(name)).expect("rename");
        }
    };
    // Without a swap, the run does its work.
    put_back(&root.path("/app"));
    restoring(root, "/app/program").success();
    assert!(root.read("/app/program") != fs::read(&sample.built).expect("built before"));
    // Refers to this directory under any name.
    let opened = File::open(root.path("/app/sub")).expect("a directory");
    let sub = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    for (names, directory) in [
        (["/app/program", "/app/other"], root.path("/app")),
        (["/app/sub", "/app/aside"], sub),
    ] {
        let [one, other] = names.map(|path| root.path(path));
        for trust in TRUST {
            spares(root, || {
                swapped(variant, &one, &other, || {
                    put_back(&directory);
                    trusting(root, trust);
                });
            });
        }
    }
}
