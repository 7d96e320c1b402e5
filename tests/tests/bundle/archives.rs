//! `.tar` and `.tar.zst`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::run::on_host;
use e2e::{Sample, Variant, matrix, says};

use crate::place::{bundle, listing, starts_anywhere};

matrix!(systems: unpacked_archives_start_anywhere);

fn unpack(archive: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    let (archive, to) = (
        archive.to_str().expect("UTF-8"),
        to.to_str().expect("UTF-8"),
    );
    on_host("tar", &["-xpf", archive, "-C", to]).success();
}

/// An archive has the files, modes and times of the directory, and two runs make the same bytes.
fn unpacked_archives_start_anywhere(variant: Variant) {
    let sample = Sample::installed_at(variant, "/opt/app/bin/program");
    let root = &sample.root;
    root.write("/opt/app/share/data", "data");
    let data = root.path("/opt/app/share");
    fs::hard_link(data.join("data"), data.join("again")).expect("a hard link");
    symlink("data", data.join("link")).expect("a link");
    let long = format!("/opt/app/share/{}", ["0123456789"; 15].join("/"));
    root.write(&format!("{long}/file"), "at a long path");
    for place in ["/one", "/two"] {
        root.mkdir(place);
    }
    for end in [".tar", ".tar.zst"] {
        for place in ["/one", "/two"] {
            let output = format!("{place}/bundle{end}");
            bundle(root, &["/opt/app/bin/program", "--output", &output])
                .output()
                .success();
        }
        let [one, two] = ["/one", "/two"].map(|place| root.read(&format!("{place}/bundle{end}")));
        assert!(one == two, "two runs make different bytes");
        let to = root.path(&format!("/unpacked{end}"));
        unpack(&root.path(&format!("/one/bundle{end}")), &to);
    }
    bundle(root, &["/opt/app/bin/program", "--output", "/bundle"])
        .output()
        .success();
    let expected = listing(&root.path("/bundle"));
    for end in [".tar", ".tar.zst"] {
        let tree = root.path(&format!("/unpacked{end}/bundle"));
        assert_eq!(listing(&tree), expected);
        starts_anywhere((variant.arch, variant.libc), &tree, &|root, at| {
            says(root.command(&format!("{at}/bin/program")).output());
        });
    }
    // Nothing else is left.
    for place in ["/one", "/two"] {
        assert_eq!(
            fs::read_dir(root.path(place)).expect("a directory").count(),
            2
        );
    }
}
