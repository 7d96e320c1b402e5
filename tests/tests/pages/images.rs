//! The Dockerfiles of docs/moving.md, with directories in place of images.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use e2e::Root;

use crate::bash;
use crate::examples::checkout;

/// The blocks of `dockerfile` in the page, a line for each instruction.
fn dockerfiles() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/moving.md");
    let page = fs::read_to_string(page).expect("a page");
    let blocks = page.split("```dockerfile\n").skip(1);
    let lines = blocks.map(|block| block.lines().map(|line| line.trim().to_owned()));
    lines
        .map(|lines| lines.take_while(|line| line != "```").collect())
        .collect()
}

fn run(root: &Root, command: &str) {
    let shell = bash(root).env("PATH", "/opt/wrap-buddy/bin:/usr/bin:/bin");
    let shell = shell.cwd("/app/checkout").args(["-c", command]);
    shell.output().success();
}

/// An image with a program in /opt/app, its libraries and ld.so in /opt/lib, and wrap-buddy in /opt/wrap-buddy.
fn image() -> Root {
    let root = checkout();
    let prepare = "
        examples/hello/make.sh
        mkdir -p /opt/wrap-buddy/bin
        mv app /opt
        mv lib /opt
        cp $(ldd /bin/ls | grep -o '/[^ ]*') /opt/lib
        cp /tool/bin/wrap-buddy /opt/wrap-buddy/bin
        wrap-buddy generate loaders /opt/wrap-buddy/lib/wrap-buddy";
    run(&root, &format!("set -e{prepare}"));
    root
}

/// An image that has only the directories /opt/app and /opt/lib of `image`.
fn without_system(image: &Root) -> Root {
    let root = Root::for_programs_of(&[]);
    for directory in ["/opt/app", "/opt/lib"] {
        let (source, target) = (image.path(directory), root.mkdir("/opt"));
        let paths = [&source, &target].map(|path| path.display().to_string());
        e2e::run::on_host("cp", &["-a", &paths[0], &paths[1]]).success();
    }
    root
}

/// Does what the instructions say, first in an image `build`, and returns the last image.
fn build(instructions: &[String]) -> Root {
    let names = ["build", "tools"];
    let mut images = HashMap::from(names.map(|name| (name.to_owned(), image())));
    images.insert("app".to_owned(), without_system(&images["tools"]));
    let mut last = "build".to_owned();
    for instruction in instructions {
        let words = shlex::split(instruction).expect("words");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["FROM", "build", "AS", name] => {
                let image = images.remove("build").expect("an image");
                (*name).clone_into(&mut last);
                images.insert(last.clone(), image);
            }
            ["FROM", "scratch"] => {
                "scratch".clone_into(&mut last);
                images.insert(last.clone(), Root::with_systems(&[]));
            }
            ["RUN", ..] => {
                run(&images[&last], instruction.trim_start_matches("RUN "));
            }
            ["COPY", from, source, target] => {
                let from = &images[from.trim_start_matches("--from=")];
                let target = images[&last].mkdir(target);
                let source = format!("{}/.", from.path(source).display());
                let target = target.display().to_string();
                e2e::run::on_host("cp", &["-a", &source, &target]).success();
            }
            _ => panic!("an unknown instruction: {instruction}"),
        }
    }
    images.remove(&last).expect("the last image")
}

#[test]
fn each_one_makes_an_image_with_a_program_that_starts() {
    let all = dockerfiles();
    assert_eq!(all.len(), 3);
    for instructions in all {
        let image = build(&instructions);
        let output = image.command("/opt/app/hello").output().success();
        assert_eq!(output.stdout, "the answer is 42\n");
    }
}
