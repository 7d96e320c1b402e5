# A bundler of `nix bundle`: a function from a package or an app to its program with everything that it needs, which runs without a store.
# `arguments` are those of `wrap-buddy bundle` for the output `bundle`.
{
  lib,
  runCommand,
  wrap-buddy,
  ...
}:
arguments: installable:
let
  isApp = installable.type or null == "app";
  program = if isApp then installable.program else lib.getExe installable;
  name = builtins.unsafeDiscardStringContext (baseNameOf program);
in
runCommand "${name}-bundle" { nativeBuildInputs = [ wrap-buddy ]; } ''
  wrap-buddy bundle ${program} ${arguments}
  mv bundle $out
''
