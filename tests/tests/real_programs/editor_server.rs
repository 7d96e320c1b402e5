//! An editor's server in a watched directory: unpacked to a staging directory, renamed, updated, removed.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::check::sidecar_of;
use e2e::watching::event;
use e2e::{Root, Watching, Wrapped, assert_fails_unwrapped, corpus};

use crate::layout::{Case, root};

on!([x86_64 aarch64 x86_64_auto]: an_editor_server_arrives_is_updated_and_removed);

/// As an extension host does, this starts itself for a part of its work, which loads an addon.
const EXTENSION_HOST: &str = r#"const { fork } = require("child_process");
if (process.send) {
  const { parse, xxhashBase16 } = require("./node_modules/rollup/rollup.node");
  const ast = parse("export const answer = 42;", false, false);
  process.send(`${xxhashBase16(Buffer.from("x")).length} ${ast.length > 0}`);
  process.disconnect();
} else {
  fork(__filename).on("message", (text) => console.log(`the addon says ${text}`));
}
"#;

const SAYS: &str = "the addon says 32 true\n";

fn an_editor_server_arrives_is_updated_and_removed(case: Case) {
    let root = root(case);
    let home = "/app/home";
    // The directory of the preset does not exist yet.
    root.mkdir(home);
    let wrap = root.wrap("/app/nothing-else");
    let wrap = wrap.args(["--preset", "vscode-server", "--strategy", case.strategy()]);
    let watching = Watching::start(wrap.watch_command().env("HOME", home));
    watching.wait("it is ready", |lines| {
        event(lines, "watching").next().map(drop)
    });

    let servers = format!("{home}/.vscode-server/cli/servers");
    let versions = ["1.0", "2.0"].map(|version| format!("{servers}/Stable-{version}"));
    for version in &versions {
        let complete = unpack(&root, case, version);
        let node = format!("{version}/server/node");
        let took = watching.wrapped(&node, 1) - complete;
        println!("{node} was wrapped {took:.3} s after it was in place");
        assert!(took < LIMIT, "{took} s");
        let host = root
            .command(&node)
            .arg(format!("{version}/server/extensionHost.js"));
        assert_eq!(host.output().success().stdout, SAYS);
        let original = fs::read(corpus::fetch("node", case.arch)).expect("it was fetched");
        if case.strategy() == "stub" {
            Wrapped::read(&root, &node, original).check();
        }
    }

    // The first version is removed, with every file that was added there.
    fs::remove_dir_all(root.path(&versions[0])).expect("remove");
    let node = format!("{}/server/node", versions[1]);
    assert!(root.path(&sidecar_of(&node)).is_file());
    let host = format!("{}/server/extensionHost.js", versions[1]);
    assert_eq!(
        root.command(&node).arg(host).output().success().stdout,
        SAYS
    );
    let wrapped = watching.all_wrapped();
    let nodes = wrapped.iter().filter(|path| path.ends_with("/node"));
    assert_eq!(nodes.count(), 2, "{wrapped:?}");
    let output = watching.stop().success();
    assert!(!output.stdout.contains("\"status\":\"failed\""), "{output}");
}

/// Maximum seconds from the rename to the wrapped program, including the quiet time of 0.3 s.
const LIMIT: f64 = 1.0;

/// Unpacks a server as the editor does, and returns the time of its rename, in seconds since 1970.
fn unpack(root: &Root, case: Case, version: &str) -> f64 {
    let staging = format!("{version}.staging");
    let server = format!("{staging}/server");
    let node = root.install(&corpus::fetch("node", case.arch), &format!("{server}/node"));
    assert_fails_unwrapped(root.command(&node));
    let addon = format!("{server}/node_modules/rollup/rollup.node");
    root.install(&corpus::fetch("rollup", case.arch), &addon);
    root.write(&format!("{server}/extensionHost.js"), EXTENSION_HOST);
    fs::rename(root.path(&staging), root.path(version)).expect("rename");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock").as_secs_f64()
}
