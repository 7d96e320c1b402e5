//! Counts system calls with strace.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::output;

/// System calls of one run, without the execve that starts it.
#[derive(Debug, PartialEq)]
pub struct SystemCalls {
    pub total: usize,
    /// System calls before ld.so's first.
    pub before_ld_so: usize,
}

impl SystemCalls {
    /// Runs `program` under strace.
    pub fn count(program: &Path) -> Result<Self> {
        ensure!(
            which::which("strace").is_ok(),
            "strace is not installed: run `cargo xtask setup`"
        );
        let log = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        output(
            Command::new("strace")
                .arg("-o")
                .arg(log.path())
                .arg(program)
                .env_clear(),
        )?;
        Self::parse(&fs::read_to_string(log.path())?)
            .with_context(|| format!("strace shows no start of ld.so in {}", program.display()))
    }

    fn parse(log: &str) -> Option<Self> {
        let calls: Vec<&str> = log.lines().filter(|line| is_call(line)).collect();
        let (first, rest) = calls.split_first()?;
        if !first.starts_with("execve(") {
            return None;
        }
        // glibc's ld.so first queries the program break; stub and loader never do.
        let before_ld_so = rest.iter().position(|call| call.starts_with("brk(NULL"))?;
        Some(Self {
            total: rest.len(),
            before_ld_so,
        })
    }
}

/// Whether the line is a call, and not a signal (`--- SIGCHLD …`) or the end (`+++ exited …`).
fn is_call(line: &str) -> bool {
    let name = line.split('(').next().unwrap_or_default();
    name.len() < line.len()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_before_the_first_brk_are_counted() {
        let log = "execve(\"./hello\", [\"./hello\"], 0x7ffd /* 0 vars */) = 0\n\
                   open(\"/lib/loader.bin\", O_RDONLY) = 3\n\
                   mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7f00\n\
                   --- SIGCHLD {si_signo=SIGCHLD} ---\n\
                   brk(NULL) = 0x5555\n\
                   exit_group(0) = ?\n\
                   +++ exited with 0 +++\n";
        let expected = SystemCalls {
            total: 4,
            before_ld_so: 2,
        };
        assert_eq!(SystemCalls::parse(log), Some(expected));
        assert_eq!(
            SystemCalls::parse("execve(\"./static\") = 0\nexit_group(0) = ?\n"),
            None
        );
    }
}
