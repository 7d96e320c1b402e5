//! Keeps files that are being written out of the hands of child processes.
//!
//! Under plain `cargo test`, tests are threads of one process. A child that one of them forks holds, until its exec, what
//! another has open for writing; a program that is executed meanwhile is "text file busy".

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static FORKING: RwLock<()> = RwLock::new(());

/// To be held while a file that will be executed is written.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    FORKING.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held while children are started by code that does not know of this.
pub(crate) fn forking() -> RwLockWriteGuard<'static, ()> {
    FORKING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child while nobody writes; returns after its exec.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _guard = forking();
    command.spawn()
}
