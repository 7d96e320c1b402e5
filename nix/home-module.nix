# home-manager: `programs.wrap-buddy`, as for NixOS. See docs/nix.md.
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
    stable = "${config.xdg.dataHome}/wrap-buddy/nix";
  };
in
{
  inherit (common) options;

  config = lib.mkIf cfg.enable {
    inherit (common) assertions;
    programs.wrap-buddy = { inherit (common) libraries; };
    home.packages = [ cfg.package ];
    xdg.dataFile."wrap-buddy/nix".source = common.links;
    systemd.user.services = lib.mapAttrs (_: unit: {
      Unit.Description = unit.description;
      Install.WantedBy = [ "default.target" ];
      Service = unit.service;
    }) common.units;
  };
}
