//! Files in the lower layer of an overlay: a write to one makes a copy of it, under one of its names.

use std::fs;

use e2e::{Build, Variant, matrix, run, source, tool};
use nix::unistd::geteuid;

matrix!(architectures: hard_links_in_a_lower_layer_are_wrapped);

/// Mounts, wraps, restores, and prints the results. Runs in a mount namespace of its own. The arguments
/// are the directory, the tool, the program, its mode, dynamic linker, emulator if it takes one, and libraries.
const SCRIPT: &str = r#"
set -eu
tool=$2
linker=$5
emulator=$6
libs=$7
wrap() { "$tool" --force --self-contained --interpreter "$linker" --libs "$libs" --paths "$@" > report || cat report; }
mount -t tmpfs none "$1"
cd "$1"
mkdir lower upper work merged lower/app lower/elsewhere
cp "$3" lower/app/a
chmod "$4" lower/app/a
ln lower/app/a lower/app/b
ln lower/app/a lower/app/c
ln lower/app/a lower/elsewhere/d
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
cp merged/app/a original
wrap merged/app --format json --dry-run
grep -o "would be changed separately if the file is in a lower layer" report
grep -o "would stay unchanged if the file is in a lower layer" report
find upper -type f
wrap merged/app --format json
for name in a b c; do
    echo "$name=$($emulator merged/app/$name)"
    [ -e merged/app/.$name.wrapbuddy ] && ! cmp -s merged/app/$name original && echo wrapped
    [ "$(stat -c %a merged/app/$name)" = "$4" ] && echo mode
done
cmp merged/elsewhere/d original && echo elsewhere
grep -o "stay unchanged" report | sort -u
"$tool" restore merged/app > report || cat report
for name in a b c; do
    cmp merged/app/$name original && [ ! -e merged/app/.$name.wrapbuddy ] && echo restored
done
# Files that were wrapped in a lower layer.
wrap lower/app
mkdir upper2 work2
umount merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper2,workdir=work2 merged
"$tool" restore merged/app --dry-run --format json > report || cat report
grep -o "would be restored separately if the file is in a lower layer" report
"$tool" restore merged/app > report || cat report
cmp merged/app/a original && echo "restored $(LD_LIBRARY_PATH=$(echo "$libs" | tr , :) $emulator merged/app/a)"
"#;

/// Each name is wrapped as a file of its own.
fn hard_links_in_a_lower_layer_are_wrapped(variant: Variant) {
    let linker = variant.dynamic_linker().display().to_string();
    let libraries = variant.arch.library_dirs().into_iter();
    let libraries: Vec<String> = libraries.map(|path| path.display().to_string()).collect();
    let libraries = libraries.join(",");
    let hello = Build::program(variant, source("hello.c"));
    let hello = hello.flag(format!("-Wl,--dynamic-linker={linker}"));
    let hello = hello.build();
    let emulator = match variant.arch.is_native() {
        true => String::new(),
        false => variant.arch.qemu_path().display().to_string(),
    };
    for mode in ["755", "555"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut arguments = vec!["--mount", "--propagation", "private"];
        if !geteuid().is_root() {
            arguments.extend(["--user", "--map-root-user"]);
        }
        let paths = [directory.path(), &tool::path(), &hello];
        let paths = paths.map(|path| path.to_str().expect("UTF-8").to_owned());
        arguments.extend(["sh", "-c", SCRIPT, "sh"]);
        arguments.extend(paths.iter().map(String::as_str));
        arguments.extend([mode, &linker, &emulator, &libraries]);
        let output = run::on_host("unshare", &arguments).success();
        let each = "hello\nwrapped\nmode\n";
        // No file was written before: none is in the upper layer.
        let dry = "would be changed separately if the file is in a lower layer\n".repeat(2)
            + "would stay unchanged if the file is in a lower layer\n";
        let expected = format!(
            "{dry}a={each}b={each}c={each}elsewhere\nstay unchanged\n{}{}restored hello\n",
            "restored\n".repeat(3),
            "would be restored separately if the file is in a lower layer\n".repeat(2)
        );
        assert_eq!(output.stdout, expected, "{output}");
        assert_eq!(
            fs::read_dir(directory.path()).expect("a directory").count(),
            0
        );
    }
}
