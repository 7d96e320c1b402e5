# Tests of the hook in a real stdenv: programs as a vendor ships them, whose dynamic linker does not exist. And of the NixOS module.
{
  lib,
  path,
  pkgs,
  stdenv,
  wrap-buddy,
  wrapBuddyHook,
  writeText,
}:
let
  test =
    name: attributes:
    stdenv.mkDerivation (
      {
        name = "wrap-buddy-test-${name}";
        nativeBuildInputs = [ wrapBuddyHook ];
        dontUnpack = true;
        # As if built elsewhere, without a store path.
        NIX_DONT_SET_RPATH = 1;
        buildPhase = ''
          runHook preBuild
          echo 'int answer(void) { return 42; }' > answer.c
          echo '#include <stdio.h>
          int answer(void);
          int main(void) { return printf("the answer is %d\n", answer()) < 0; }' > main.c
          $CC -shared -fPIC -Wl,-soname,libanswer.so -o libanswer.so answer.c
          $CC -o answer main.c libanswer.so -Wl,--dynamic-linker=/gone/ld.so
          runHook postBuild
        '';
        installPhase = ''
          runHook preInstall
          mkdir -p $out/bin "$out/opt/the answer"
          cp answer $out/bin
          cp libanswer.so "$out/opt/the answer"
          runHook postInstall
        '';
        doInstallCheck = true;
        installCheckPhase = ''
          runHook preInstallCheck
          test "$($out/bin/answer)" = "the answer is 42"
          runHook postInstallCheck
        '';
      }
      // attributes
    );
in
{
  program = test "program" { };
  structured-attributes = test "structured-attributes" { __structuredAttrs = true; };
  in-place = test "in-place" { wrapBuddyStrategy = "auto"; };

  # The units that NixOS makes.
  nixos-module =
    let
      inherit (import (path + "/nixos/lib/eval-config.nix") {
        # That of `pkgs`.
        system = null;
        modules = [
          ./module.nix
          {
            nixpkgs.pkgs = pkgs;
            programs.wrap-buddy = {
              enable = true;
              package = wrap-buddy;
              presets.mine.paths = [ "~/mine" ];
              watch = {
                editor.presets = [
                  "vscode-server"
                  "mine"
                ];
                programs = {
                  system = true;
                  directories = [ "/srv/programs" ];
                };
              };
            };
          }
        ];
      }) config;
      own = lib.filter (one: lib.hasPrefix "programs.wrap-buddy" one.message) config.assertions;
    in
    assert lib.all (one: one.assertion) own;
    writeText "wrap-buddy-units.json" (
      builtins.toJSON {
        user = config.systemd.user.services.wrap-buddy-editor.serviceConfig;
        system = config.systemd.services.wrap-buddy-programs.serviceConfig;
      }
    );
}
