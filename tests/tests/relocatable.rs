//! `--relocatable`: a tree with program, libraries, loader and dynamic linker that you can move as a whole. The loader is in each
//! program's sidecar, unless you name a directory for it.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::{Sample, Variant, matrix, says};

matrix!(all: runs_where_it_was_made, runs_where_it_was_moved, by_a_symlink_from_elsewhere, found_from_any_directory);
matrix!(all: copy_of_the_program_alone_names_the_missing_file);

fn runs_where_it_was_made(variant: Variant) {
    for sample in trees(variant) {
        // The tree needs nothing outside it.
        fs::remove_dir_all(sample.root.path(&sample.library_dir)).expect("remove a package");
        sample.run();
    }
}

fn runs_where_it_was_moved(variant: Variant) {
    for sample in trees(variant) {
        sample.root.mkdir("/srv/deep/down");
        let new = sample.root.path("/srv/deep/down/tree");
        fs::rename(sample.root.path("/opt/tree"), new).expect("rename");
        says(
            sample
                .root
                .command("/srv/deep/down/tree/bin/program")
                .output(),
        );
    }
}

fn by_a_symlink_from_elsewhere(variant: Variant) {
    for sample in trees(variant) {
        sample.root.mkdir("/srv/bin");
        symlink(
            "../../opt/tree/bin/program",
            sample.root.path("/srv/bin/tool"),
        )
        .expect("symlink");
        says(sample.root.command("/srv/bin/tool").output());
    }
}

fn found_from_any_directory(variant: Variant) {
    for sample in trees(variant) {
        says(sample.root.command("bin/program").cwd("/opt/tree").output());
        says(
            sample
                .root
                .command("./program")
                .cwd("/opt/tree/bin")
                .output(),
        );
    }
}

fn copy_of_the_program_alone_names_the_missing_file(variant: Variant) {
    let sidecar = ".program.wrapbuddy".to_string();
    for (sample, missing) in trees(variant)
        .iter()
        .zip([variant.arch.loader_file(), sidecar])
    {
        let root = &sample.root;
        root.install(&root.path(&sample.program), "/srv/program");
        root.command("/srv/program").output().refuses(&[&missing]);
    }
}

/// With a loader in the tree, and with one in the sidecar.
fn trees(variant: Variant) -> [Sample; 2] {
    [true, false].map(|has_loader| tree(variant, has_loader))
}

/// `/opt/tree/{bin/program,lib/…}`, and optionally `/opt/tree/lib/wrap-buddy/…`, wrapped.
fn tree(variant: Variant, has_loader: bool) -> Sample {
    let sample = Sample::unwrapped_at(variant, "/opt/tree/bin/program");
    let root = &sample.root;
    let interpreter = sample.interpreter();
    let packages = [root.library_dirs(), vec![sample.library_dir.clone()]].concat();
    for package in packages {
        let on_host = root.lookup(&package);
        for entry in fs::read_dir(&on_host).expect("a package") {
            let file = entry.expect("an entry").path();
            let name = file
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            root.install(&file, &format!("/opt/tree/lib/{name}"));
        }
    }
    let (_, ld_so) = interpreter.rsplit_once('/').expect("an absolute path");
    let mut wrap = root.wrap(&sample.program).only_libs(["/opt/tree/lib"]);
    if has_loader {
        let stage =
            stages::for_machine(variant.arch.machine()).expect("every architecture is built");
        let loader = format!("/opt/tree/lib/wrap-buddy/{}", variant.arch.loader_file());
        root.write(&loader, stage.loader);
        wrap = wrap.loader_dir("/opt/tree/lib/wrap-buddy");
    } else {
        wrap = wrap.without_loader_dir();
    }
    wrap.interpreter(&format!("/opt/tree/lib/{ld_so}"))
        .args(["--relocatable"])
        .run();
    sample.wrapped();
    sample
}
