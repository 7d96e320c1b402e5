{
  lib,
  buildPackages,
  callPackage,
  callPackages,
  lld,
  runCommand,
  rustPlatform,
  stdenv,
  # Default dynamic linkers: each program gets the one for its architecture and C library.
  dynamicLinkers ? [ (import ./dynamic-linker.nix { inherit lib stdenv; }) ],
}:
let
  inherit (lib) fileset;

  # The source of this compiler's `core`, in library/core, builds the stages of other architectures.
  rustSource = runCommand "rust-source" { } ''
    mkdir $out
    ln -s ${rustPlatform.rustLibSrc} $out/library
  '';

  # The tool itself writes the other files of the package.
  generate = "${stdenv.hostPlatform.emulator buildPackages} $out/bin/wrap-buddy generate";

  wrap-buddy = rustPlatform.buildRustPackage {
    pname = "wrap-buddy";
    inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

    outputs = [
      "out"
      # The output that wrapped programs refer to: 8 KiB per architecture, without the tool and its dependencies.
      "loader"
    ];

    src = fileset.toSource {
      root = ../.;
      fileset = fileset.unions [
        ../Cargo.lock
        ../Cargo.toml
        ../crates
        ../loader
        ../stub
        ../tests
        ../xtask
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    cargoBuildFlags = [
      "--package"
      "wrap-buddy"
    ];

    nativeBuildInputs = [ lld ];

    env = {
      WRAP_BUDDY_INTERP = lib.concatStringsSep ":" dynamicLinkers;
      WRAP_BUDDY_LIBDIR = "${placeholder "loader"}/lib/wrap-buddy";
      WRAP_BUDDY_RUST_SRC = rustSource;
    };

    # A package with the tool instead of the hook would have unwrapped programs, and nothing would say so.
    setupHook = ./not-the-hook.sh;

    # The tests make namespaces and mounts, which a build sandbox forbids.
    doCheck = false;

    postInstall = ''
      ${generate} loaders $loader/lib/wrap-buddy
      # For scripts that name a loader in the tool's package.
      mkdir -p $out/lib
      ln -s $loader/lib/wrap-buddy $out/lib/wrap-buddy
      ${generate} share $out/share
    '';

    doInstallCheck = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
    installCheckPhase = ''
      runHook preInstallCheck
      $out/bin/wrap-buddy --version
      runHook postInstallCheck
    '';

    passthru = {
      inherit rustSource;
      hook = callPackage ./hook.nix { inherit wrap-buddy; };
      tests = callPackages ./tests.nix {
        inherit wrap-buddy;
        wrapBuddyHook = wrap-buddy.hook;
      };
    };

    meta = {
      description = "Runs prebuilt Linux executables where their dynamic linker and libraries are elsewhere, without changing their ELF layout";
      license = lib.licenses.mit;
      mainProgram = "wrap-buddy";
      platforms = [
        "x86_64-linux"
        "aarch64-linux"
        "i686-linux"
        "riscv64-linux"
        "armv7l-linux"
      ];
    };
  };
in
wrap-buddy
