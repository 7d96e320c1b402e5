//! File systems that are mounted and unmounted while a watch runs.

use std::fs;

use e2e::watching::{done, event, lines, paths};
use e2e::{run, tool};

use crate::{HOST, hello};

#[test]
fn mounted_and_uncovered_files_are_wrapped() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for name in ["app/sub", r"app/with space/\", "app/fuse", "behind"] {
        fs::create_dir_all(home.path().join(name)).expect("create");
    }
    let directory = home.path().join("app");
    let directory = directory.to_str().expect("UTF-8");
    let (tool, built) = (tool::path(), hello(HOST));
    let [tool, built] = [&tool, &built].map(|path| path.to_str().expect("UTF-8"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/mounts.sh");
    let namespace = ["--mount", "--propagation", "private", "bash", script];
    let command = [&namespace[..], &[tool, directory, built]].concat();
    let output = run::on_host("unshare", &command).success();
    let said = lines(&output.stdout);
    let mut expected = vec!["sub/inside", r"with space/\/inside", "sub/covered"];
    if std::path::Path::new("/dev/fuse").exists() {
        expected.push("fuse/program");
    }
    expected.extend(["fuse/covered", "over", "under", "sub/last"]);
    let expected: Vec<String> = expected
        .iter()
        .map(|name| format!("{directory}/{name}"))
        .collect();
    assert_eq!(paths(done(&said)), expected, "{output}");
    assert_eq!(event(&said, "warning").count(), 0, "{output}");
}
