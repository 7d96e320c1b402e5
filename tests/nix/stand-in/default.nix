# The packages and functions of nixpkgs that wrap-buddy's Nix files use. Builders run on this machine; results are for `system`.
# The tests make machine/: see tests/src/store.rs.
{
  system ? builtins.currentSystem,
  overlays ? [ ],
}:
let
  lib = import ./lib.nix;
  machine = import ./machine;
  build = builtins.currentSystem or machine.system;

  raw =
    attributes:
    derivation (
      {
        system = build;
        builder = machine.bash;
        args = [
          "-euo"
          "pipefail"
          ./stdenv/builder.sh
        ];
        stdenv = ./stdenv;
        PATH = machine.path;
      }
      // attributes
    );

  mkDerivation =
    definition:
    let
      attributes = if lib.isFunction definition then definition attributes else definition;
      name =
        attributes.name or "${attributes.pname or (throw "neither name nor pname")}-${attributes.version}";
      structured = attributes.__structuredAttrs or false;
      environment = attributes.env or { };
      # As with stdenv, variables of the environment are not lists.
      variables = lib.mapAttrs (
        name: value:
        if builtins.isList value then throw "env.${name} is a list" else "${toString value}"
      ) environment;
      drv = raw (
        removeAttrs attributes [
          "meta"
          "passthru"
          "env"
        ]
        // variables
        // {
          inherit name;
          outputs = attributes.outputs or [ "out" ];
          CC = "cc";
          NIX_BINTOOLS = attributes.NIX_BINTOOLS or bintools;
        }
        // (if structured then { initialPath = machine.path; } else { })
      );
    in
    drv
    // (attributes.passthru or { })
    // {
      meta = attributes.meta or { };
      overrideAttrs =
        change:
        mkDerivation (
          attributes // (if lib.isFunction change then change attributes else change)
        );
    };

  glibc = machine.glibc.${system};
  libraries = machine.libraries.${system};
  # Nix does not accept a plain string as a store path, because nothing says how it is made.
  bintools = raw {
    name = "bintools-wrapper";
    installPhase = ''
      mkdir -p $out/nix-support
      echo ${glibc}/lib/${machine.linker.${system}} > $out/nix-support/dynamic-linker
    '';
  };

  stdenv = {
    inherit mkDerivation;
    cc = {
      bintools.dynamicLinker = "${glibc}/lib/${machine.linker.${system}}";
      cc.lib = libraries;
    };
    hostPlatform = {
      inherit system;
      parsed.cpu.name = builtins.head (builtins.split "-" system);
      emulator = _pkgs: "";
      canExecute = other: other.system == system;
    };
    buildPlatform = {
      system = build;
      canExecute = other: other.system == build;
    };
  };
  stdenvNoCC = stdenv // {
    mkDerivation =
      definition: mkDerivation (definition // { NIX_BINTOOLS = ""; });
  };

  runCommand =
    name: attributes: command:
    raw (
      attributes
      // {
        inherit name;
        installPhase = command;
      }
    );

  # Stand-ins for programs that do not run here.
  named = name: runCommand name { } "mkdir $out";

  packages =
    lib.genAttrs [
      "cargo"
      "cargo-nextest"
      "cargo-shear"
      "clippy"
      "gdb"
      "lld"
      "mdbook"
      "mold"
      "nix"
      "nixfmt-tree"
      "nodejs"
      "patchelf"
      "python3"
      "qemu-user"
      "rustc"
      "rustfmt"
      "shellcheck"
      "strace"
      "typos"
      "unzip"
      "valgrind"
      # The libraries of the modules, without files.
      "acl"
      "attr"
      "bzip2"
      "coreutils"
      "curl"
      "libssh"
      "libxml2"
      "openssl"
      "systemd"
      "util-linux"
      "xz"
      "zlib"
      "zstd"
    ] named
    // {
      inherit
        lib
        runCommand
        stdenv
        stdenvNoCC
        ;

      makeSetupHook =
        {
          name,
          propagatedBuildInputs ? [ ],
          substitutions ? { },
          passthru ? { },
          meta ? { },
        }:
        hook:
        runCommand name { } ''
          mkdir -p $out/nix-support
          cp ${hook} $out/nix-support/setup-hook
          chmod +w $out/nix-support/setup-hook
          ${lib.concatMapStringsSep "\n" (
            key: "sed -i 's|@${key}@|${substitutions.${key}}|g' $out/nix-support/setup-hook"
          ) (builtins.attrNames substitutions)}
          echo ${toString propagatedBuildInputs} > $out/nix-support/propagated-build-inputs
        ''
        // passthru
        // {
          inherit meta;
        };

      # A library of one test, for the program in docs/closed-binary.md.
      libsodium =
        let
          file = ./machine/libsodium.so.26;
        in
        runCommand "libsodium" { } ''
          mkdir -p $out/lib
          ${lib.optionalString (builtins.pathExists file) "cp ${file} $out/lib/libsodium.so.26"}
        '';

      mkShell =
        {
          packages ? [ ],
          nativeBuildInputs ? [ ],
          ...
        }@attributes:
        mkDerivation (
          { name = "nix-shell"; }
          // removeAttrs attributes [ "packages" ]
          // {
            nativeBuildInputs = packages ++ nativeBuildInputs;
          }
        );

      writeText =
        name: text:
        runCommand name { inherit text; } ''
          printf '%s\n' "$text" > $out
        '';

      # Links the files in each path's directories.
      buildEnv =
        {
          name,
          paths,
          pathsToLink,
          ignoreCollisions,
        }:
        assert ignoreCollisions && pathsToLink == [ "/lib" ];
        runCommand name { } ''
          mkdir -p $out/lib
          for path in ${toString paths}; do
            if [[ -d $path/lib ]]; then
              cp --recursive --symbolic-link --no-clobber $path/lib/. $out/lib
            fi
          done
        '';

      # Lists of strings are the same in TOML as in JSON.
      formats.toml = { }: {
        generate =
          name: content:
          builtins.toFile name (
            lib.concatStringsSep "" (
              lib.mapAttrsToList (
                preset: settings:
                "[preset.${preset}]\n"
                + lib.concatStringsSep "" (
                  lib.mapAttrsToList (key: value: "${key} = ${builtins.toJSON value}\n") settings
                )
              ) content.preset
            )
          );
      };

      # The shell of `nix develop`.
      bashInteractive = runCommand "bash" { } ''
        mkdir -p $out/bin
        ln -s ${machine.bash} $out/bin/bash
      '';

      # A file of this machine, which has to have this hash.
      fetchPypi =
        {
          pname,
          version,
          format,
          dist,
          python,
          platform,
          hash,
        }:
        let
          name = "${pname}-${version}-${python}-none-${platform}.whl";
        in
        assert format == "wheel" && dist == python;
        raw {
          inherit name;
          installPhase = "install -m 644 ${./machine/wheels + "/${name}"} $out";
          outputHashMode = "flat";
          outputHash = hash;
        };

      rustPlatform = {
        rustLibSrc = named "rust-lib-src";
        # Takes the programs from machine/ instead of compiling them.
        buildRustPackage =
          attributes:
          assert builtins.pathExists attributes.cargoLock.lockFile;
          mkDerivation (
            removeAttrs attributes [ "cargoLock" ]
            // {
              programs = ./machine/programs;
              installPhase = ''
                runHook preInstall
                mkdir -p $out/bin
                for word in ''${cargoBuildFlags}; do
                  test $word = --package || cp $programs/$word $out/bin
                done
                runHook postInstall
              '';
            }
          );
      };
    };

  extend =
    base: overlay:
    let
      final = base // overlay final base // {
        path = ./.;
        pkgs = final;
        callPackage = lib.callPackageWith final;
        callPackages = lib.callPackagesWith final;
        extend = extend final;
        buildPackages = final;
        targetPackages = final;
      };
    in
    final;
in
builtins.foldl' (all: overlay: all.extend overlay) (extend packages (_final: _prev: { })) overlays
