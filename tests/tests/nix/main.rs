//! The setup hook and the Nix expressions with a real Nix.
//!
//! There is no nixpkgs: tests/nix/stand-in has the parts that the expressions use, and a setup.sh that offers setup hooks what the
//! nixpkgs manual documents. Each test has a store of its own, see [`e2e::Store`].

mod attributes;
mod flake;
mod outputs;
mod real_programs;
mod references;
mod scripts;
mod vendor;
