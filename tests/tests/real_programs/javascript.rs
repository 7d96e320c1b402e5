//! node, bun, deno and workerd: each has a hundred megabytes, generates code, and can copy itself.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use e2e::{Arch, Libc, Root, Run, corpus};

use crate::layout::{Case, ShortPath, edit_libraries, eventually, root, root_with_shell, wrap};

on!([x86_64 aarch64 x86_64_auto aarch64_auto x86_64_own armv7 armv7_auto armv7_own]:
    node_of_vs_code_runs_a_script_and_loads_addons
);
on!([x86_64 aarch64 x86_64_auto aarch64_auto x86_64_own]:
    bun_runs_typescript_and_loads_addons,
    bun_compiles_a_program_from_itself,
    bun_1_4_0_compiles_a_program_from_itself,
    deno_runs_typescript,
    deno_compiles_with_a_wrapped_template,
    workerd_compiles_a_server_from_itself
);
on!([x86_64 aarch64 x86_64_own]: node_builds_a_single_executable_from_itself);
on!([x86_64 aarch64 armv7]: node_runs_once);

const TYPESCRIPT: &str = r#"interface Point { x: number; y: number }
enum Colour { Red = 1, Green = 2 }
const point: Point = { x: 40, y: 2 };
console.log(`sum ${point.x + point.y}, green ${Colour.Green}`);
"#;

const TYPESCRIPT_SAYS: &str = "sum 42, green 2\n";

fn node_of_vs_code_runs_a_script_and_loads_addons(case: Case) {
    let root = root(case);
    let server = "/app/home/.vscode-server/bin/0123456789abcdef0123456789abcdef01234567";
    let node = root.install(&corpus::fetch("node", case.arch), &format!("{server}/node"));
    wrap(case, &root, &node, &[]);
    root.write(&format!("{server}/server.js"), NODE_SCRIPT);
    let script = root
        .command(&node)
        .arg(format!("{server}/server.js"))
        .env("ONLY", "this");
    let output = script.output().success();
    // The script and its child process, which is node too, both see the unchanged path, arguments and environment.
    let sees = format!("{server}/node|argument|ONLY=this\n");
    assert_eq!(
        output.stdout,
        format!("{}{sees}", sees.replace("argument", "none"))
    );
    // For aarch64, it has already loaded the libraries that the addons need.
    let is_missing = case.arch != Arch::Aarch64;
    load_addons(&root, case, is_missing, || root.command(&node));
}

/// With `wrap-buddy run`, the program and its child process are the same as if it were wrapped.
fn node_runs_once(case: Case) {
    let root = root(case);
    let node = root.install(&corpus::fetch("node", case.arch), "/app/bin/node");
    let before = root.read(&node);
    root.write("/app/server.js", NODE_SCRIPT);
    let tool = root.tool_itself();
    let run = root.command(&tool).arg("run");
    let run = run.args(["--interpreter", &root.interpreter(case.arch, Libc::Glibc)]);
    let libs = root.library_dirs().into_iter();
    let run = run.args(libs.flat_map(|dir| ["--libs".to_string(), dir]));
    let run = run.args([&node, "/app/server.js"]).env("ONLY", "this");
    let output = run.output().success();
    let sees = format!("{node}|argument|ONLY=this\n");
    let all = format!("{}{sees}", sees.replace("argument", "none"));
    assert_eq!(output.stdout, all, "{output}");
    assert!(root.read(&node) == before, "the program was changed");
}

const NODE_SCRIPT: &str = r#"const { execFileSync } = require("child_process");
const env = Object.entries(process.env).map(([name, value]) => `${name}=${value}`).join();
console.log([process.execPath, process.argv[2] ?? "none", env].join("|"));
if (process.argv.length === 2) {
  process.stdout.write(execFileSync(process.execPath, [__filename, "argument"]));
}
"#;

fn bun_runs_typescript_and_loads_addons(case: Case) {
    let root = root(case);
    let bun = install_bun(&root, case);
    root.write("/app/main.ts", TYPESCRIPT);
    let output = in_bun(root.command(&bun))
        .args(["run", "/app/main.ts"])
        .output()
        .success();
    assert_eq!(output.stdout, TYPESCRIPT_SAYS);
    // For aarch64, it calls functions that unwind the stack, so it loads the library that the addons need: libgcc_s.so.1.
    let is_missing = case.arch != Arch::Aarch64;
    load_addons(&root, case, is_missing, || {
        in_bun(root.command(&bun)).arg("run")
    });
}

