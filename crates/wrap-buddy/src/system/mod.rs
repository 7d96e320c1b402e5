//! The operating system: directory handles, locks, owners and their rights, threads, signals.

pub mod directory;
pub mod file_flags;
pub mod hex;
pub mod lock;
pub mod mount;
pub mod open_files;
pub mod path_guard;
pub mod privilege;
pub mod relative;
pub mod shell;
pub mod sidecar_path;
pub mod signals;
pub mod trust;
pub mod walk;
pub mod workers;
