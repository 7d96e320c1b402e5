# The default dynamic linker of a stdenv's platform. For musl, nixpkgs has only a pattern.
{ lib, stdenv }:
let
  linker = stdenv.cc.bintools.dynamicLinker;
  cpu = stdenv.hostPlatform.parsed.cpu.name;
  muslCpu =
    {
      i686 = "i386";
      armv7l = "armhf";
    }
    .${cpu} or cpu;
in
if lib.hasSuffix "/ld-musl-*" linker then
  "${builtins.dirOf linker}/ld-musl-${muslCpu}.so.1"
else
  linker
