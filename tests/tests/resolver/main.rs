//! The tool's model of ld.so against ld.so itself: what each file would load, by both.

mod extras;
mod ld_so;
mod random;
mod real;
