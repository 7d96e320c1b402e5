//! Compares the tool's model of ld.so with ld.so itself: the libraries that each file would load.

mod extras;
mod ld_so;
mod random;
mod real;
