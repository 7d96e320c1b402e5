{
  description = "Runs prebuilt Linux executables where their dynamic linker and libraries are elsewhere, without changing their ELF layout";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems =
        make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      # The stages are built with the source of this very compiler's `core`, looked for in library/core.
      rustSource =
        pkgs:
        pkgs.runCommand "rust-source" { } ''
          mkdir $out
          ln -s ${pkgs.rustPlatform.rustLibSrc} $out/library
        '';
    in
    {
      packages = forAllSystems (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "wrap-buddy";
          inherit ((nixpkgs.lib.importTOML ./Cargo.toml).workspace.package) version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [
            "--package"
            "wrap-buddy"
            "--package"
            "xtask"
          ];
          nativeBuildInputs = [ pkgs.lld ];
          env.WRAP_BUDDY_RUST_SRC = "${rustSource pkgs}";
          env.WRAP_BUDDY_INTERP = "${pkgs.stdenv.cc.bintools.dynamicLinker}";
          # They make namespaces and mounts, which a build sandbox does not allow.
          doCheck = false;
          meta = {
            description = "Runs prebuilt Linux executables without changing their ELF layout";
            license = nixpkgs.lib.licenses.mit;
            mainProgram = "wrap-buddy";
            platforms = systems;
          };
        };
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            cargo-nextest
            clippy
            gdb
            lld
            mold
            patchelf
            qemu-user
            rustc
            rustfmt
            strace
            unzip
            valgrind
          ];
          env.WRAP_BUDDY_RUST_SRC = "${rustSource pkgs}";
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-rfc-style);
    };
}
