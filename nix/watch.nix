# The common part of the modules for NixOS and home-manager.
{
  config,
  lib,
  pkgs,
}:
let
  inherit (lib) mkOption types;
  cfg = config.programs.wrap-buddy;

  # Quotes a word for systemd. Percent signs are kept: %h is the home directory.
  quote =
    word: "\"${lib.replaceStrings [ "\\" "\"" "$" ] [ "\\\\" "\\\"" "$$" ] (toString word)}\"";

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
        description = "Presets of `wrap-buddy watch`.";
      };
      libraries = mkOption {
        type = types.listOf types.package;
        default = cfg.libraries;
        defaultText = lib.literalExpression "config.programs.wrap-buddy.libraries";
        description = "Packages with libraries for the programs.";
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
    };
  };

  flag = name: values: lib.optionals (values != [ ]) ([ name ] ++ values);
in
{
  options.programs.wrap-buddy = {
    enable = lib.mkEnableOption "wrap-buddy, which makes prebuilt programs run";
    package = mkOption {
      type = types.package;
      default = pkgs.wrap-buddy or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.wrap-buddy";
      description = "The package to use.";
    };
    libraries = mkOption {
      type = types.listOf types.package;
      default = [ pkgs.stdenv.cc.cc.lib ];
      defaultText = lib.literalExpression "[ pkgs.stdenv.cc.cc.lib ]";
      description = "Packages with libraries for programs in watched directories.";
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
      description = "Directories in which new programs are wrapped. Each name is a user service, `wrap-buddy-NAME`.";
    };
  };

  assertions = lib.mapAttrsToList (name: one: {
    assertion = one.directories != [ ] || one.presets != [ ];
    message = "programs.wrap-buddy.watch.${name}: neither directories nor presets";
  }) cfg.watch;

  # From the name of a service to its unit.
  units = lib.mapAttrs' (
    name: one:
    lib.nameValuePair "wrap-buddy-${name}" {
      description = "Wraps prebuilt programs that arrive (${name})";
      # A list of values ends at the next flag.
      command = lib.concatMapStringsSep " " quote (
        [
          (lib.getExe cfg.package)
          "watch"
        ]
        ++ one.directories
        ++ flag "--libs" (map (package: "${lib.getLib package}/lib") one.libraries)
        ++ lib.concatMap (preset: [
          "--preset"
          preset
        ]) one.presets
        ++ one.extraFlags
      );
    }
  ) cfg.watch;

  service = command: {
    Type = "notify";
    ExecStart = command;
    Restart = "on-failure";
    Nice = 10;
    # The settings of the user service in docs/watch.md.
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
