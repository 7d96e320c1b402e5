# The common part of the modules for NixOS and home-manager.
{
  config,
  lib,
  pkgs,
  # A path that leads to `links` of the current generation.
  stable,
  # More options of `watch.NAME`.
  watchOptions ? { },
}:
let
  inherit (lib) mkOption types;
  cfg = config.programs.wrap-buddy;

  library = types.either types.package types.path;

  preset = types.submodule {
    options = {
      paths = mkOption {
        type = types.listOf types.str;
        example = [ "~/.local/opt/*/bin" ];
        description = "Directories, with `~`, variables and patterns as in a file of presets.";
      };
      include = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Patterns of files to wrap; none means every file.";
      };
      exclude = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Patterns of files and directories to leave alone.";
      };
    };
  };

  watch = types.submodule {
    options = {
      directories = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "%h/.local/share/tools" ];
        description = "Directories to watch, including those below. `%h` is the home directory; see \"Specifiers\" in systemd.unit(5).";
      };
      presets = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "vscode-server" ];
        description = "Presets of `wrap-buddy watch`, and names below `programs.wrap-buddy.presets`.";
      };
      libraries = mkOption {
        type = types.listOf library;
        default = [ ];
        example = lib.literalExpression "[ pkgs.icu ]";
        description = "Libraries in addition to `programs.wrap-buddy.libraries`.";
      };
      extraFlags = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [
          "--strategy"
          "auto"
        ];
        description = "More flags of `wrap-buddy watch`.";
      };
    }
    // watchOptions;
  };

  builtInPresets = lib.importTOML ../crates/wrap-buddy/src/commands/watch/presets.toml;
  knownPresets = lib.attrNames (builtInPresets.preset // cfg.presets);
  presetFile = (pkgs.formats.toml { }).generate "wrap-buddy-watch.toml" {
    preset = cfg.presets;
  };

  linker = import ./dynamic-linker.nix {
    inherit lib;
    inherit (pkgs) stdenv;
  };

  # Programs in home directories refer to these paths below `stable`, so they work after an update and a garbage collection.
  links = pkgs.runCommand "wrap-buddy-links" { } ''
    mkdir $out
    ln -s ${lib.getOutput "loader" cfg.package}/lib/wrap-buddy $out/loaders
    ln -s ${builtins.dirOf linker} $out/linker
    ${lib.concatStringsSep "\n" (
      lib.mapAttrsToList (name: one: "ln -s ${libraryTree name one}/lib $out/lib-${name}") cfg.watch
    )}
  '';
  libraryTree =
    name: one:
    pkgs.buildEnv {
      name = "wrap-buddy-libraries-${name}";
      paths = map lib.getLib (lib.filter types.package.check (cfg.libraries ++ one.libraries));
      pathsToLink = [ "/lib" ];
      ignoreCollisions = true;
    };

  # Quotes a word for systemd. Percent signs are kept: %h is the home directory.
  quote =
    word: "\"${lib.replaceStrings [ "\\" "\"" "$" ] [ "\\\\" "\\\"" "$$" ] (toString word)}\"";

  # A list of values ends at the next flag.
  arguments =
    name: one:
    [
      (lib.getExe cfg.package)
      "watch"
    ]
    ++ one.directories
    ++ [
      "--libs"
      "${stable}/lib-${name}"
    ]
    ++ lib.filter (one: !types.package.check one) (cfg.libraries ++ one.libraries)
    ++ [
      "--interpreter"
      "${stable}/linker/${builtins.baseNameOf linker}"
    ]
    ++ lib.optionals (!lib.elem "--self-contained" one.extraFlags) [
      "--loader-dir-path"
      "${stable}/loaders"
    ]
    ++ lib.concatMap (preset: [
      "--preset"
      preset
    ]) one.presets
    ++ lib.optionals (one.presets != [ ] && cfg.presets != { }) [
      "--config"
      presetFile
    ]
    ++ one.extraFlags;
in
{
  inherit links;

  options.programs.wrap-buddy = {
    enable = lib.mkEnableOption "wrap-buddy, which makes prebuilt programs run";
    # Without the overlay too.
    package = lib.mkPackageOption (
      { wrap-buddy = pkgs.callPackage ./package.nix { }; } // pkgs
    ) "wrap-buddy" { };
    libraries = mkOption {
      type = types.listOf library;
      default = [ ];
      example = lib.literalExpression ''[ pkgs.icu "/run/opengl-driver/lib" ]'';
      description = ''
        Packages with libraries, and directories of libraries, for programs in watched directories. They add to common
        libraries, such as libstdc++, zlib, curl and openssl; `lib.mkForce` replaces these.
      '';
    };
    presets = mkOption {
      type = types.attrsOf preset;
      default = { };
      example = lib.literalExpression ''{ tools.paths = [ "~/tools" ]; }'';
      description = "Presets in addition to those of `wrap-buddy watch --list-presets`, or instead of one of that name.";
    };
    watch = mkOption {
      type = types.attrsOf watch;
      default = { };
      example = lib.literalExpression ''
        {
          editor.presets = [ "vscode-server" ];
          tools.directories = [ "%h/tools" ];
        }
      '';
      description = "Directories in which new programs are wrapped. Each name is a service, `wrap-buddy-NAME`.";
    };
  };

  # A definition, so that others add to it.
  libraries = with pkgs; [
    acl
    attr
    bzip2
    curl
    libsodium
    libssh
    libxml2
    openssl
    stdenv.cc.cc.lib
    systemd
    util-linux
    xz
    zlib
    zstd
  ];

  assertions = lib.concatLists (
    lib.mapAttrsToList (
      name: one:
      let
        option = "programs.wrap-buddy.watch.${name}";
      in
      [
        {
          assertion = one.directories != [ ] || one.presets != [ ];
          message = "${option}: neither directories nor presets";
        }
        {
          assertion = builtins.match "[A-Za-z0-9:_.-]+" name != null;
          message = "${option}: the name is part of a unit's name, so only letters, digits and :_.- are possible";
        }
      ]
      ++ map (preset: {
        assertion = lib.elem preset knownPresets;
        message = "${option}.presets: there is no preset ${preset}; use one of ${lib.concatStringsSep ", " knownPresets}";
      }) one.presets
    ) cfg.watch
  );

  # From the name of a service to its unit.
  units = lib.mapAttrs' (
    name: one:
    lib.nameValuePair "wrap-buddy-${name}" {
      inherit one;
      description = "Wraps prebuilt programs that arrive (${name})";
      service = {
        Type = "notify";
        ExecStart = lib.concatMapStringsSep " " quote (arguments name one);
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        Nice = 10;
        # The settings of both services in docs/watch.md.
        NoNewPrivileges = "yes";
        SystemCallFilter = "@system-service";
        SystemCallArchitectures = "native";
        SystemCallErrorNumber = "EPERM";
        RestrictAddressFamilies = "AF_UNIX";
        RestrictNamespaces = "yes";
        RestrictRealtime = "yes";
        MemoryDenyWriteExecute = "yes";
        LockPersonality = "yes";
      };
    }
  ) cfg.watch;
}
