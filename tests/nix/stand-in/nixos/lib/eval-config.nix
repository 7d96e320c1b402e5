# A NixOS system with the options that wrap-buddy's module defines.
{
  system,
  modules,
}:
let
  lib = import ../../lib.nix;
  option = type: lib.mkOption { inherit type; };
  inherit (lib) types;
  result = lib.evalModules {
    specialArgs.pkgs = result.config.nixpkgs.pkgs;
    modules = modules ++ [
      {
        options = {
          assertions = option (types.listOf types.raw);
          environment.systemPackages = option (types.listOf types.package);
          environment.pathsToLink = option (types.listOf types.str);
          nixpkgs.pkgs = option types.raw;
          systemd.services = option (types.attrsOf types.raw) // {
            default = { };
          };
          systemd.user.services = option (types.attrsOf types.raw) // {
            default = { };
          };
        };
      }
    ];
  };
in
assert system == null;
result
