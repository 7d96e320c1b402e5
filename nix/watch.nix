# What the modules for NixOS and home-manager have in common.
{
  config,
  lib,
  pkgs,
}:
let
  inherit (lib) mkOption types;
  cfg = config.programs.wrap-buddy;

  # As systemd reads it. A percent sign stays what it is there: %h is the home directory.
  quote =
    word: "\"${lib.replaceStrings [ "\\" "\"" "$" ] [ "\\\\" "\\\"" "$$" ] (toString word)}\"";

  watch = types.submodule {
    options = {
      directories = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "%h/.local/share/tools" ];
        description = "Directories to watch, with those below them. `%h` is the home directory; see \"Specifiers\" in systemd.unit(5).";
      };
      presets = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "vscode-server" ];
        description = "Names of sets of directories that wrap-buddy knows.";
      };
      libraries = mkOption {
        type = types.listOf types.package;
        default = cfg.libraries;
        defaultText = lib.literalExpression "config.programs.wrap-buddy.libraries";
        description = "Packages whose libraries the programs may use.";
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
      description = "Packages whose libraries programs in watched directories may use.";
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
      description = "Directories in which programs are wrapped as they arrive: a user service, `wrap-buddy-NAME`, for each name.";
    };
  };

  assertions = lib.mapAttrsToList (name: one: {
    assertion = one.directories != [ ] || one.presets != [ ];
    message = "programs.wrap-buddy.watch.${name}: neither directories nor presets";
  }) cfg.watch;

  # Name of a service → what its unit says.
  units = lib.mapAttrs' (
    name: one:
    lib.nameValuePair "wrap-buddy-${name}" {
      description = "Wraps prebuilt programs that arrive (${name})";
      # Flags with several values end at the next flag.
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
  };
}
