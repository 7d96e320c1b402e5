//! Whole trees, as a packager unpacks them: a Debian package with all its dependencies, in a root without any other library. One
//! command wraps a tree. Then its programs are used, and the tree is restored bit for bit.
//!
//! All programs are from Debian's amd64. On another machine they are emulated, which takes long.

mod programs;
mod tree;
