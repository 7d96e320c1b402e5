//! The trees, and the use of each.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use e2e::run::on_host;
use e2e::{Arch, assert_fails_unwrapped, corpus};

use crate::tree::{Place, Tree};

fn nothing(_: &Place<'_>) {}

/// The link that a package's script would make.
fn which(place: &Place<'_>) {
    let link = place.root().path(&place.path("usr/bin/which"));
    symlink("which.debianutils", link).expect("a link that the package lacks");
}

#[test]
fn perl_loads_its_extensions() {
    let tree = Tree {
        packages: &["perl"],
        program: "usr/bin/perl",
        prepare: nothing,
        make_use: |place| {
            let script = r#"use POSIX; use Storable; use Encode; use Digest::SHA "sha1_hex"; use Socket; use List::Util "sum";
                use IO::Compress::Gzip; use Math::BigInt;
                print floor(3.7), " ", sha1_hex("x"), " ", length(encode("UTF-16", "abc")), " ", sum(1..8), " ",
                    Storable::dclone([42])->[0], " ", Math::BigInt->new(2)->bpow(70), " ", inet_ntoa(INADDR_LOOPBACK), "\n""#;
            let directories = [
                "usr/lib/x86_64-linux-gnu/perl-base",
                "usr/lib/x86_64-linux-gnu/perl/5.36",
                "usr/share/perl/5.36",
            ];
            let directories = directories.map(|directory| place.path(directory));
            let perl = place.command("usr/bin/perl").args(["-e", script]);
            let output = perl.env("PERL5LIB", directories.join(":")).output();
            assert_eq!(
                output.success().stdout,
                "3 11f6ad8ec52a2984abaafd7c3b516503785c2072 8 36 42 1180591620717411303424 127.0.0.1\n"
            );
        },
    };
    tree.works(false);
}

#[test]
fn python_loads_its_extensions_and_those_of_a_wheel() {
    let tree = Tree {
        packages: &["python3"],
        program: "usr/bin/python3.11",
        prepare: |place| {
            let wheel = corpus::fetch("psutil", Arch::X86_64);
            let target = place
                .root()
                .mkdir(&place.path("usr/lib/python3/dist-packages/psutil"));
            for entry in fs::read_dir(wheel).expect("list a wheel") {
                let entry = entry.expect("a directory entry");
                if entry.path().is_file() {
                    fs::copy(entry.path(), target.join(entry.file_name())).expect("copy a file");
                }
            }
        },
        make_use: |place| {
            let script = "import bz2, ctypes, curses, decimal, hashlib, lzma, psutil, readline, sqlite3, ssl, subprocess, sys, uuid, zlib\n\
                assert lzma.decompress(lzma.compress(b'x')) == bz2.decompress(bz2.compress(b'x'))\n\
                print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0], ssl.OPENSSL_VERSION[:7])\n\
                print(psutil.Process().name(), psutil.virtual_memory().total > 0)\n\
                print(subprocess.check_output([sys.executable, '-Bc', 'print(1)'], text=True).strip())\n";
            let python = place
                .command("usr/bin/python3.11")
                .args(["-B", "-c", script]);
            let output = python
                .env("PYTHONHOME", place.path("usr"))
                .output()
                .success();
            assert_eq!(output.stdout, "42 OpenSSL\npython3.11 True\n1\n");
        },
    };
    tree.works(false);
}

#[test]
fn ruby_loads_its_extensions() {
    let tree = Tree {
        packages: &["ruby"],
        program: "usr/bin/ruby3.1",
        prepare: nothing,
        make_use: |place| {
            let script = "require 'json'; require 'openssl'; require 'zlib'; require 'psych'; require 'socket'; require 'bigdecimal'\n\
                puts JSON.generate([1, {'a' => 2}]), OpenSSL::Digest::SHA256.hexdigest('x')[0, 8], Zlib.crc32('x'),\n\
                Psych.load('a: [1, 2]'), BigDecimal('0.1') + BigDecimal('0.2'), \"Gr\\u00fc\\u00dfe\".encode('ISO-8859-1').bytesize";
            let directories = ["usr/lib/ruby/3.1.0", "usr/lib/x86_64-linux-gnu/ruby/3.1.0"];
            let mut directories = directories.map(|directory| place.path(directory)).to_vec();
            directories.push(place.path("usr/lib/ruby/vendor_ruby"));
            let ruby = place
                .command("usr/bin/ruby3.1")
                .args(["--disable-gems", "-e", script]);
            let output = ruby
                .env("RUBYLIB", directories.join(":"))
                .output()
                .success();
            assert_eq!(
                output.stdout,
                "[1,{\"a\":2}]\n2d711642\n2363233923\n{\"a\"=>[1, 2]}\n0.3e0\n5\n"
            );
        },
    };
    tree.works(false);
}

#[test]
fn gcc_compiles_a_program_that_runs() {
    let tree = Tree {
        packages: &["gcc", "libc6-dev"],
        program: "usr/bin/x86_64-linux-gnu-gcc-12",
        prepare: |place| {
            // The linker reads this file, and the package's link is absolute.
            let linker = place.root().path(&place.path("lib64/ld-linux-x86-64.so.2"));
            fs::remove_file(&linker).expect("a link of the package");
            symlink("../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", linker).expect("a link");
        },
        make_use: |place| {
            let source = "#include <math.h>\n#include <stdio.h>\n\
                int main(int argc, char **argv) { printf(\"%s %.3f\\n\", argv[1], sqrt(argc)); }\n";
            let source = place.write("main.c", source);
            let libraries = place.path("lib/x86_64-linux-gnu");
            let gcc = place.command("usr/bin/x86_64-linux-gnu-gcc-12");
            let gcc = gcc.args(["-O2", "-flto", "-o", "/app/work/main", &source, "-lm"]);
            let gcc = gcc.arg(format!("--sysroot={}", place.path("")));
            let linker =
                format!("-Wl,--dynamic-linker={libraries}/ld-linux-x86-64.so.2,-rpath={libraries}");
            gcc.arg(linker).output().success();
            let output = place
                .root()
                .command("/app/work/main")
                .arg("compiled")
                .output();
            assert_eq!(output.success().stdout, "compiled 1.414\n");
        },
    };
    tree.works(false);
}

#[test]
fn postgres_makes_a_cluster_and_compiles_a_query() {
    /// PostgreSQL refuses to run as root.
    const USER: u32 = 1000;
    let tree = Tree {
        packages: &[
            "postgresql-15",
            "dash",
            "coreutils",
            "sed",
            "grep",
            "debianutils",
        ],
        program: "usr/lib/postgresql/15/bin/initdb",
        prepare: |place| {
            which(place);
            let passwd = format!("tester:x:{USER}:{USER}::/app/work:/bin/sh\n");
            place.root().write(&place.path("etc/passwd"), passwd);
        },
        make_use: |place| {
            let work = place.root().path("/app/work");
            std::os::unix::fs::chown(work, Some(USER), Some(USER)).expect("chown");
            let run = |program: &str| {
                let program = format!("usr/lib/postgresql/15/bin/{program}");
                place.command(&program).user(USER).env("TZ", "UTC")
            };
            let initdb = run("initdb").args(["-D", "/app/work/data", "-U", "tester", "--no-sync"]);
            let initdb = initdb.args(["--encoding=UTF8", "--locale=C", "--locale-provider=icu"]);
            initdb
                .args(["--icu-locale=und", "--auth=trust"])
                .output()
                .success();
            let postgres = run("postgres").args(["--single", "-D", "/app/work/data"]);
            let postgres = postgres.args(["-c", "jit_above_cost=0", "postgres"]);
            let query = "select 'sum ' || sum(n) || ' ' || upper('ä') from generate_series(1, 8) n\n\
                explain analyze select sum(n) from generate_series(1, 8) n\n";
            let output = postgres.stdin(query).output().success();
            assert!(output.stdout.contains("\"sum 36 Ä\""), "{output}");
            // The compiler is a library that is opened on demand. Without it, there is no such line.
            assert!(output.stdout.contains("JIT:"), "{output}");
        },
    };
    tree.works(false);
}

#[test]
fn qemu_img_converts_an_image() {
    let tree = Tree {
        packages: &["qemu-utils"],
        program: "usr/bin/qemu-img",
        prepare: nothing,
        make_use: |place| {
            place.write("raw", &"wrapped ".repeat(8192));
            let convert = [
                "convert",
                "-O",
                "qcow2",
                "-c",
                "-f",
                "raw",
                "raw",
                "image.qcow2",
            ];
            place
                .command("usr/bin/qemu-img")
                .args(convert)
                .output()
                .success();
            let back = ["convert", "-O", "raw", "image.qcow2", "back"];
            place
                .command("usr/bin/qemu-img")
                .args(back)
                .output()
                .success();
            assert!(place.read("raw") == place.read("back"));
            let io = ["-r", "-c", "read -P 119 0 1", "image.qcow2"];
            let output = place.command("usr/bin/qemu-io").args(io).output().success();
            assert!(output.stdout.contains("read 1/1 bytes"), "{output}");
        },
    };
    tree.works(false);
}

/// A boot sector writes a line to the serial port, and turns the machine off.
#[test]
fn qemu_boots_a_machine() {
    let tree = Tree {
        packages: &["qemu-system-x86"],
        program: "usr/bin/qemu-system-x86_64",
        prepare: nothing,
        make_use: |place| {
            // Real mode, at 0x7c00: each byte of the line to port 0x3f8; then 16 to port 0xf4, which makes status 33.
            let code = [
                0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
                0xbe, 0x18, 0x7c, // mov si, 0x7c18
                0xba, 0xf8, 0x03, // mov dx, 0x3f8
                0xac, // next: lodsb
                0x84, 0xc0, 0x74, 0x03, // test al, al; jz end
                0xee, 0xeb, 0xf8, // out dx, al; jmp next
                0xb0, 0x10, // end: mov al, 16
                0xe6, 0xf4, // out 0xf4, al
                0xeb, 0xfe, // jmp here
            ];
            let mut sector = [&code[..], b"booted\n"].concat();
            sector.resize(510, 0);
            sector.extend([0x55, 0xaa]);
            fs::write(place.root().path("/app/work/disk"), sector).expect("write a boot sector");
            let machine =
                "-display none -serial stdio -monitor none -no-reboot -nodefaults -accel tcg -m 16";
            let qemu = place.command("usr/bin/qemu-system-x86_64");
            let qemu = qemu.args(machine.split(' '));
            let qemu = qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
            // Debian's directories for files of other packages.
            let qemu = ["usr/share/qemu", "usr/share/seabios"]
                .iter()
                .fold(qemu, |qemu, firmware| {
                    qemu.args(["-L", &place.path(firmware)])
                });
            let output = qemu.args(["-drive", "file=disk,format=raw"]).output();
            let output = output.exits_with(33);
            assert_eq!(output.stdout, "booted\n", "{output}");
        },
    };
    tree.works(false);
}

#[test]
fn ffmpeg_transcodes() {
    let tree = Tree {
        packages: &["ffmpeg"],
        program: "usr/bin/ffmpeg",
        prepare: nothing,
        make_use: |place| {
            let ffmpeg = |arguments: &str| {
                let ffmpeg = place
                    .command("usr/bin/ffmpeg")
                    .args(["-loglevel", "error", "-y"]);
                ffmpeg.args(arguments.split(' ')).output().success()
            };
            ffmpeg(
                "-f lavfi -i testsrc=duration=1:size=160x120:rate=10 -f lavfi -i sine=duration=1 -c:v libx264 -c:a aac a.mp4",
            );
            ffmpeg("-i a.mp4 -c:v libvpx -c:a libopus b.webm");
            let probe = "-v error -show_entries stream=codec_name -of csv=p=0 b.webm";
            let output = place
                .command("usr/bin/ffprobe")
                .args(probe.split(' '))
                .output();
            assert_eq!(output.success().stdout, "vp8\nopus\n");
        },
    };
    tree.works(false);
}

#[test]
fn jdk_compiles_runs_and_links_an_image() {
    const JDK: &str = "usr/lib/jvm/java-17-openjdk-amd64";
    let tree = Tree {
        packages: &["openjdk-17-jdk-headless"],
        program: "usr/lib/jvm/java-17-openjdk-amd64/bin/java",
        prepare: nothing,
        make_use: |place| {
            let run = |program: &str| place.command(&format!("{JDK}/bin/{program}"));
            let source = r#"public class Main { public static void main(String[] words) throws Exception {
                var digest = java.security.MessageDigest.getInstance("SHA-256").digest(words[0].getBytes());
                System.out.println(digest.length + " " + new java.util.zip.CRC32() {{ update(digest); }}.getValue()
                    + " " + new String("ü".getBytes("IBM850"), "ISO-8859-1").length()); } }"#;
            place.write("Main.java", source);
            let javac = ["-encoding", "UTF-8", "Main.java"];
            run("javac").args(javac).output().success();
            let output = run("java").args(["-cp", "/app/work", "Main", "x"]).output();
            assert_eq!(output.success().stdout, "32 2027678490 1\n");
            // The launchers that jlink writes are copies from its modules, which are Debian's, unwrapped.
            let jlink = ["--add-modules", "java.base", "--output", "/app/work/image"];
            run("jlink").args(jlink).output().success();
            let image = "/app/work/image/bin/java";
            assert_fails_unwrapped(place.root().command(image));
            place.wrap("/app/work/image");
            let image = place
                .root()
                .command(image)
                .args(["-cp", "/app/work", "Main", "x"]);
            assert_eq!(image.output().success().stdout, "32 2027678490 1\n");
        },
    };
    tree.works(true);
}

