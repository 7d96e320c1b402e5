# shellcheck shell=bash
# Wraps the prebuilt programs of a package after all other changes. For nativeBuildInputs.
#
# docs/nix.md describes attributes and functions. stdenv sources this inside a function, so arrays are made by plain assignment. It
# may run under `set -eu`, and with structured attributes, where lists are bash arrays.

# Library directories of the dependencies, then those from addWrapBuddySearchPath.
wrapBuddyLibs=()
# Directories from addWrapBuddyRuntimeDeps.
wrapBuddyRuntimeDirs=()

_wrapBuddyAddDependency() {
    # Without strictDeps, stdenv also calls this for build-time dependencies, and more than once for each package.
    if [[ " ${pkgsHostHost[*]-} ${pkgsHostTarget[*]-} " != *" $1 "* ]]; then
        return 0
    fi
    local dir
    for dir in "$1/lib" "$1/lib64" "$1/lib32"; do
        # lib64 is often a link to lib.
        if [[ -d $dir && ! -L $dir && " ${wrapBuddyLibs[*]} " != *" $dir "* ]] && compgen -G "$dir/*.so*" >/dev/null; then
            wrapBuddyLibs+=("$dir")
        fi
    done
}

# Libraries are buildInputs: they run on the package's platform.
addEnvHooks "${targetOffset:-0}" _wrapBuddyAddDependency

_wrapBuddyFail() {
    echo "wrapBuddy: error: $*" >&2
    return 1
}

_wrapBuddyWarn() {
    echo "wrapBuddy: warning: $*" >&2
}

# Puts the elements of the attribute $2 into the array $1: those of a bash array, or else words.
_wrapBuddyList() {
    local -n _wrapBuddyTarget="$1"
    _wrapBuddyTarget=()
    case "$(declare -p "$2" 2>/dev/null || true)" in
    "declare -a"*)
        local -n _wrapBuddySource="$2"
        _wrapBuddyTarget=("${_wrapBuddySource[@]}")
        ;;
    *)
        # Uses read, not an unquoted word: the shell must not expand a pattern such as libcuda.so.* here.
        IFS=$' \t\n' read -r -d '' -a _wrapBuddyTarget <<<"${!2-}" || true
        ;;
    esac
}

# Puts directories with shared libraries below the remaining paths into the array $1. $2: -maxdepth and its value.
_wrapBuddyLibraryDirs() {
    local -n _wrapBuddyFound="$1"
    local -n _wrapBuddyDepth="$2"
    shift 2
    _wrapBuddyFound=()
    local dir
    while IFS= read -r -d '' dir; do
        _wrapBuddyFound+=("$dir")
    done < <(find "$@" "${_wrapBuddyDepth[@]}" '!' -type d '(' -name '*.so' -o -name '*.so.*' ')' -printf '%h\0' | LC_ALL=C sort -zu)
}

# Adds to the array $1 the patterns of sonames that may be missing, also those for autoPatchelfHook. `true` means all.
_wrapBuddyIgnored() {
    local -n _wrapBuddyPatterns="$1"
    local attribute pattern patterns
    for attribute in wrapBuddyIgnoreMissing autoPatchelfIgnoreMissingDeps; do
        _wrapBuddyList patterns "$attribute"
        for pattern in "${patterns[@]}"; do
            # Nix passes `true` as 1.
            [[ $pattern != 1 ]] || pattern="*"
            _wrapBuddyPatterns+=("$pattern")
        done
    done
}

# Parses `[--no-recurse] [--] PATH…`, the arguments after the three names: the limit of find goes into the array $1, flags for the
# tool into $2, existing paths into $3. Warns of other paths.
_wrapBuddyArguments() {
    local -n _wrapBuddyLimit="$1" _wrapBuddyFlag="$2" _wrapBuddyPath="$3"
    shift 3
    _wrapBuddyLimit=() _wrapBuddyFlag=() _wrapBuddyPath=()
    while (($# > 0)); do
        case "$1" in
        --no-recurse)
            _wrapBuddyLimit=(-maxdepth 1)
            _wrapBuddyFlag=(--no-recurse)
            ;;
        --)
            shift
            break
            ;;
        -*)
            _wrapBuddyFail "unknown flag $1; a path that begins with a dash comes behind --"
            return 1
            ;;
        *) _wrapBuddyPath+=("$1") ;;
        esac
        shift
    done
    _wrapBuddyPath+=("$@")
    local path all=("${_wrapBuddyPath[@]}")
    _wrapBuddyPath=()
    for path in "${all[@]}"; do
        if [[ ! -e $path ]]; then
            _wrapBuddyWarn "$path: no such file or directory"
        elif [[ $path == -* ]]; then
            # So that neither find nor the tool takes it for a flag.
            _wrapBuddyPath+=("./$path")
        else
            _wrapBuddyPath+=("$path")
        fi
    done
}

