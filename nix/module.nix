# NixOS: `programs.wrap-buddy`. See docs/nix.md.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.wrap-buddy;
  common = import ./watch.nix { inherit config lib pkgs; };
in
{
  inherit (common) options;

  config = lib.mkIf cfg.enable {
    inherit (common) assertions;
    environment.systemPackages = [ cfg.package ];
    systemd.user.services = lib.mapAttrs (_: unit: {
      inherit (unit) description;
      wantedBy = [ "default.target" ];
      serviceConfig = common.service unit.command;
    }) common.units;
  };
}
