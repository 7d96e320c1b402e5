# Functions of nixpkgs' lib, by their documentation, and the parts of the module system that one module needs.
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    foldl'
    head
    isAttrs
    isFunction
    listToAttrs
    mapAttrs
    replaceStrings
    tail
    ;
in
rec {
  inherit attrNames concatMap concatStringsSep replaceStrings;

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
  inherit mapAttrs;
  optionals = condition: list: if condition then list else [ ];
  concatMapStringsSep =
    separator: f: list:
    concatStringsSep separator (map f list);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  getLib = package: package.lib or package.out or package;
  licenses.mit.spdxId = "MIT";
  sourceTypes.binaryNativeCode.isSource = false;
  literalExpression = text: { inherit text; };

  # Recursive update, one attribute set at a time.
  recursiveUpdate =
    left: right:
    if isAttrs left && isAttrs right then
      left
      // mapAttrs (name: value: if left ? ${name} then recursiveUpdate left.${name} value else value) right
    else
      right;

  fileset = {
    unions = paths: paths;
    toSource =
      { root, fileset }:
      let
        kept = map toString fileset;
        # The path is inside one of them, or leads to one.
        wanted =
          path: any (one: path == one || prefixed "${one}/" path || prefixed "${path}/" one) kept;
        any = f: list: foldl' (found: one: found || f one) false list;
        prefixed =
          prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
      in
      builtins.path {
        path = root;
        name = "source";
        filter = path: _type: wanted path;
      };
  };

  # Options have a type that is checked, and a default.
  mkOption = option: option // { _type = "option"; };
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };

  types = {
    bool = {
      name = "bool";
      read = path: value: if builtins.isBool value then value else wrong path "a boolean";
    };
    str = {
      name = "string";
      read = path: value: if builtins.isString value then value else wrong path "a string";
    };
    package = {
      name = "package";
      read =
        path: value: if isAttrs value && value ? outPath then value else wrong path "a package";
    };
    listOf = type: {
      name = "list of ${type.name}";
      read =
        path: value:
        if builtins.isList value then map (type.read "${path}.*") value else wrong path "a list";
    };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      read =
        path: value:
        if isAttrs value then
          mapAttrs (name: type.read "${path}.${name}") value
        else
          wrong path "an attribute set";
    };
    submodule = module: {
      name = "submodule";
      read = path: value: readOptions path module.options [ (defined true value) ];
    };
    anything = {
      name = "anything";
      read = _path: value: value;
    };
  };
  wrong = path: what: throw "the option ${path} is not ${what}";

  # A value with a condition. The condition may depend on other options, so it is evaluated last.
  defined = condition: value: { inherit condition value; };

  # Merges definitions by `options`; a value without an option is an error.
  readOptions =
    path: options: definitions:
    let
      names = concatMap (one: attrNames one.value) definitions;
      unknown = builtins.filter (name: !(options ? ${name})) names;
      read =
        name: option:
        let
          here = if path == "" then name else "${path}.${name}";
          inner = concatMap (
            one: optionals (one.value ? ${name}) [ (defined one.condition one.value.${name}) ]
          ) definitions;
          values = map (one: one.value) (builtins.filter (one: one.condition) inner);
        in
        if (option._type or null) != "option" then
          readOptions here option inner
        else if values != [ ] then
          option.type.read here (foldl' recursiveUpdate (head values) (tail values))
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
        inherit config;
        lib = import ./lib.nix;
      };
      loaded = map (
        module:
        let
          value = if builtins.isPath module || builtins.isString module then import module else module;
        in
        if isFunction value then value arguments else value
      ) modules;
      options = foldl' (all: one: recursiveUpdate all (one.options or { })) { } loaded;
      definition =
        one:
        let
          value = one.config or (removeAttrs one [ "options" ]);
        in
        if (value._type or null) == "if" then
          defined value.condition value.content
        else
          defined true value;
      config = readOptions "" options (map definition loaded);
    in
    {
      inherit config options;
    };
}
