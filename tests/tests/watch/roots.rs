//! Directories that do not exist yet, vanish and come back; several directories; presets.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::Watching;
use e2e::watching::event;

use crate::{a_while, copy, is_original, root_and_program, says_hello};

#[test]
fn a_root_may_appear_vanish_and_come_back() {
    let (root, built) = root_and_program();
    let directory = "/app/home/.server/bin";
    let watching = root.wrap(directory).watch();
    let program = format!("{directory}/program");
    for times in 1..=3 {
        copy(&root, &built, &program);
        watching.wrapped(&program, times);
        says_hello(&root, &program);
        match times {
            1 => fs::remove_dir_all(root.path("/app/home/.server")).expect("remove"),
            _ => fs::rename(root.path("/app/home"), root.path("/app/aside")).expect("rename"),
        }
        if times == 2 {
            // A directory that was renamed is no longer watched.
            let aside = "/app/aside/.server/bin/other";
            copy(&root, &built, aside);
            a_while();
            assert!(is_original(&root, &built, aside));
            fs::remove_dir_all(root.path("/app/aside")).expect("remove");
        }
    }
    assert_eq!(watching.all_wrapped().len(), 3);
    watching.stop().success();
}

#[test]
fn a_root_may_be_a_link_that_is_switched() {
    let (root, built) = root_and_program();
    for version in ["v1", "v2"] {
        copy(&root, &built, &format!("/app/{version}/program"));
    }
    let link = root.path("/app/current");
    symlink("v1", &link).expect("symlink");
    let watching = root.wrap("/app/current").watch();
    watching.wrapped("/app/current/program", 1);
    assert!(is_original(&root, &built, "/app/v2/program"));
    symlink("v2", root.path("/app/next")).expect("symlink");
    fs::rename(root.path("/app/next"), &link).expect("rename");
    watching.wrapped("/app/current/program", 2);
    says_hello(&root, "/app/v2/program");
    watching.stop().success();
}

#[test]
fn a_root_inside_another_is_watched_once() {
    let (root, built) = root_and_program();
    root.mkdir("/app/inner");
    let watching = root.wrap("/app").and(["/app/inner"]).watch();
    copy(&root, &built, "/app/inner/program");
    watching.wrapped("/app/inner/program", 1);
    a_while();
    assert_eq!(event(&watching.lines(), "file").count(), 1);
    watching.stop().success();
}

#[test]
fn presets_can_be_listed_chosen_and_defined() {
    let (root, built) = root_and_program();
    root.write(
        "/app/home/.config/wrap-buddy/watch.toml",
        "[preset.mine]\npaths = ['~/mine']\ninclude = ['tool-*']\nexclude = ['*.staging']\n",
    );
    let listed = root.wrap_buddy().args(["watch", "--list-presets"]);
    let listed = listed.env("HOME", "/app/home").output().success().stdout;
    for expected in [
        "vscode-server\n  /app/home/.vscode-server (does not exist yet)\n",
        "mine\n  /app/home/mine (does not exist yet)\n  only tool-*\n  not *.staging\n",
        "\nnpm-global\n",
    ] {
        assert!(listed.contains(expected), "{expected:?} in {listed}");
    }
    let command = root
        .wrap("/app/other")
        .args(["--preset", "mine", "--preset", "vscode-server"]);
    let command = command.watch_command().env("HOME", "/app/home");
    let watching = Watching::start(command);
    watching.wait("it is ready", |lines| {
        event(lines, "watching").next().map(drop)
    });
    let wanted = [
        "/app/home/mine/bin/tool-a",
        "/app/home/.vscode-server/bin/0123/node",
        "/app/other/program",
    ];
    let unwanted = [
        "/app/home/mine/bin/other",
        "/app/home/mine/x.staging/tool-b",
        "/app/home/.vscode-server/data/logs/node",
        "/app/home/program",
    ];
    for path in wanted.iter().chain(&unwanted) {
        copy(&root, &built, path);
    }
    for path in wanted {
        watching.wrapped(path, 1);
    }
    a_while();
    assert_eq!(watching.all_wrapped().len(), wanted.len());
    for path in unwanted {
        assert!(is_original(&root, &built, path), "{path}");
    }
    watching.stop().success();

    let unknown = root.wrap_buddy().args(["watch", "--preset", "none"]);
    let output = unknown.output().exits_with(1);
    assert!(output.stderr.contains("no such preset"), "{output}");
}

