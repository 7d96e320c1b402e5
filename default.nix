# The packages without flakes: `nix-build -A wrap-buddy`.
{
  pkgs ? import <nixpkgs> { },
}:
{
  inherit (pkgs.extend (import ./nix/overlay.nix)) wrap-buddy wrapBuddy wrapBuddyHook;
}
