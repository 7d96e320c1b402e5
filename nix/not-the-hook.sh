# shellcheck shell=bash
# The setup hook of the tool's package. Next to the real hook, which propagates the tool, it does nothing.

_wrapBuddyIsNotTheHook() {
    if [[ -z ${dontWrapBuddy-} ]] && ! declare -F wrapBuddy >/dev/null; then
        echo "wrap-buddy: warning: no program was wrapped: this package is the tool; put wrapBuddyHook into nativeBuildInputs, or" \
            "set dontWrapBuddy if a phase calls the tool itself" >&2
    fi
}

postFixupHooks+=(_wrapBuddyIsNotTheHook)
