# shellcheck shell=bash disable=SC2154 # attributes of the derivation
# Nix starts this for every derivation of the stand-in.
if [[ -n ${NIX_ATTRS_SH_FILE-} ]]; then
    # shellcheck source=/dev/null
    stdenv=$(source "$NIX_ATTRS_SH_FILE" && echo "$stdenv")
fi
# shellcheck source-path=SCRIPTDIR source=setup
source "$stdenv/setup"
genericBuild
