//! Keeps child processes from inheriting files that are open for writing.
//!
//! With plain `cargo test`, tests are threads of one process. A child that one of them forks inherits, until its exec, the files
//! that another one has open for writing. Executing such a file fails with "text file busy".

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static FORKING: RwLock<()> = RwLock::new(());

/// Hold this while you write a file that will be executed.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    FORKING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Hold this while other code starts children.
pub(crate) fn forking() -> RwLockWriteGuard<'static, ()> {
    FORKING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child while no file is being written. Returns after its exec.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _guard = forking();
    command.spawn()
}