#[test]
fn r_computes_and_converts() {
    const GCONV: &str = "usr/lib/x86_64-linux-gnu/gconv";
    let tree = Tree {
        packages: &[
            "r-base-core",
            "dash",
            "coreutils",
            "sed",
            "grep",
            "debianutils",
        ],
        program: "usr/lib/R/bin/exec/R",
        prepare: |place| {
            which(place);
            let settings = place.root().read(&place.path("usr/lib/R/etc/Renviron.ucf"));
            place.root().write(&place.path("etc/R/Renviron"), settings);
        },
        make_use: |place| {
            let script = r#"cat(charToRaw(iconv("\xfc", "latin1", "UTF-8")), charToRaw(iconv("\xcf", "KOI8-R", "UTF-8")), "\n")
                cat(round(summary(lm(mpg ~ wt, mtcars))$r.squared, 4), solve(matrix(c(2, 0, 0, 4), 2)), "\n")
                library(grid)
                file <- gzfile("/app/work/x.gz", "w"); writeLines("packed", file); close(file); cat(readLines("/app/work/x.gz"), "\n")
            "#;
            let script = place.write("script.R", script);
            let r = place
                .command("usr/lib/R/bin/exec/R")
                .env("R_HOME", place.path("usr/lib/R"));
            // glibc's iconv looks for its modules in its built-in directory, or in this one.
            let r = r.env("GCONV_PATH", place.path(GCONV));
            let r = r.args(["--no-echo", "--no-restore", &format!("--file={script}")]);
            let output = r.output().success();
            assert_eq!(
                output.stdout,
                "c3 bc d0 be \n0.7528 0.5 0 0 0.25 \npacked \n"
            );
        },
    };
    tree.works(true);
}