# Usage: addWrapBuddySearchPath [--no-recurse] [--] DIR…
# Also searches these directories for libraries and, without --no-recurse, those below.
addWrapBuddySearchPath() {
    local limit flags dirs found
    _wrapBuddyArguments limit flags dirs "$@" || return 1
    if ((${#dirs[@]} > 0)); then
        _wrapBuddyLibraryDirs found limit "${dirs[@]}"
        wrapBuddyLibs+=("${found[@]}")
    fi
}

# Whether a path is directly in the store.
_wrapBuddyIsOutput() {
    [[ $(dirname -- "$1") == "${NIX_STORE:-/nix/store}" ]]
}

# Usage: addWrapBuddyRuntimeDeps PACKAGE-OR-DIRECTORY…
# Always adds it to the search path of every program, for libraries that are opened with dlopen.
addWrapBuddyRuntimeDeps() {
    local dependency
    for dependency in "$@"; do
        if [[ $dependency != /* ]]; then
            _wrapBuddyFail "$dependency: a runtime dependency has to be an absolute path"
            return 1
        elif compgen -G "$dependency/lib/*.so*" >/dev/null || { [[ -d $dependency/lib ]] && ! _wrapBuddyIsOutput "$dependency"; }; then
            wrapBuddyRuntimeDirs+=("$dependency/lib")
        elif _wrapBuddyIsOutput "$dependency" && [[ -d $dependency ]] && ! compgen -G "$dependency/*.so*" >/dev/null; then
            _wrapBuddyWarn "runtimeDependencies: $dependency has no libraries; those of a package with several outputs are in" \
                "lib.getLib of it"
        else
            # A library directory, which may exist only at run time, such as /run/opengl-driver/lib.
            wrapBuddyRuntimeDirs+=("$dependency")
        fi
    done
}

# Puts the dynamic linkers for programs into the array $1: the attribute's, or else the stdenv's and the hook's own.
_wrapBuddyInterpreters() {
    local -n _wrapBuddyLinkers="$1"
    local named own file wrapper
    _wrapBuddyList named wrapBuddyInterpreter
    if ((${#named[@]} == 0)); then
        for file in dynamic-linker dynamic-linker-m32; do
            for wrapper in "${NIX_BINTOOLS-}" "${NIX_CC-}"; do
                if [[ -n $wrapper && -r $wrapper/nix-support/$file ]]; then
                    read -r -a own <"$wrapper/nix-support/$file" || true
                    named+=("${own[@]}")
                    break
                fi
            done
        done
        # Without a compiler, in stdenvNoCC, there are none.
        read -r -a own <<<"@interpreters@"
        named+=("${own[@]}")
    fi
    # musl's is a pattern: …/lib/ld-musl-*.
    local linker matches
    _wrapBuddyLinkers=()
    for linker in "${named[@]}"; do
        if [[ $linker != *[*?[]* ]]; then
            _wrapBuddyLinkers+=("$linker")
        elif mapfile -t matches < <(compgen -G "$linker") && ((${#matches[@]} > 0)); then
            _wrapBuddyLinkers+=("${matches[@]}")
        else
            _wrapBuddyFail "no dynamic linker matches $linker; name one in wrapBuddyInterpreter"
            return 1
        fi
    done
}

# Puts the library directories into the array $1. Those below the paths of the package come first, because a vendor has tested these
# versions. $2: the limit of find, $3: the dynamic linkers; then the paths.
_wrapBuddySearchDirs() {
    local -n _wrapBuddyDirs="$1"
    # shellcheck disable=SC2034 # used by its name
    local -n _wrapBuddyBound="$2" _wrapBuddyKnown="$3"
    shift 3
    local own dir linker
    _wrapBuddyLibraryDirs own _wrapBuddyBound "$@"
    _wrapBuddyDirs=()
    for dir in "${own[@]}"; do
        # A bundled C library does not work with another one's dynamic linker.
        if [[ -e $dir/libc.so.6 ]]; then
            for linker in "${_wrapBuddyKnown[@]}"; do
                _wrapBuddyDirs+=("$(dirname "$linker")")
            done
            break
        fi
    done
    _wrapBuddyDirs+=("${own[@]}" "${wrapBuddyLibs[@]}")
}

# Usage: wrapBuddy [--no-recurse] [--] PATH…
# Wraps programs and edits libraries: files, or directories with them. Fails if one of them cannot be wrapped.
wrapBuddy() {
    # shellcheck disable=SC2034 # used by its name
    local limit flags paths
    _wrapBuddyArguments limit flags paths "$@" || return 1
    if ((${#paths[@]} == 0)); then
        if (($# > 0)); then
            _wrapBuddyWarn "nothing to wrap: no path in \"$*\" exists"
            return 0
        fi
        _wrapBuddyFail "usage: wrapBuddy [--no-recurse] [--] PATH…"
        return 1
    fi

    local path directories=() outputFiles=()
    for path in "${paths[@]}"; do
        if [[ -f $path && ! -L $path ]] && _wrapBuddyIsOutput "$path"; then
            outputFiles+=("$path")
        else
            directories+=("$path")
        fi
    done
    for path in "${outputFiles[@]}"; do
        _wrapBuddyOutputFile "$path" || return 1
    done
    paths=("${directories[@]}")
    ((${#paths[@]} > 0)) || return 0

    local interpreters libs runtimeDeps needed ignored=() more dir
    _wrapBuddyInterpreters interpreters || return 1
    _wrapBuddyList more autoPatchelfSearchPath
    local wrapBuddyLibs=("${wrapBuddyLibs[@]}")
    addWrapBuddySearchPath -- "${more[@]}"
    _wrapBuddySearchDirs libs limit interpreters "${paths[@]}"
    _wrapBuddyList runtimeDeps runtimeDependencies
    local wrapBuddyRuntimeDirs=("${wrapBuddyRuntimeDirs[@]}")
    addWrapBuddyRuntimeDeps "${runtimeDeps[@]}" || return 1
    _wrapBuddyList more appendRunpaths
    for dir in "${more[@]}"; do
        if [[ $dir != /* ]]; then
            _wrapBuddyFail "appendRunpaths: $dir is not absolute; libraries of the package itself are found anyway"
            return 1
        fi
    done
    wrapBuddyRuntimeDirs+=("${more[@]}")
    _wrapBuddyList needed wrapBuddyExtraNeeded
    _wrapBuddyIgnored ignored
    _wrapBuddyList more wrapBuddyFlags

    # Only the attributes of the package count, not the variables and files of the user who builds it.
    local arguments=(--no-settings --paths "${paths[@]}" "${flags[@]}")
    # A program with the loader in its sidecar needs no directory of loaders.
    case " ${flags[*]} ${more[*]} " in
        *" --self-contained "* | *" --loader-dir-path"*) ;;
        *) arguments+=(--loader-dir-path "@loader@") ;;
    esac
    for dir in "${interpreters[@]}"; do
        arguments+=(--interpreter "$dir")
    done
    ((${#libs[@]} == 0)) || arguments+=(--libs "${libs[@]}")
    ((${#wrapBuddyRuntimeDirs[@]} == 0)) || arguments+=(--runtime-dependencies "${wrapBuddyRuntimeDirs[@]}")
    ((${#needed[@]} == 0)) || arguments+=(--needed "${needed[@]}")
    ((${#ignored[@]} == 0)) || arguments+=(--ignore-missing "${ignored[@]}")
    [[ -z ${wrapBuddyStrategy-} ]] || arguments+=(--strategy "$wrapBuddyStrategy")
    [[ -z ${wrapBuddySearch-} ]] || arguments+=(--search "$wrapBuddySearch")
    [[ -z ${wrapBuddySearchMinimal-} ]] || arguments+=(--search-minimal)
    # `false` is an empty variable.
    if [[ -n ${wrapBuddyStrict-} ]]; then
        arguments+=(--strict)
    elif [[ -z ${wrapBuddyStrict+set} ]]; then
        arguments+=(--strict=opened)
    fi
    arguments+=("${more[@]}")
    if ((${NIX_DEBUG:-0} > 0)) && [[ ! " ${more[*]} " =~ " -q "|" --quiet " ]]; then
        arguments+=(-vv)
    fi

    echo "wrapBuddy: ${paths[*]}"
    local patched
    _wrapBuddyPatchelf patched "${arguments[@]}" || return 1
    if ! (set -o pipefail && "@wrapBuddy@" "${arguments[@]}" 2>&1 | _wrapBuddyInWordsOfNix); then
        _wrapBuddyFail "not everything could be wrapped: see above. NIX_DEBUG=1 says more"
        return 1
    fi
    if ((${#patched[@]} > 0)); then
        _wrapBuddyCheckPatched interpreters ignored "${patched[@]}" || return 1
        _wrapBuddyRecord < <(printf '%s\0' "${patched[@]}")
    fi
    # From …/.NAME.wrapbuddy to …/NAME.
    _wrapBuddyRecord < <(find "${paths[@]}" "${limit[@]}" -type f -name '.*.wrapbuddy' -print0 |
        sed -z 's|\.\([^/]*\)\.wrapbuddy$|\1|')
}

# With wrapBuddyFallback = "patchelf", sets the search path of each library without room by patchelf, and puts these into the array $1.
# Then the arguments for the tool, which lists them. A library with data after its ELF file may read that by its offset.
_wrapBuddyPatchelf() {
    local -n _wrapBuddyDone="$1"
    shift
    _wrapBuddyDone=()
    case "${wrapBuddyFallback-}" in
    "") return 0 ;;
    patchelf) ;;
    *)
        _wrapBuddyFail "wrapBuddyFallback = \"$wrapBuddyFallback\": the only value is \"patchelf\""
        return 1
        ;;
    esac
    local line file search mode flags
    local text='"([^"\]*)"' list='\["([^]\]*)"\]'
    local pattern="\"no_room\":\{\"real_path\":$text,\"search_path\":$list,\"tag\":$text,\"appended_data\":([a-z]*),\"served_by\":\[\]"
    while IFS= read -r line; do
        [[ $line =~ $pattern ]] || continue
        file="${BASH_REMATCH[1]}" search="${BASH_REMATCH[2]//\",\"/:}"
        if [[ ${BASH_REMATCH[4]} == true ]]; then
            _wrapBuddyWarn "$file: not changed by patchelf, because data follows its ELF file, which patchelf would move or remove"
            continue
        fi
        flags=(--set-rpath "$search")
        [[ ${BASH_REMATCH[3]} != DT_RPATH ]] || flags+=(--force-rpath)
        mode=$(stat -c %a "$file")
        chmod u+w "$file"
        if ! patchelf "${flags[@]}" "$file"; then
            _wrapBuddyFail "$file: patchelf cannot set its search path; remove wrapBuddyFallback"
            return 1
        fi
        chmod "$mode" "$file"
        echo "  $file: search path set by patchelf: $search"
        _wrapBuddyDone+=("$file")
    done < <("@wrapBuddy@" "$@" --dry-run --format json-lines || true)
}

# Checks that libraries which patchelf has changed load. $1: the dynamic linkers, $2: the patterns of sonames that may be missing.
_wrapBuddyCheckPatched() {
    local -n _wrapBuddyKnown="$1" _wrapBuddyMayMiss="$2"
    shift 2
    local linker flags=(--no-settings) report
    for linker in "${_wrapBuddyKnown[@]}"; do
        flags+=(--interpreter "$linker")
    done
    if report=$("@wrapBuddy@" check "${flags[@]}" -- "$@" 2>&1); then
        return 0
    fi
    echo "$report" >&2
    # `check` knows no libraries that may be missing.
    if ((${#_wrapBuddyMayMiss[@]} > 0)); then
        _wrapBuddyWarn "check whether the libraries that patchelf has changed load: see above"
        return 0
    fi
    _wrapBuddyFail "a library that patchelf has changed does not load: see above; remove wrapBuddyFallback"
    return 1
}

# Records the contents of files, whose names end with NUL, for wrapBuddyCheckPhase.
_wrapBuddyRecord() {
    local line
    # A line has 64 digits, two blanks and the name.
    while IFS= read -r -d '' line; do
        _wrapBuddySums["${line:66}"]="${line:0:64}"
    done < <(xargs -0r sha256sum -z)
}

# Indents the output of the tool, and replaces its flags by the attributes that have the same effect.
_wrapBuddyInWordsOfNix() {
    local otherwise='set wrapBuddyFallback = "patchelf"; to change it with patchelf'
    [[ -z ${wrapBuddyFallback-} ]] || otherwise='patchelf does not change it'
    sed -E -e '/^next: wrap-buddy check/,+1d' \
        -e "/no room for a search path/s/; wrap the programs that open it with .*/; $otherwise/" \
        -e 's/--strict=opened/the default of wrapBuddyStrict/' \
        -e 's/--search (rpath|frozen|runpath)/wrapBuddySearch = "\1";/g' \
        -e 's/--strategy (stub|inplace|auto)/wrapBuddyStrategy = "\1";/g' \
        -e 's/--runtime-dependencies/runtimeDependencies/g' \
        -e 's/--libs/buildInputs (or addWrapBuddySearchPath)/g' \
        -e 's/--ignore-missing/wrapBuddyIgnoreMissing/g' \
        -e 's/--needed/wrapBuddyExtraNeeded/g' \
        -e 's/--interpreter/wrapBuddyInterpreter/g' \
        -e 's/--strict/wrapBuddyStrict/g' \
        -e 's/with --verbose/with NIX_DEBUG = 1;/g' \
        -e 's/^/  /'
}

# Wraps an output that is a file. A sidecar would be outside of the output, so the file is edited in place, in another directory.
_wrapBuddyOutputFile() {
    local output="$1" directory names
    directory=$(mktemp -d)
    cp "$output" "$directory/file"
    chmod u+w "$directory/file"
    # shellcheck disable=SC2034 # read by wrapBuddy
    local wrapBuddyStrategy=inplace
    echo "wrapBuddy: $output"
    if ! wrapBuddy -- "$directory"; then
        _wrapBuddyFail "the output $output is a file, which has to be edited in place; install it as bin/NAME below \$out instead"
        return 1
    fi
    names=$(ls -A "$directory")
    if [[ $names == *.wrapbuddy.d* ]]; then
        _wrapBuddyFail "the output $output is a file without room for a search path; install it as bin/NAME below \$out instead"
        return 1
    fi
    cmp -s "$directory/file" "$output" || cat "$directory/file" >"$output"
    rm -r "$directory"
    _wrapBuddyRecord < <(printf '%s\0' "$output")
}

# Puts the outputs into the array $1, without debug symbols: such files look like programs, but never run.
_wrapBuddyOutputs() {
    local -n _wrapBuddyPaths="$1"
    local output
    _wrapBuddyPaths=()
    for output in $(getAllOutputNames); do
        if [[ $output != debug && -e ${!output} && ! -L ${!output} ]]; then
            _wrapBuddyPaths+=("${!output}")
        fi
    done
}

wrapBuddyPostFixup() {
    if [[ -n ${dontWrapBuddy-} ]]; then
        return 0
    fi
    if [[ " ${postFixupHooks[*]} " == *autoPatchelf* && -z ${dontAutoPatchelf-} ]]; then
        _wrapBuddyWarn "autoPatchelfHook has changed the files before; remove it from nativeBuildInputs, or set dontAutoPatchelf = true"
    fi
    local paths
    _wrapBuddyOutputs paths
    if ((${#paths[@]} > 0)); then
        wrapBuddy -- "${paths[@]}"
    fi
}

# Other setup hooks change files in postFixup too (autoPatchelfHook), and some add that function in preFixup. stdenv runs this after
# preFixup, once for each output.
_wrapBuddyRunLast() {
    local hook hooks=()
    for hook in "${postFixupHooks[@]}"; do
        [[ $hook == wrapBuddyPostFixup ]] || hooks+=("$hook")
    done
    postFixupHooks=("${hooks[@]}" wrapBuddyPostFixup)
}

# Fails if a file was changed after it was wrapped, or has lost its sidecar.
wrapBuddyCheckPhase() {
    if ((${#_wrapBuddySums[@]} == 0)); then
        return 0
    fi
    local file magic paths changed=()
    for file in "${!_wrapBuddySums[@]}"; do
        # wrapProgram puts a script in the place of a program, and renames that.
        if [[ -f $file ]] && read -r -n 4 magic <"$file" && [[ $magic == ?ELF ]] &&
            [[ $(sha256sum <"$file") != "${_wrapBuddySums[$file]}"* ]]; then
            changed+=("$file")
        fi
    done
    _wrapBuddyOutputs paths
    if ! "@wrapBuddy@" status --quiet -- "${paths[@]}" >&2 || ((${#changed[@]} > 0)); then
        _wrapBuddyFail "a later step has changed wrapped files: ${changed[*]-}" \
            "Do that before, or wrap last: dontWrapBuddy = true; and wrapBuddy \$out in that step"
        return 1
    fi
}

# From the name of a wrapped file to its SHA-256.
declare -gA _wrapBuddySums=()
postFixupHooks+=(wrapBuddyPostFixup)
fixupOutputHooks+=(_wrapBuddyRunLast)
# A word, because the attribute may be an array or a string.
postPhases+=" wrapBuddyCheckPhase"
