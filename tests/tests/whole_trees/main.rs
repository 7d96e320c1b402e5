//! Whole trees, as a packager unpacks them: a Debian package and all that it depends on, in a root that has no library of any
//! other origin. One command wraps a tree; then its programs do what they are for; then it is restored, bit for bit.
//!
//! All are programs of Debian's amd64. On another machine they run under emulation, and take long.

mod programs;
mod tree;
