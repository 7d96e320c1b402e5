//! Programs of Debian's packages, in a root that has only busybox and the bundle.