/// It enlarges the last PT_LOAD of the copy, and finds the payload by the program headers in memory.
fn bun_compiles_a_program_from_itself(case: Case) {
    compiles_a_program("bun", case);
}

/// It finds the payload in another way.
fn bun_1_4_0_compiles_a_program_from_itself(case: Case) {
    compiles_a_program("bun-1.4.0", case);
}

fn compiles_a_program(bun: &str, case: Case) {
    let root = root(case);
    let bun = root.install(&corpus::fetch(bun, case.arch), "/app/bun/bin/bun");
    wrap(case, &root, &bun, &[]);
    root.write("/app/main.ts", TYPESCRIPT);
    root.mkdir("/app/elsewhere");
    let program = "/app/elsewhere/program";
    let build = in_bun(root.command(&bun)).args(["build", "--compile", "/app/main.ts"]);
    build.args(["--outfile", program]).output().success();
    let output = in_bun(root.command(program)).output().success();
    assert_eq!(output.stdout, TYPESCRIPT_SAYS);
    uses_the_sidecar_of_another(&root, program);
}

#[track_caller]
fn uses_the_sidecar_of_another(root: &Root, program: &str) {
    let check = root.wrap_buddy().args(["check", program]).output();
    assert!(check.stdout.contains("its sidecar is /app/"), "{check}");
}

/// It moves the program headers to the end of the copy, adds a PT_LOAD for them and one for the payload, and finds that by the
/// program headers in memory.
fn node_builds_a_single_executable_from_itself(case: Case) {
    let root = root(case);
    let node = root.install(&corpus::fetch("node26", case.arch), "/app/bin/node26");
    wrap(case, &root, &node, &[]);
    root.write(
        "/app/main.js",
        "console.log(`sum ${40 + 2}, ${process.argv[2]}`);\n",
    );
    let config = r#"{ "main": "main.js", "output": "/app/elsewhere/program", "disableExperimentalSEAWarning": true }"#;
    root.write("/app/sea.json", config);
    root.mkdir("/app/elsewhere");
    let build = root.command(&node).args(["--build-sea", "/app/sea.json"]);
    // Under emulation it takes a minute.
    let build = build.cwd("/app").timeout(Duration::from_secs(300));
    build.output().success();
    let output = root
        .command("/app/elsewhere/program")
        .arg("argument")
        .output();
    assert_eq!(output.success().stdout, "sum 42, argument\n");
    uses_the_sidecar_of_another(&root, "/app/elsewhere/program");
}

fn install_bun(root: &Root, case: Case) -> String {
    let bun = root.install(&corpus::fetch("bun-1.4.0", case.arch), "/app/bun/bin/bun");
    wrap(case, root, &bun, &[]);
    bun
}

fn in_bun(run: Run<'_>) -> Run<'_> {
    run.env("HOME", "/tmp").cwd("/app")
}

/// swc and rollup: shared libraries of Rust, 10 MB and 2 MB. They need libraries that node and bun do not, and whose DT_RUNPATH
/// does not apply, so the addons are edited themselves. `is_missing` says whether they cannot be loaded before that.
fn load_addons<'r>(root: &'r Root, case: Case, is_missing: bool, runtime: impl Fn() -> Run<'r>) {
    let addons = [("swc", SWC, SWC_SAYS), ("rollup", ROLLUP, ROLLUP_SAYS)];
    let load = |name: &str| {
        let [script, addon] = ["js", "node"].map(|ending| format!("/app/addons/{name}.{ending}"));
        // swc unpacks itself to a cache in the user's home.
        runtime().args([script, addon]).env("HOME", "/tmp").output()
    };
    for (name, script, _) in addons {
        let addon = corpus::fetch(name, case.arch);
        root.install(&addon, &format!("/app/addons/{name}.node"));
        root.write(&format!("/app/addons/{name}.js"), script);
        let output = load(name);
        let lacks = output.stderr.contains("cannot open shared object file");
        assert_eq!(output.status != Some(0) && lacks, is_missing, "{output}");
    }
    edit_libraries(root, "/app/addons", &["swc.node", "rollup.node"]);
    for (name, _, says) in addons {
        assert_eq!(load(name).success().stdout, says);
    }
}

const SWC: &str = r#"const { transformSync } = require(process.argv[2]);
const options = { jsc: { parser: { syntax: "typescript" }, target: "es2020" } };
const source = "const answer: number = 42; export { answer };";
console.log(transformSync(source, false, Buffer.from(JSON.stringify(options))).code.trim());
"#;

const SWC_SAYS: &str = "const answer = 42;\nexport { answer };\n";

