# home-manager: `programs.wrap-buddy`, as for NixOS. See docs/nix.md.
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
    home.packages = [ cfg.package ];
    systemd.user.services = lib.mapAttrs (_: unit: {
      Unit.Description = unit.description;
      Install.WantedBy = [ "default.target" ];
      Service = common.service unit.command;
    }) common.units;
  };
}
