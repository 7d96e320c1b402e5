{
  description = "The part of nixpkgs that wrap-buddy's Nix files use, for machines without a network";

  outputs = _: {
    lib = import ./lib.nix // {
      nixosSystem =
        { modules }:
        import ./nixos/lib/eval-config.nix {
          system = null;
          modules = modules ++ [
            { nixpkgs.pkgs = import ./. { inherit (import ./machine) system; }; }
          ];
        };
    };
    legacyPackages = (import ./lib.nix).genAttrs [
      "x86_64-linux"
      "aarch64-linux"
      "i686-linux"
      "riscv64-linux"
      "armv7l-linux"
    ] (system: import ./. { inherit system; });
  };
}
