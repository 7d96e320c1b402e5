# Functions of nixpkgs' lib, by their documentation, and the parts of the module system that modules of one directory need.
let
  inherit (builtins)
    foldl'
    functionArgs
    head
    isList
    listToAttrs
    match
    ;
in
rec {
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    isAttrs
    isString
    mapAttrs
    replaceStrings
    ;

  # A set with `__functor` can be called too, such as the result of makeOverridable.
  isFunction = f: builtins.isFunction f || (isAttrs f && f ? __functor);

  genAttrs =
    names: f:
    listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  optional = condition: element: optionals condition [ element ];
  optionalAttrs = condition: set: if condition then set else { };
  optionals = condition: list: if condition then list else [ ];
  concatMapStringsSep =
    separator: f: list:
    concatStringsSep separator (map f list);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  getOutput = output: package: package.${output} or package.out or package;
  getLib = getOutput "lib";
  filterAttrs =
    f: set: removeAttrs set (filter (name: !(f name set.${name})) (attrNames set));
  optionalString = condition: text: if condition then text else "";
  escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  unique = foldl' (seen: one: if elem one seen then seen else seen ++ [ one ]) [ ];
  hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      rest = builtins.stringLength text - builtins.stringLength suffix;
    in
    rest >= 0 && builtins.substring rest (-1) text == suffix;
  isDerivation = value: (value.type or null) == "derivation";
  licenses.mit.spdxId = "MIT";
  sourceTypes.binaryNativeCode.isSource = false;
  literalExpression = text: { inherit text; };

  # As in nixpkgs, a set that `function` returns gets more members, also if it is not a package.
  makeOverridable =
    function: arguments:
    let
      result = function arguments;
      override =
        change:
        makeOverridable function (
          arguments // (if isFunction change then change arguments else change)
        );
      changed = change: makeOverridable (arguments: change (function arguments)) arguments;
    in
    if isAttrs result then
      result
      // {
        inherit override;
        overrideDerivation =
          change: changed (package: derivation (package.drvAttrs // change package));
      }
      // optionalAttrs (result ? overrideAttrs) {
        overrideAttrs = change: changed (package: package.overrideAttrs change);
      }
    else if isFunction result then
      {
        inherit override;
        overrideDerivation = throw "overrideDerivation of a function";
        __functor = _self: result;
      }
    else
      result;

  # The function of a file, or a function, and the arguments that it takes from the packages.
  called =
    packages: file: overrides:
    let
      function = if isFunction file then file else import file;
    in
    {
      inherit function;
      arguments = builtins.intersectAttrs (functionArgs function) packages // overrides;
    };
  callPackageWith =
    packages: file: overrides:
    let
      inherit (called packages file overrides) function arguments;
    in
    makeOverridable function arguments;
  # For a function that returns a set of packages: each of them gets `override`, and the set does not.
  callPackagesWith =
    packages: file: overrides:
    let
      inherit (called packages file overrides) function arguments;
    in
    mapAttrs (
      name: _package: makeOverridable (arguments: (function arguments).${name}) arguments
    ) (function arguments);

  fileset = {
    unions = paths: paths;
    toSource =
      { root, fileset }:
      let
        kept = map toString fileset;
        # The path is inside one of them, or leads to one.
        wanted =
          path: any (one: path == one || hasPrefix "${one}/" path || hasPrefix "${path}/" one) kept;
      in
      builtins.path {
        path = root;
        name = "source";
        filter = path: _type: wanted path;
      };
  };

  mkOption = option: option // { _type = "option"; };
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };
  mkPackageOption =
    packages: name: _options:
    mkOption {
      type = types.package;
      default = packages.${name} or (throw "there is no package ${name}");
      defaultText = literalExpression "pkgs.${name}";
      description = "The ${name} package to use.";
    };

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;

  # The sets of a definition, with its conditions and priorities on their members: a condition may depend on other options, but the
  # names of the members may not.
  members =
    value:
    let
      within = wrap: content: map (mapAttrs (_name: wrap)) (members content);
    in
    if value._type or null == "if" then
      within (mkIf value.condition) value.content
    else if value._type or null == "merge" then
      concatMap members value.contents
    else if value._type or null == "override" then
      within (mkOverride value.priority) value.content
    else
      [ value ];

  # The values of definitions whose condition is true and whose priority is best.
  effective =
    definitions:
    let
      plain =
        priority: value:
        if !isAttrs value then
          [ { inherit priority value; } ]
        else if value._type or null == "if" then
          optionals value.condition (plain priority value.content)
        else if value._type or null == "merge" then
          concatMap (plain priority) value.contents
        else if value._type or null == "override" then
          plain value.priority value.content
        else
          [ { inherit priority value; } ];
      found = concatMap (plain 100) definitions;
      best = foldl' (best: one: if one.priority < best then one.priority else best) 9999 found;
    in
    map (one: one.value) (filter (one: one.priority == best) found);

  # A type checks single values, and merges the values of an option.
  types =
    let
      single = name: check: {
        inherit name check;
        merge =
          path: values:
          let
            bad = filter (value: !(check value)) values;
          in
          if bad != [ ] then
            throw "the option ${path} is not ${name}"
          else if all (value: value == head values) values then
            head values
          else
            throw "the option ${path} has several values";
      };
      isPath =
        value:
        builtins.isPath value
        || (isString value && hasPrefix "/" value)
        || (isAttrs value && value ? outPath);
    in
    {
      inherit submoduleWith;
      bool = single "a boolean" builtins.isBool;
      str = single "a string" isString;
      path = single "an absolute path" isPath;
      package = single "a package" (
        value:
        isDerivation value
        || (isAttrs value && value ? outPath)
        || (isString value && match "/nix/store/[^/]+" value != null)
      );
      enum = values: single "one of ${builtins.toJSON values}" (value: elem value values);
      strMatching =
        pattern:
        single "a string that matches ${pattern}" (
          value: isString value && match pattern value != null
        );
      raw = single "a value" (_value: true);
      either = one: other: {
        name = "${one.name} or ${other.name}";
        check = value: one.check value || other.check value;
        merge = path: values: (if all one.check values then one else other).merge path values;
      };
      listOf = type: {
        name = "a list of ${type.name}";
        check = isList;
        merge =
          path: values:
          if all isList values then
            map (value: type.merge "${path}.*" [ value ]) (concatLists values)
          else
            throw "the option ${path} is not a list";
      };
      attrsOf = type: {
        name = "an attribute set of ${type.name}";
        check = isAttrs;
        merge =
          path: values:
          if all isAttrs values then
            let
              each = builtins.zipAttrsWith (_name: effective) (concatMap members values);
              # Their conditions are false.
              without = filter (name: each.${name} == [ ]) (attrNames each);
            in
            mapAttrs (name: type.merge "${path}.${name}") (removeAttrs each without)
          else
            throw "the option ${path} is not an attribute set";
      };
      submodule = module: submoduleWith { modules = [ module ]; };
      anything = single "anything" (_value: true);
    };
  submoduleWith =
    { modules }:
    {
      name = "a submodule";
      check = isAttrs;
      merge =
        path: values:
        readOptions path (declared (map (module: module.options or { }) modules)) (
          concatMap members values
        );
    };

  # The options of modules: a set of options may be in several of them, a single option may not.
  declared =
    sets:
    builtins.zipAttrsWith (
      name: found:
      if all (one: one._type or null != "option") found then
        declared found
      else if builtins.length found == 1 then
        head found
      else
        throw "the option ${name} is declared twice"
    ) sets;

  # The values of `options`; a definition without an option is an error.
  readOptions =
    path: options: definitions:
    let
      unknown = filter (name: !(options ? ${name})) (concatMap attrNames definitions);
      read =
        name: option:
        let
          here = if path == "" then name else "${path}.${name}";
          inner = concatMap (one: optional (one ? ${name}) one.${name}) definitions;
          values = effective inner;
        in
        if option._type or null != "option" then
          readOptions here option (concatMap members inner)
        else if values != [ ] then
          option.type.merge here values
        else
          option.default or (throw "the option ${here} has no value");
    in
    if unknown == [ ] then
      mapAttrs read options
    else
      throw "there is no option ${path}.${head unknown}";

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // {
        inherit config options;
        lib = import ./lib.nix;
      };
      load =
        module:
        let
          value =
            if builtins.isPath module || isString module then import module else module;
          loaded = if isFunction value then value arguments else value;
        in
        concatMap load (loaded.imports or [ ]) ++ [ loaded ];
      loaded = concatMap load modules;
      options = declared (map (one: one.options or { }) loaded);
      definition =
        one: one.config or (removeAttrs one [ "options" "imports" "meta" ]);
      config = readOptions "" options (concatMap (one: members (definition one)) loaded);
    in
    {
      inherit config options;
    };
}
