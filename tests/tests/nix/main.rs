//! The setup hook and the Nix expressions, under a real Nix.
//!
//! There is no nixpkgs: tests/nix/stand-in has what the expressions use of it, and a setup.sh that gives setup hooks what the
//! nixpkgs manual promises them. Each test has a store of its own, see [`e2e::Store`].

mod attributes;
mod flake;
mod outputs;
mod real_programs;
mod references;
mod scripts;
mod vendor;
