//! Sidecars with other settings than wrap-buddy wrote.

use sidecar::{Draft, Sidecar};

/// Encodes `bytes` anew with another interpreter or search path, whichever is given.
///
/// # Panics
/// When `bytes` are no sidecar.
pub fn forge(bytes: &[u8], interpreter: Option<&str>, search: Option<&str>) -> Vec<u8> {
    let sidecar = Sidecar::parse(bytes).unwrap_or_else(|error| panic!("the sidecar {error}"));
    let edits: Vec<_> = sidecar.edits().map(|edit| edit.expect("an edit")).collect();
    let needed: Vec<&[u8]> = sidecar.needed_names().collect();
    let draft = Draft {
        machine: sidecar.machine(),
        class: sidecar.class(),
        flags: sidecar.flags(),
        id: sidecar.id(),
        stub_len: sidecar.stub_len(),
        entry: sidecar.entry(),
        slot_address: sidecar.slot_address(),
        interpreter: interpreter.map_or(sidecar.interpreter(), str::as_bytes),
        search: search.map_or(sidecar.search(), str::as_bytes),
        needed: &needed,
        room_len: sidecar.room().len,
        edits: &edits,
    };
    let mut forged = vec![0; draft.max_encoded_len()];
    let len = draft.encode(&mut forged).expect("as long as it may get");
    forged.truncate(len);
    forged
}
