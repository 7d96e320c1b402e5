# The setup hook, for nativeBuildInputs: wraps the programs of a package after its fixup phase. See docs/nix.md.
{
  lib,
  makeSetupHook,
  targetPackages,
  wrap-buddy,
}:
makeSetupHook {
  name = "wrap-buddy-hook";
  # The phases of a package can start the tool too.
  propagatedBuildInputs = [ wrap-buddy ];
  substitutions = {
    wrapBuddy = lib.getExe wrap-buddy;
    loader = "${wrap-buddy.loader}/lib/wrap-buddy";
    # For the platform on which the wrapped programs run; stdenvNoCC does not have them.
    interpreters = import ./dynamic-linker.nix {
      inherit lib;
      inherit (targetPackages) stdenv;
    };
  };
  # The tool, under the name that the flake of the first wrap-buddy has for it.
  passthru.wrapBuddy = wrap-buddy;
  meta = {
    inherit (wrap-buddy.meta) license platforms;
    description = "Setup hook that makes prebuilt programs run, without changing their ELF layout";
  };
} ./setup-hook.sh
