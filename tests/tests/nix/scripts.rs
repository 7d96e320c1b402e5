//! The shell scripts, as shells and their linter read them.

use e2e::run::on_host;

const SCRIPTS: [&str; 5] = [
    "nix/setup-hook.sh",
    "tests/nix/stand-in/builder.sh",
    "tests/nix/stand-in/setup.sh",
    "tests/tests/watch/mounts.sh",
    "tests/tests/watch/service.sh",
];

#[test]
fn are_clean() {
    for script in SCRIPTS {
        let path = format!("{}/../{script}", env!("CARGO_MANIFEST_DIR"));
        on_host("bash", &["-n", &path]).success();
        on_host("shellcheck", &["--external-sources", &path]).success();
    }
}
