//! A container without glibc at the FHS path, in which VS Code puts its server.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use e2e::{Arch, Libc, Root, Session, corpus, toolchain};

/// The programs that the session starts. They are wrapped too: there is no dynamic linker at their path.
const PROGRAMS: [&str; 7] = ["bash", "cp", "grep", "ln", "ls", "mkdir", "sleep"];

/// The versions of the server.
const VERSIONS: [&str; 2] = ["4f4e", "19e0"];

#[test]
fn it_runs_and_is_updated() {
    let server = Arch::X86_64;
    let mut systems = vec![(server, Libc::Glibc)];
    if server != Arch::host() {
        systems.push((Arch::host(), Libc::Glibc));
    }
    let root = Root::with_systems(&systems);
    let tool = e2e::tool::path();
    let mut files = vec![(tool, "wrap-buddy")];
    for name in PROGRAMS {
        let path = toolchain::find_program(name);
        files.push((path.unwrap_or_else(|| panic!("there is no {name}")), name));
    }
    let mut libraries = Vec::new();
    for (file, name) in &files {
        root.install(file, &format!("/bin/{name}"));
        let listed = Command::new("ldd").arg(file).output().expect("start ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let words = listed.split_whitespace().map(str::to_owned);
        libraries.extend(words.filter(|word| word.starts_with('/')));
    }
    let of_programs = root.package("programs", &libraries);
    root.wrap("/bin").libs([of_programs]).run();

    for dir in root.library_dirs() {
        for entry in fs::read_dir(root.lookup(&dir)).expect("a directory") {
            let path = entry.expect("an entry of a directory").path();
            if Arch::of_file(&path) == Some(server) {
                let name = toolchain::file_name(&path);
                root.install(&path, &format!("/opt/glibc/lib/{name}"));
            }
        }
    }

    let node = corpus::fetch("node", server);
    let [old, new] = VERSIONS;
    let volume = "/vscode/vscode-server/bin/linux-x64";
    root.install(&node, &format!("{volume}/{old}/node"));
    root.install(&node, &format!("/root/download/{new}/node"));
    root.mkdir("/root/.vscode-server/bin");
    let link = root.path(&format!("/root/.vscode-server/bin/{old}"));
    symlink(format!("{volume}/{old}"), link).expect("symlink");

    let shell = root.command("/bin/bash").argv0("bash").env("PATH", "/bin");
    let session = Session::read("docs/vscode-server.md", None);
    session.type_into(shell.env("HOME", "/root"), "");
}
