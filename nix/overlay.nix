final: _prev: {
  wrap-buddy = final.callPackage ./package.nix { };
  wrapBuddyHook = final.callPackage ./hook.nix { };
}