#[test]
fn chromium_renders_a_page() {
    let tree = Tree {
        packages: &["chromium"],
        program: "usr/lib/chromium/chromium",
        prepare: |place| {
            // It makes this one itself, next to its program.
            let directory = place
                .root()
                .mkdir(&place.path("usr/lib/chromium/extensions"));
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(directory, private).expect("chmod");
        },
        make_use: |place| {
            place.write(
                "page.html",
                "<script>document.write('<p>' + 6 * 7 + '</p>')</script>",
            );
            let render = |flag: &str| {
                let chromium = place.command("usr/lib/chromium/chromium");
                let chromium = chromium.args([
                    "--headless",
                    "--no-sandbox",
                    "--user-data-dir=/app/work/user",
                ]);
                chromium
                    .args([flag, "file:///app/work/page.html"])
                    .output()
                    .success()
            };
            let output = render("--dump-dom");
            assert!(output.stdout.contains("<p>42</p>"), "{output}");
            render("--screenshot=/app/work/page.png");
            assert!(place.read("page.png").starts_with(b"\x89PNG"));
        },
    };
    tree.works(true);
}

/// Its own libraries, which it opens by a list in a file, have no room for a search path.
#[test]
fn firefox_renders_a_page() {
    let tree = Tree {
        packages: &["firefox-esr"],
        program: "usr/lib/firefox-esr/firefox-esr",
        prepare: nothing,
        make_use: |place| {
            place.write("page.html", "<body style='background: red'>wrapped");
            fs::create_dir(place.root().path("/app/work/profile")).expect("a profile");
            let firefox = place.command("usr/lib/firefox-esr/firefox-esr");
            let firefox = firefox.args([
                "--headless",
                "--no-remote",
                "--profile",
                "/app/work/profile",
            ]);
            let firefox = firefox.args(["--window-size", "400,300", "--screenshot"]);
            let firefox = firefox.args(["/app/work/page.png", "file:///app/work/page.html"]);
            let output = firefox.output();
            let image = fs::read(place.root().path("/app/work/page.png")).unwrap_or_default();
            assert!(image.starts_with(b"\x89PNG"), "{output}");
        },
    };
    tree.works(true);
}

