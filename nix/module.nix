# NixOS: `programs.wrap-buddy`. See docs/nix.md.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.wrap-buddy;
  common = import ./watch.nix {
    inherit config lib pkgs;
    stable = "/run/current-system/sw/share/wrap-buddy";
    watchOptions.system = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether one service of the system watches, instead of one for each user. For directories in which several users
        write. The directories have to exist when it starts.
      '';
    };
  };

  select =
    system: make:
    lib.mapAttrs (_: make) (lib.filterAttrs (_: unit: unit.one.system == system) common.units);
in
{
  inherit (common) options;

  config = lib.mkIf cfg.enable {
    assertions =
      common.assertions
      ++ lib.mapAttrsToList (name: one: {
        assertion =
          one.system -> one.presets == [ ] && lib.all (lib.hasPrefix "/") one.directories;
        message = "programs.wrap-buddy.watch.${name}: a service of the system needs absolute directories, and no presets";
      }) cfg.watch;
    programs.wrap-buddy = { inherit (common) libraries; };
    environment.systemPackages = [
      cfg.package
      (pkgs.runCommand "wrap-buddy-share" { } ''
        mkdir -p $out/share
        ln -s ${common.links} $out/share/wrap-buddy
      '')
    ];
    environment.pathsToLink = [ "/share/wrap-buddy" ];

    systemd.user.services = select false (unit: {
      inherit (unit) description;
      wantedBy = [ "default.target" ];
      # Not for the users of services, such as a display manager's.
      unitConfig.ConditionUser = "!@system";
      serviceConfig = unit.service;
    });
    systemd.services = select true (unit: {
      inherit (unit) description;
      wantedBy = [ "multi-user.target" ];
      # More settings of the system service in docs/watch.md, which has the reasons.
      serviceConfig = unit.service // {
        ProtectSystem = "strict";
        ReadWritePaths = map builtins.toJSON unit.one.directories;
        CapabilityBoundingSet = "CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FSETID CAP_SETFCAP CAP_LEASE";
        PrivateNetwork = "yes";
        PrivateDevices = "yes";
        ProtectClock = "yes";
        ProtectControlGroups = "yes";
        ProtectHostname = "yes";
        ProtectKernelLogs = "yes";
        ProtectKernelModules = "yes";
        ProtectKernelTunables = "yes";
      };
    });
  };
}
