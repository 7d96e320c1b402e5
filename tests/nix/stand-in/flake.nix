{
  description = "The part of nixpkgs that wrap-buddy's Nix files use, for machines without a network";

  outputs = _: {
    lib = import ./lib.nix;
    legacyPackages = (import ./lib.nix).genAttrs [
      "x86_64-linux"
      "aarch64-linux"
      "i686-linux"
    ] (system: import ./. { inherit system; });
  };
}
