//! A file name in the loader's error line cannot begin a line or control a terminal.

use std::fs;

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix};

matrix!(systems: names_with_control_characters);

fn names_with_control_characters(variant: Variant) {
    let name = "/app/a\x1b[2Jb\nwrap-buddy: c\x7f";
    let sample = Sample::unwrapped_at(variant, name);
    let own = sample.interpreter();
    let (_, file_name) = own.rsplit_once('/').expect("an absolute path");
    let interpreter = format!("/srv/\x1b]0;x\x07\n/{file_name}");
    sample.root.install(&sample.root.lookup(&own), &interpreter);
    sample.wrapping().interpreter(&interpreter).run();
    fs::remove_file(sample.root.path(&interpreter)).expect("just installed");
    let cannot_load = [format!("/srv/^[]0;x^G^J/{file_name}: cannot load")];
    let line = sample.command().output().refuses(&cannot_load);
    assert!(!line.contains(char::is_control), "{line:?}");
    fs::remove_file(sample.root.path(&sidecar_of(name))).expect("a sidecar");
    let no_sidecar = ["/app/.a^[[2Jb^Jwrap-buddy: c^?.wrapbuddy: no sidecar"];
    let line = sample.command().output().refuses(&no_sidecar);
    assert!(!line.contains(char::is_control), "{line:?}");
}
