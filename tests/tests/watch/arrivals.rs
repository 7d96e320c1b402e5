//! A file that arrives is wrapped once, and again when it is replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use e2e::check::sidecar_of;
use e2e::watching::{done, event, lines, paths};
use e2e::{Build, Root, Variant, assert_fails_unwrapped, matrix, source};

use crate::{HOST, a_while, copy, hello, root_and_program, says_hello};

matrix!(systems: arrives_and_runs);

fn arrives_and_runs(variant: Variant) {
    let root = Root::new(variant);
    let built = hello(variant);
    copy(&root, &built, "/app/early");
    assert_fails_unwrapped(root.command("/app/early"));
    let watching = root.wrap("/app").watch();
    watching.wrapped("/app/early", 1);
    copy(&root, &built, "/app/late");
    let complete = SystemTime::now().duration_since(UNIX_EPOCH);
    let complete = complete.expect("a clock").as_secs_f64();
    let took = watching.wrapped("/app/late", 1) - complete;
    // Including the quiet time of 0.3 s.
    assert!(took < 1.0, "{took} s");
    for program in ["/app/early", "/app/late"] {
        says_hello(&root, program);
    }
    a_while();
    assert_eq!(watching.all_wrapped(), ["/app/early", "/app/late"]);
    watching.stop().success();
}

#[test]
fn a_staging_directory_is_wrapped_where_it_is_renamed_to() {
    let (root, built) = root_and_program();
    root.mkdir("/app/servers");
    let watching = root.wrap("/app/servers").watch();
    // Made outside, and then renamed into the directory.
    copy(&root, &built, "/app/staging/1.0/bin/program");
    fs::rename(root.path("/app/staging"), root.path("/app/servers/final")).expect("rename");
    let program = "/app/servers/final/1.0/bin/program";
    watching.wrapped(program, 1);
    says_hello(&root, program);
    // Made inside, and renamed before the quiet time is over.
    copy(&root, &built, "/app/servers/2.0.staging/bin/program");
    let moved = root.path("/app/servers/2.0");
    fs::rename(root.path("/app/servers/2.0.staging"), moved).expect("rename");
    let second = "/app/servers/2.0/bin/program";
    watching.wrapped(second, 1);
    says_hello(&root, second);
    // A file that arrives in it later is found too.
    copy(&root, &built, "/app/servers/2.0/bin/other");
    watching.wrapped("/app/servers/2.0/bin/other", 1);
    assert_eq!(watching.all_wrapped().len(), 3);
    watching.stop().success();
}

#[test]
fn an_update_is_wrapped_again_and_other_things_are_not() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    copy(&root, &built, "/app/program");
    watching.wrapped("/app/program", 1);
    // Another version is renamed over it, as most tools do.
    let other = Build::program(HOST, source("argv.c")).build();
    copy(&root, &other, "/app/.program.new");
    fs::rename(root.path("/app/.program.new"), root.path("/app/program")).expect("rename");
    watching.wrapped("/app/program", 2);
    root.command("/app/program").output().success();
    // The first version is written over it, in place.
    fs::remove_file(root.path("/app/program")).expect("remove");
    copy(&root, &built, "/app/program");
    watching.wrapped("/app/program", 3);
    says_hello(&root, "/app/program");
    // A file that cannot be wrapped.
    root.write("/app/script", "#!/bin/sh\n");
    fs::hard_link(root.path("/app/script"), root.path("/app/script-too")).expect("link");
    a_while();
    assert_eq!(watching.all_wrapped().len(), 3);
    let output = watching.stop().success();
    assert!(!output.stdout.contains("script"), "{output}");
}

#[test]
fn a_hard_link_arrives_without_being_written() {
    let (root, built) = root_and_program();
    root.mkdir("/app/packages");
    copy(&root, &built, "/app/store/program");
    let watching = root.wrap("/app/packages").watch();
    let link = root.path("/app/packages/program");
    fs::hard_link(root.path("/app/store/program"), link).expect("link");
    watching.wrapped("/app/packages/program", 1);
    says_hello(&root, "/app/packages/program");
    watching.stop().success();
}

#[test]
fn thousands_at_once_are_wrapped_once_each() {
    const COUNT: usize = 2000;
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    let bytes = fs::read(&built).expect("it was built");
    let began = Instant::now();
    for n in 0..COUNT {
        root.write(&format!("/app/{}/program-{n}", n % 40), &bytes);
    }
    let written = began.elapsed();
    watching.wait("all are wrapped", |lines| {
        (done(lines).count() >= COUNT).then_some(())
    });
    println!(
        "written in {written:?}, wrapped after {:?}",
        began.elapsed()
    );
    a_while();
    let output = watching.stop().success();
    let all = lines(&output.stdout);
    let mut wrapped = paths(done(&all));
    wrapped.sort();
    wrapped.dedup();
    assert_eq!((wrapped.len(), done(&all).count()), (COUNT, COUNT));
    assert_eq!(event(&all, "file").count(), COUNT, "nothing else was said");
    for n in [0, 999, 1999] {
        let program = format!("/app/{}/program-{n}", n % 40);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(&program), executable).expect("chmod");
        says_hello(&root, &program);
    }
}

/// The library is edited before the program is decided on, and its sidecar and links are removed with it.
#[test]
fn a_library_comes_with_its_program_and_goes_without_a_trace() {
    let root = Root::new(HOST);
    let needed = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let library = Build::library(HOST, source("lib/bar.c"), "libbar.so");
    let library = library.flags(["-Wl,--no-as-needed"]).link(&needed).build();
    let package = root.package("foo", &[&needed]);
    root.mkdir("/app/lib");
    let watching = root.wrap("/app").libs([package]).watch();
    copy(&root, &library, "/app/lib/libbar.so");
    watching.wrapped("/app/lib/libbar.so", 1);
    let sidecar = root.path(&sidecar_of("/app/lib/libbar.so"));
    assert!(sidecar.is_file());
    fs::remove_file(root.path("/app/lib/libbar.so")).expect("remove");
    watching.wait("the sidecar is removed", |lines| {
        event(lines, "removed").next().map(drop)
    });
    assert!(!sidecar.exists());
    // A file of that name which is not the tool's stays.
    let built = hello(HOST);
    copy(&root, &built, "/app/lib/other");
    watching.wrapped("/app/lib/other", 1);
    root.write(&sidecar_of("/app/lib/other"), "mine");
    fs::remove_file(root.path("/app/lib/other")).expect("remove");
    a_while();
    assert_eq!(root.read(&sidecar_of("/app/lib/other")), b"mine");
    watching.stop().success();
}

#[test]
fn a_program_is_tried_again_when_the_library_it_lacks_arrives() {
    let root = Root::new(HOST);
    let needed = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let program = Build::program(HOST, source("sample.c"))
        .link(&needed)
        .build();
    root.mkdir("/app/lib");
    let watching = root.wrap("/app").libs(["/app/lib"]).watch();
    copy(&root, &program, "/app/program");
    watching.wait("it fails", |lines| {
        let mut files = event(lines, "file");
        let failed = files.find(|line| line["status"] == "failed")?;
        assert_eq!(failed["missing"][0]["soname"], "libfoo.so");
        Some(())
    });
    copy(&root, &needed, "/app/lib/libfoo.so");
    watching.wrapped("/app/program", 1);
    root.command("/app/program").output().success();
    watching.stop().success();
}
