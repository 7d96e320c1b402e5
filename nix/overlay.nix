final: _prev: {
  wrap-buddy = final.callPackage ./package.nix { };
  wrapBuddyHook = final.callPackage ./hook.nix { };
  # The name of the hook in the flake of the first wrap-buddy.
  wrapBuddy = final.wrapBuddyHook;
}