/// Directories that match a pattern are watched when they appear, vanish and are renamed. Others next to them are not.
#[test]
fn directories_that_match_a_pattern_are_followed() {
    let (root, built) = root_and_program();
    root.write(
        "/app/home/watch.toml",
        "[preset.mine]\npaths = ['~/tools/v*/{bin,lib}']\nexclude = ['cache/**']\n",
    );
    copy(&root, &built, "/app/home/tools/v1/bin/program");
    let listed = root.wrap_buddy().args(["watch", "--list-presets"]);
    let listed = listed.args(["--config", "/app/home/watch.toml"]);
    let listed = listed.env("HOME", "/app/home").output().success().stdout;
    let expected = "mine\n  /app/home/tools/v1/bin\n  not cache/**\n";
    assert!(listed.contains(expected), "{listed}");
    for more in [&[][..], &["--poll", "0.2"]] {
        let command = root.wrap("/app/other").args(["--preset", "mine"]);
        let command = command.args(["--config", "/app/home/watch.toml"]);
        let command = command.args(more.iter().copied()).watch_command();
        let watching = Watching::start(command.env("HOME", "/app/home"));
        let ready = watching.wait("it is ready", |lines| {
            event(lines, "watching").next().cloned()
        });
        assert_eq!(ready["paths"][1], "/app/home/tools/v*/{bin,lib}");
        let before = watching.all_wrapped().len();
        let wanted = [
            "/app/home/tools/v1/lib/program",
            "/app/home/tools/v2/bin/deep/program",
        ];
        let unwanted = [
            "/app/home/tools/program",
            "/app/home/tools/v2/program",
            "/app/home/tools/v2/sbin/program",
            "/app/home/tools/w1/bin/program",
            "/app/home/tools/v2/bin/cache/program",
        ];
        for path in wanted.iter().chain(&unwanted) {
            copy(&root, &built, path);
        }
        for path in wanted {
            watching.wrapped(path, 1);
        }
        // A name that matches now.
        let aside = root.path("/app/home/tools/w1");
        fs::rename(aside, root.path("/app/home/tools/v3")).expect("rename");
        watching.wrapped("/app/home/tools/v3/bin/program", 1);
        a_while();
        assert_eq!(watching.all_wrapped().len(), before + wanted.len() + 1);
        for path in unwanted.iter().filter(|path| !path.contains("w1")) {
            assert!(is_original(&root, &built, path), "{path}");
        }
        watching.stop().success();
        fs::remove_dir_all(root.path("/app/home/tools")).expect("remove");
    }
}

/// Unpacked by an editor to `bin`, by its command to `cli/servers`, and in dev containers to a volume, to which `bin` has links.
#[test]
fn servers_are_wrapped_in_each_layout() {
    let (root, built) = root_and_program();
    let server = "/vscode/vscode-server/bin/linux-x64/version";
    let others = [
        "/app/home/.vscode-server/bin/other/node",
        "/app/home/.vscode-server/cli/servers/Stable-other/server/node",
        "/app/home/.antigravity-server/bin/1.0-other/node",
    ];
    let command = root.wrap("/app/other").args(["--preset", "vscode-server"]);
    let watching = Watching::start(command.watch_command().env("HOME", "/app/home"));
    watching.wait("it is ready", |lines| {
        event(lines, "watching").next().map(drop)
    });
    copy(&root, &built, &format!("{server}/node"));
    root.mkdir("/app/home/.vscode-server/bin");
    let link = "/app/home/.vscode-server/bin/version";
    symlink(server, root.path(link)).expect("symlink");
    watching.wrapped(&format!("{server}/node"), 1);
    says_hello(&root, &format!("{link}/node"));
    for path in others {
        copy(&root, &built, path);
        watching.wrapped(path, 1);
    }
    a_while();
    assert_eq!(watching.all_wrapped().len(), 1 + others.len());
    watching.stop().success();
}
