# The shell to work on wrap-buddy itself, without flakes: `nix-shell`.
{
  pkgs ? import <nixpkgs> { },
}:
(pkgs.extend (import ./nix/overlay.nix)).callPackage ./nix/shell.nix { }
