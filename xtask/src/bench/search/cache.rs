//! An ld.so.cache with the libraries of a program, visible only to this process and its children.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::kit::Program;
use crate::workspace::output;

const CACHE: &str = "/etc/ld.so.cache";

/// Makes ld.so find the libraries of `program` in its cache, and no longer those of an earlier program.
pub fn show(directory: &Path, program: &Program) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "putting libraries into an ld.so.cache takes root"
    );
    // Other processes do not see the mounts.
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace to be had")?;
    let no_source: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(no_source, "/", no_source, private, no_source).context("mounts stay shared")?;
    // The first time, there is none.
    let _ = umount2(CACHE, MntFlags::MNT_DETACH);

    let list = directory.join("ld.so.conf");
    let mut text = program.search.join("\n");
    text.push_str("\ninclude /etc/ld.so.conf\n");
    fs::write(&list, text)?;
    let cache = directory.join("ld.so.cache");
    let mut ldconfig = Command::new("/sbin/ldconfig");
    // -X: make no links.
    output(
        ldconfig
            .arg("-X")
            .arg("-f")
            .arg(&list)
            .arg("-C")
            .arg(&cache),
    )?;
    mount(Some(&cache), CACHE, no_source, MsFlags::MS_BIND, no_source)
        .with_context(|| format!("cannot show another {CACHE}"))
}
