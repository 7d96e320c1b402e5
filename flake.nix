{
  description = "Runs prebuilt Linux executables where their dynamic linker and libraries are elsewhere, without changing their ELF layout";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "i686-linux"
        "riscv64-linux"
        "armv7l-linux"
      ];
      forAllSystems =
        make:
        nixpkgs.lib.genAttrs systems (
          system: make (nixpkgs.legacyPackages.${system}.extend self.overlays.default)
        );
    in
    {
      overlays.default = import ./nix/overlay.nix;

      packages = forAllSystems (pkgs: {
        inherit (pkgs) wrap-buddy wrapBuddy wrapBuddyHook;
        default = pkgs.wrap-buddy;
      });

      # Not by callPackage: a bundler has to be a function, and that returns a set.
      bundlers = forAllSystems (pkgs: {
        default = import ./nix/bundler.nix pkgs "--runnable bundle";
        directory = import ./nix/bundler.nix pkgs "--output bundle";
      });

      nixosModules.default.imports = [ ./nix/module.nix ];
      homeModules.default.imports = [ ./nix/home-module.nix ];

      templates.default = {
        path = ./nix/template;
        description = "Packages a prebuilt program";
        welcomeText = ''
          In flake.nix, put where you have this template from in place of git+file:///path/to/wrap-buddy:

              sed -i 's|git+file:///path/to/wrap-buddy|URL|' flake.nix
              nix run . -- --version
        '';
      };

      checks = forAllSystems (pkgs: pkgs.wrap-buddy.tests // { package = pkgs.wrap-buddy; });

      devShells = forAllSystems (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix { };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);
    };
}