#[test]
fn libreoffice_converts_a_document() {
    const OFFICE: &str = "usr/lib/libreoffice";
    let tree = Tree {
        packages: &["libreoffice-writer-nogui"],
        program: "usr/lib/libreoffice/program/soffice.bin",
        prepare: |place| {
            // A package's script copies these.
            let from = place.path("usr/lib/libreoffice/share/.registry/.");
            let paths = [from, place.path("etc/libreoffice/registry")];
            let paths = paths.map(|path| place.root().path(&path));
            let paths = paths
                .each_ref()
                .map(|path| path.to_str().expect("a path in UTF-8"));
            on_host("cp", &["-R", paths[0], paths[1]]).success();
            let passwd = "root:x:0:0:root:/tmp:/bin/sh\n";
            place.root().write(&place.path("etc/passwd"), passwd);
        },
        make_use: |place| {
            let start = |to: &str, file: &str| {
                let base = format!("-env:BRAND_BASE_DIR=file://{}", place.path(OFFICE));
                let office = place.command(&format!("{OFFICE}/program/soffice.bin"));
                let office = office.args(["--headless", "--norestore", &base]);
                let office = office.arg("-env:UserInstallation=file:///app/work/user");
                office.args(["--convert-to", to, file]).output()
            };
            let convert = |to: &str, file: &str| {
                let output = start(to, file);
                // After it has set up a new profile, it asks its script to start it again.
                let output = match output.status {
                    Some(81) => start(to, file),
                    _ => output,
                };
                let output = output.success();
                assert!(output.stdout.contains("convert "), "{output}");
            };
            place.write("in.txt", "Grüße\n");
            convert("docx", "in.txt");
            convert("pdf", "in.docx");
            assert!(place.read("in.pdf").starts_with(b"%PDF-"));
        },
    };
    tree.works(true);
}