const ROLLUP: &str = r#"const { parse, xxhashBase16 } = require(process.argv[2]);
console.log(xxhashBase16(Buffer.from("wrap")), parse("export const a = 1", false, false).length);
"#;

const ROLLUP_SAYS: &str = "3c76ca702c3606ee65a05563734b262b 164\n";

fn deno_runs_typescript(case: Case) {
    let root = root(case);
    let deno = install_deno(&root, case);
    root.write(
        "/app/lib/twice.ts",
        "export const twice = (n: number): number => n + n;\n",
    );
    root.write(
        "/app/main.ts",
        "import { twice } from './lib/twice.ts';\nconsole.log(twice(21), Deno.execPath());\n",
    );
    let run = in_deno(root.command(&deno)).args(["run", "--allow-read", "--allow-env"]);
    let output = run.arg("/app/main.ts").output().success();
    assert_eq!(output.stdout, format!("42 {deno}\n"));
}

/// `deno compile` appends a payload to `denort`, a smaller deno that it downloads from its own host; no registry has it. This test
/// uses deno itself as the template. It ignores the payload, so the result starts as deno.
fn deno_compiles_with_a_wrapped_template(case: Case) {
    let root = root(case);
    let deno = install_deno(&root, case);
    root.write("/app/main.ts", TYPESCRIPT);
    root.mkdir("/app/elsewhere");
    let program = "/app/elsewhere/program";
    let compile = in_deno(root.command(&deno)).args(["compile", "--no-check", "--output", program]);
    compile
        .arg("/app/main.ts")
        .env("DENORT_BIN", deno.as_str())
        .output()
        .success();
    assert!(
        root.read(program).len() > root.read(&deno).len(),
        "no payload"
    );
    let output = in_deno(root.command(program))
        .args(["run", "/app/main.ts"])
        .output()
        .success();
    assert_eq!(output.stdout, TYPESCRIPT_SAYS);
}

fn install_deno(root: &Root, case: Case) -> String {
    let deno = root.install(&corpus::fetch("deno", case.arch), "/app/deno/bin/deno");
    wrap(case, root, &deno, &[]);
    deno
}

fn in_deno(run: Run<'_>) -> Run<'_> {
    let run = run
        .env("DENO_DIR", "/tmp/deno")
        .env("DENO_NO_UPDATE_CHECK", "1");
    run.env("HOME", "/tmp").cwd("/app")
}

fn workerd_compiles_a_server_from_itself(case: Case) {
    // The compiled program is written to standard output.
    let root = root_with_shell(case);
    let workerd = root.install(&corpus::fetch("workerd", case.arch), "/app/bin/workerd");
    wrap(case, &root, &workerd, &[]);
    // It does not start without a trusted certificate authority.
    root.write("/etc/ssl/certs/ca-certificates.crt", include_str!("ca.pem"));
    root.write("/app/worker/config.capnp", WORKERD_CONFIG);
    root.write("/app/worker/worker.js", WORKER);
    root.mkdir("/app/run");
    let test = root
        .command(&workerd)
        .args(["test", "/app/worker/config.capnp"])
        .output()
        .success();
    assert!(test.stderr.contains("[ PASS ] main"), "{test}");

    // The test of a worker opens its sockets as well, and leaves them.
    fs::remove_file(root.path("/app/run/http")).expect("remove a socket");
    let server = "/app/server";
    let script = format!("{workerd} compile /app/worker/config.capnp > {server}");
    root.command("/bin/sh")
        .args(["-c", &script])
        .output()
        .success();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.path(server), executable).expect("chmod what was compiled");
    let sockets = ShortPath::new(&root, "/app/run");
    let running = root
        .command(server)
        .spawn()
        .expect("start the compiled server");
    let Some(mut socket) = eventually(|| sockets.connect("http").ok()) else {
        panic!("no process listens; {}", running.finish(Duration::ZERO));
    };
    socket
        .write_all(b"GET /path HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n")
        .expect("send a request");
    let mut answer = String::new();
    socket
        .read_to_string(&mut answer)
        .expect("an answer in UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("wrapped /path"), "{answer}");
}

const WORKERD_CONFIG: &str = r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "unix:/app/run/http", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2024-01-01",
);
"#;

const WORKER: &str = r#"export default {
  async fetch(request) {
    return new Response("wrapped " + new URL(request.url).pathname);
  },
  async test() {
    const response = await this.fetch(new Request("http://example/path"));
    if (await response.text() !== "wrapped /path") throw new Error("unexpected answer");
  }
};
"#;
