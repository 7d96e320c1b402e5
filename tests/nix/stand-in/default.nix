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
          ./builder.sh
        ];
        PATH = machine.path;
      }
      // attributes
    );

  mkDerivation =
    definition:
    let
      attributes = if builtins.isFunction definition then definition attributes else definition;
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
          setup = ./setup.sh;
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
    };

  glibc = machine.glibc.${system};
  libraries = machine.libraries.${system};
  # Nix does not accept a plain string as a store path, because nothing says how it is made.
  bintools = raw {
    name = "bintools-wrapper";
    setup = ./setup.sh;
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
        setup = ./setup.sh;
        installPhase = command;
      }
    );

  # Stand-ins for programs that do not run here.
  named = name: runCommand name { } "mkdir $out";

  packages =
    lib.genAttrs [
      "cargo"
      "cargo-machete"
      "cargo-nextest"
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
          substitutions ? { },
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
        ''
        // {
          inherit meta;
        };

      # A library of the tests, for the program in docs/closed-binary.md.
      libsodium = runCommand "libsodium" { } ''
        mkdir -p $out/lib
        cp ${/files/libsodium.so.26} $out/lib/libsodium.so.26
      '';

      mkShell = attributes: mkDerivation ({ name = "shell"; } // attributes);

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
          setup = ./setup.sh;
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
        callPackage = callWith final;
        extend = extend final;
        buildPackages = final;
        targetPackages = final;
      };
    in
    final;
  callWith =
    scope: file: overrides:
    let
      function = import file;
      wanted = builtins.functionArgs function;
      known = builtins.intersectAttrs wanted scope;
    in
    function (known // overrides);
in
builtins.foldl' (all: overlay: all.extend overlay) (extend packages (_final: _prev: { })) overlays
