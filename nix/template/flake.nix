{
  description = "A prebuilt program, wrapped";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    wrap-buddy = {
      # The source of this template: replace this line.
      url = "git+file:///path/to/wrap-buddy";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      wrap-buddy,
    }:
    let
      forAllSystems =
        make:
        nixpkgs.lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
          "i686-linux"
          "riscv64-linux"
          "armv7l-linux"
        ] (system: make (nixpkgs.legacyPackages.${system}.extend wrap-buddy.overlays.default));
    in
    {
      packages = forAllSystems (pkgs: {
        default = pkgs.callPackage ./package.nix { };
      });
    };
}
