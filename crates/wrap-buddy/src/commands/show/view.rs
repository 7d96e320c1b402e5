//! The details of one file, as data. Invalid UTF-8 in paths is replaced by replacement characters; bytes are in hexadecimal; addresses are
//! those in the file, without the load bias.

use serde::Serialize;

use super::code::Instruction;
use crate::commands::status::Condition;
use elf_file::Kind;

/// The details of one file.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct View {
    /// As you named it, or a file below a directory that you named.
    pub path: String,
    /// Its state.
    pub state: Condition,
    /// What to do about it, or the reason for its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The original file; absent if it is unknown, or not an ELF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// What ld.so gets instead of the original's settings; only for wrapped and edited files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// The sidecar, even if it belongs to another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarView>,
    /// The data after the stub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailer: Option<TrailerView>,
    /// The loader that the stub starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<LoaderView>,
    /// Every edit of the file, in the order in which they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditView>,
    /// The code at the original entry point: the part that the stub covers, or the first bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_code: Vec<Instruction>,
    /// The stub, without its trailer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stub_code: Vec<Instruction>,
}

/// A file before any change.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Original {
    /// `x86_64`, `aarch64`, `i686`, or another architecture in words.
    pub machine: String,
    /// 32 or 64.
    pub class: u8,
    /// Kind of file.
    pub kind: Kind,
    /// Whether it is position-independent.
    pub position_independent: bool,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// `e_entry`; 0 means none.
    pub entry: u64,
    /// File offset of the entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_offset: Option<u64>,
    /// Bytes from there to the end of the segment in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_at_entry: Option<u64>,
    /// PT_INTERP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// DT_SONAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    /// DT_NEEDED, in order.
    pub needed: Vec<String>,
    /// The search path in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<SearchPath>,
    /// Free entries of .dynamic after DT_NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_entries: Option<u64>,
}

/// A search path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchPath {
    /// `DT_RUNPATH`, or `DT_RPATH`, which libraries inherit.
    pub tag: &'static str,
    /// Directories, in order.
    pub directories: Vec<String>,
}

/// The settings that ld.so gets.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Given {
    /// The dynamic linker that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// The search path, instead of the file's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<SearchPath>,
    /// Additional libraries to load.
    pub needed: Vec<String>,
    /// Symbolic links to libraries, in the directory next to the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkView>,
}

/// A symbolic link.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LinkView {
    /// The path of the link.
    pub path: String,
    /// Its target; absent if the link does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The fields of a sidecar.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SidecarView {
    pub path: String,
    /// Length in bytes.
    pub len: u64,
    /// How the file was changed.
    pub way: SidecarKind,
    /// Format version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// Version of the tool that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The identity of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it belongs to another file, or to an earlier version of this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_another_file: bool,
    /// The fields that only the sidecar of a stub has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stub: Option<StubSidecar>,
}

/// How the file of a sidecar was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SidecarKind {
    /// A program with a stub.
    Stub,
    /// A file edited in place.
    InPlace,
    /// A program that the first wrap-buddy wrapped.
    FirstWrapBuddy,
    /// Unknown: not a sidecar of this tool, or damaged.
    Unknown,
}

/// The fields that the loader reads.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StubSidecar {
    /// The original e_entry.
    pub entry: u64,
    /// Position of the stub and its trailer.
    pub slot: SlotView,
    /// `relocatable`, `rpath`, `seed-debug`.
    pub flags: Vec<&'static str>,
    /// Address of the value of DT_DEBUG in the program's own .dynamic; 0 means none.
    pub debug_address: u64,
    /// Bytes of the copy of .dynamic that ld.so gets; 0 means it uses the program's own.
    pub dynamic_len: u32,
    /// Words that the loader writes before ld.so runs.
    pub patches: Vec<PatchView>,
}

/// The bytes that the stub and its trailer take.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlotView {
    /// Virtual address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Bytes of them that are code.
    pub stub_len: u64,
    /// PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4, PROT_BTI 0x10.
    pub protection: u32,
}

/// A word that the loader writes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PatchView {
    /// Offset from the start of .dynamic, in bytes.
    pub offset: u32,
    /// The value that is written.
    pub value: u64,
    /// Whether the distance from the program to the sidecar is added to the value.
    pub points_to_sidecar: bool,
    /// Description.
    pub meaning: String,
}

/// The data after a stub.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrailerView {
    /// Its offset in the file.
    pub offset: u64,
    /// The identity that its sidecar must have.
    pub id: String,
    /// The loader, absolute or relative to the directory of the file; absent if it is in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// The sidecar, absolute, a file name, or relative to the directory of the file.
    pub sidecar: String,
    /// Bytes of settings after it, which the loader uses instead of those in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_len: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoaderView {
    /// The file that contains it.
    pub path: String,
    /// Whether that file is the sidecar.
    pub self_contained: bool,
    /// Length of the file in bytes, if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// ABI version shared by stub, loader and sidecar.
    pub abi: u16,
    /// Why the stub does not start it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An edit.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EditView {
    /// `slot`, `interp`, `entry`, `text`, `dynamic`, `segment` or `section`.
    pub kind: &'static str,
    /// Offset in the file.
    pub offset: u64,
    /// The original bytes.
    pub before: String,
    /// The bytes that are there now.
    pub after: String,
    pub state: EditState,
    /// Description.
    pub meaning: String,
}

/// Whether an edit is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EditState {
    /// The new bytes are there.
    Made,
    /// The original bytes are there.
    NotMade,
    /// Other bytes are there: a part of the edit, or a change by another tool.
    Other,
}
