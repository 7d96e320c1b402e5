# ruff as it is published, as an example of a program that exists in binary form only.
{
  lib,
  fetchPypi,
  stdenv,
  stdenvNoCC,
  unzip,
  wrapBuddyHook,
}:
let
  archives = {
    x86_64-linux = {
      platform = "manylinux_2_17_x86_64.manylinux2014_x86_64";
      hash = "sha256-xg+T/scULbpbj0h/lL8vYjHa4k3BHkxIZINHyLByAAQ=";
    };
    aarch64-linux = {
      platform = "manylinux_2_17_aarch64.manylinux2014_aarch64";
      hash = "sha256-t9CQZnfYm7889zzeZLW74qs13zrkPknuJicwHpEmW6w=";
    };
    riscv64-linux = {
      platform = "manylinux_2_31_riscv64";
      hash = "sha256-xVWod/j0FEfjGBAc/v6pvxLfqfgu7fkMN25X4Gn5F9A=";
    };
    armv7l-linux = {
      platform = "manylinux_2_17_armv7l.manylinux2014_armv7l";
      hash = "sha256-fP14NZDt8rdzF4gmMZAPahPqLo6s7+br8jcNJxUpkWA=";
    };
    i686-linux = {
      platform = "manylinux_2_17_i686.manylinux2014_i686";
      hash = "sha256-EiJY9uzeDg3Ru2CyQmPD7d5DOMr3I/ynEcxyn5v9QUo=";
    };
  };
in
stdenvNoCC.mkDerivation rec {
  pname = "ruff";
  version = "0.17.2";

  src = fetchPypi (
    archives.${stdenvNoCC.hostPlatform.system}
    // {
      inherit pname version;
      format = "wheel";
      dist = "py3";
      python = "py3";
    }
  );

  nativeBuildInputs = [
    unzip
    wrapBuddyHook
  ];
  # Libraries that the program needs, in addition to the C library.
  buildInputs = [ stdenv.cc.cc.lib ];

  dontUnpack = true;
  # These would change bytes that wrapping keeps.
  dontStrip = true;
  dontPatchELF = true;

  installPhase = ''
    runHook preInstall
    unzip -q $src '*.data/scripts/*'
    install -D -t $out/bin *.data/scripts/*
    runHook postInstall
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    $out/bin/ruff --version
    runHook postInstallCheck
  '';

  meta = {
    description = "Linter and formatter for Python";
    license = lib.licenses.mit;
    mainProgram = "ruff";
    platforms = lib.attrNames archives;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
  };
}
