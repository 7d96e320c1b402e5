//! Whole trees, as a packager unpacks them: a Debian package and all that it depends on, in a root that has no library of any
//! other origin. One command wraps a tree; then its programs do what they are for; then it is restored, bit for bit.
//!
//! Only for x86_64: these are programs of Debian's amd64, and too slow under emulation.
#![cfg(target_arch = "x86_64")]

mod programs;
mod tree;
