//! The setup hook and the Nix expressions with a real Nix.
//!
//! There is no nixpkgs: tests/nix/stand-in has the parts that the expressions use, and a stdenv that offers setup hooks what the
//! nixpkgs manual documents. With `WRAP_BUDDY_NIXPKGS=DIR`, flake and NixOS module are evaluated with the nixpkgs in DIR. Each test has a store of its own, see [`e2e::Store`].

mod attributes;
mod first_tool;
mod flake;
mod generations;
mod modules;
mod musl;
mod no_room;
mod order;
mod outputs;
mod real_programs;
mod references;
mod scripts;
mod shell;
mod vendor;
