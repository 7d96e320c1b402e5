# shellcheck shell=bash
# The environment of setup hooks, as documented in the nixpkgs manual's chapters on stdenv and on setup hooks: offsets, addEnvHooks,
# phases and their hooks, getAllOutputNames, attributes as variables or, with structured attributes, from NIX_ATTRS_SH_FILE. It is
# stricter than the real one: an unset variable is always an error.
set -euo pipefail
shopt -s inherit_errexit

if [[ -n ${NIX_ATTRS_SH_FILE-} ]]; then
    # shellcheck source=/dev/null
    source "$NIX_ATTRS_SH_FILE"
    # shellcheck disable=SC2154 # from there
    for _name in "${!outputs[@]}"; do
        export "$_name=${outputs[$_name]}"
    done
    # The environment has only the variables of `env` and those of every builder.
    export PATH="${initialPath-$PATH}"
fi

getAllOutputNames() {
    if [[ -n ${NIX_ATTRS_SH_FILE-} ]]; then
        echo "${!outputs[*]}"
    else
        echo "${outputs:-out}"
    fi
}

# Runs the attribute or function with the hook's name, then the functions that setup hooks have added to NAMEHooks.
runHook() {
    local name="$1" hook
    if declare -F "$name" >/dev/null; then
        "$name"
    elif [[ -n ${!name-} ]]; then
        eval "${!name}"
    fi
    local -n hooks="${name}Hooks"
    # No setup hook has made the array yet.
    [[ -v hooks[@] ]] || return 0
    for hook in "${hooks[@]}"; do
        "$hook"
    done
}

# The packages that run on the build platform, and those that run on the host platform; setup hooks may read them.
pkgsBuildHost=() pkgsHostTarget=()
_envHooks=()
addEnvHooks() {
    # Packages for the host platform are buildInputs.
    if (($1 == 0)); then
        _envHooks+=("${@:2}")
    fi
}

# Adds the package, and the packages that it propagates, to the array $1.
_find() {
    local -n _packages="$1"
    local package="$2" propagated
    if [[ " ${_packages[*]} " == *" $package "* ]]; then
        return 0
    fi
    _packages+=("$package")
    if [[ -f $package/nix-support/propagated-build-inputs ]]; then
        for propagated in $(<"$package/nix-support/propagated-build-inputs"); do
            _find "$1" "$propagated"
        done
    fi
}

# Sources the setup hook of a package. The hook may use its hostOffset and targetOffset.
# shellcheck disable=SC2034
_activate() {
    local package="$1" hostOffset="$2" targetOffset="$3"
    if [[ -f $package/nix-support/setup-hook ]]; then
        # shellcheck source=/dev/null
        source "$package/nix-support/setup-hook"
    fi
    if ((hostOffset < 0)) && [[ -d $package/bin ]]; then
        PATH="$package/bin:$PATH"
    fi
}

# Arrays with structured attributes, words without; store paths have no spaces.
# shellcheck disable=SC2048
for _package in ${nativeBuildInputs[*]-}; do
    _find pkgsBuildHost "$_package"
done
# shellcheck disable=SC2048
for _package in ${buildInputs[*]-}; do
    _find pkgsHostTarget "$_package"
done
for _package in "${pkgsBuildHost[@]}"; do
    _activate "$_package" -1 0
done
for _package in "${pkgsHostTarget[@]}"; do
    _activate "$_package" 0 1
done
# Hooks for dependencies of a host platform apply to both of its target platforms. Without strictDeps, they are called for all
# dependencies.
for _target in HostHost HostTarget; do
    _dependencies=()
    if [[ -z ${strictDeps-} ]]; then
        _dependencies=("${pkgsBuildHost[@]}" "${pkgsHostTarget[@]}")
    elif [[ $_target == HostTarget ]]; then
        _dependencies=("${pkgsHostTarget[@]}")
    fi
    for _dependency in "${_dependencies[@]}"; do
        for _hook in "${_envHooks[@]}"; do
            "$_hook" "$_dependency"
        done
    done
done

_phase() {
    local name="$1"
    if [[ -n ${!name-} ]]; then
        eval "${!name}"
    else
        runHook "pre${name@u}"
        runHook "post${name@u}"
    fi
}

genericBuild() {
    local phase
    if [[ -n ${src-} && -z ${dontUnpack-} ]]; then
        if [[ $src == *.tar.gz ]]; then
            tar -xf "$src"
            cd -- */
        else
            cp -r "$src" source
            chmod -R u+w source
            cd source
        fi
    fi
    for phase in buildPhase installPhase; do
        _phase "$phase"
    done
    runHook preFixup
    runHook postFixup
    if [[ -n ${doInstallCheck-} ]]; then
        _phase installCheckPhase
    fi
}
