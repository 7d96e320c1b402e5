//! ninja and cmake, in the layout of their wheels.

use e2e::{Root, corpus};

use crate::layout::{Case, install_tree, root_with_shell, wrap};

on!([x86_64 i686 aarch64 x86_64_auto i686_auto aarch64_auto x86_64_own i686_own aarch64_own riscv64 riscv64_auto armv7 armv7_auto armv7_own]: ninja_builds_what_changed);
on!([x86_64 i686 aarch64 x86_64_auto i686_auto aarch64_auto armv7 armv7_auto]: cmake_configures_builds_and_tests);

fn ninja_builds_what_changed(case: Case) {
    let root = root_with_shell(case);
    let ninja = install_ninja(&root, case);
    root.write("/app/build/build.ninja", NINJA);
    root.write("/app/build/in.txt", "one\ntwo\n");
    let run = || {
        root.command(&ninja)
            .args(["-C", "/app/build"])
            .output()
            .success()
    };

    run();
    assert_eq!(root.read("/app/build/out.txt"), b"built one\nbuilt two\n");
    assert!(run().stdout.contains("no work to do"));
    root.write("/app/build/in.txt", "three\n");
    run();
    assert_eq!(root.read("/app/build/out.txt"), b"built three\n");
}

const NINJA: &str = r#"rule copy
  command = while read line; do echo "built $$line"; done < $in > $out
build out.txt: copy in.txt
"#;

fn cmake_configures_builds_and_tests(case: Case) {
    let root = root_with_shell(case);
    let ninja = install_ninja(&root, case);
    install_tree(&root, &corpus::fetch("cmake", case.arch), "/app/cmake");
    for program in ["cmake", "ctest", "cpack"] {
        wrap(case, &root, &format!("/app/cmake/bin/{program}"), &[]);
    }
    root.write("/app/demo/CMakeLists.txt", CMAKE);
    root.write("/app/demo/name.txt", "demo\n");
    let cmake = || root.command("/app/cmake/bin/cmake");

    let make_program = format!("-DCMAKE_MAKE_PROGRAM={ninja}");
    cmake()
        .args([
            "-G",
            "Ninja",
            "-S",
            "/app/demo",
            "-B",
            "/app/demo/build",
            &make_program,
        ])
        .output()
        .success();
    cmake()
        .args(["--build", "/app/demo/build"])
        .output()
        .success();
    let greeting = String::from_utf8(root.read("/app/demo/build/greeting.txt")).expect("UTF-8");
    assert!(greeting.starts_with("built with 4."), "{greeting:?}");

    let ctest = root
        .command("/app/cmake/bin/ctest")
        .args(["--test-dir", "/app/demo/build"]);
    let ctest = ctest.output().success();
    assert!(
        ctest
            .stdout
            .contains("100% tests passed, 0 tests failed out of 1"),
        "{ctest}"
    );
    root.command("/app/cmake/bin/cpack")
        .args(["-G", "TGZ"])
        .cwd("/app/demo/build")
        .output()
        .success();
    let contents = cmake()
        .args(["-E", "tar", "tzf", "/app/demo/build/demo-1.0.tar.gz"])
        .output()
        .success();
    assert!(
        contents
            .stdout
            .lines()
            .any(|line| line == "demo-1.0/share/greeting.txt"),
        "{contents}"
    );
}

const CMAKE: &str = r#"cmake_minimum_required(VERSION 3.20)
project(demo VERSION 1.0 LANGUAGES NONE)
add_custom_command(OUTPUT greeting.txt DEPENDS ${CMAKE_SOURCE_DIR}/name.txt
  COMMAND ${CMAKE_COMMAND} -E echo "built with ${CMAKE_VERSION}" > greeting.txt)
add_custom_target(greeting ALL DEPENDS greeting.txt)
configure_file(name.txt copy.txt COPYONLY)
enable_testing()
add_test(NAME compare
  COMMAND ${CMAKE_COMMAND} -E compare_files ${CMAKE_SOURCE_DIR}/name.txt ${CMAKE_BINARY_DIR}/copy.txt)
install(FILES ${CMAKE_BINARY_DIR}/greeting.txt DESTINATION share)
set(CPACK_PACKAGE_FILE_NAME demo-1.0)
include(CPack)
"#;

fn install_ninja(root: &Root, case: Case) -> String {
    let ninja = root.install(&corpus::fetch("ninja", case.arch), "/app/venv/bin/ninja");
    wrap(case, root, &ninja, &[]);
    ninja
}
