//! What there is to know of one file, as data. Paths that are not UTF-8 have replacement characters in them; bytes are in
//! hexadecimal; addresses are those of the file, before the load bias.

use schemars::JsonSchema;
use serde::Serialize;

use super::code::Instruction;
use crate::commands::status::Condition;
use elf_file::Kind;

/// One file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct View {
    /// As the user named it, or below what the user named.
    pub path: String,
    /// What it is.
    pub state: Condition,
    /// What to do about it, or why it is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The file as it originally was; missing where that is not known, or it is no ELF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// What ld.so gets instead of what the original says; only for files that are wrapped or edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// The sidecar, also one that is another file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarView>,
    /// What stands behind the stub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailer: Option<TrailerView>,
    /// The loader that the stub starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<LoaderView>,
    /// Every edit of the file, in the order in which they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditView>,
    /// The code at the original entry point: what the stub covers, or its first bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_code: Vec<Instruction>,
    /// The stub, without its trailer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stub_code: Vec<Instruction>,
}

/// What a file is, without anything that was done to it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Original {
    /// `x86_64`, `aarch64`, `i686`, or another architecture in words.
    pub machine: String,
    /// 32 or 64.
    pub class: u8,
    /// What it is.
    pub kind: Kind,
    /// Whether it is position-independent.
    pub position_independent: bool,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// `e_entry`; 0: none.
    pub entry: u64,
    /// Where in the file that is.
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
    /// The search path of the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<SearchPath>,
    /// Entries of .dynamic behind the one that ends it: room for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_entries: Option<u64>,
}

/// A search path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SearchPath {
    /// `DT_RUNPATH`, or `DT_RPATH`, which libraries inherit.
    pub tag: &'static str,
    /// Directories, in order.
    pub directories: Vec<String>,
}

/// What ld.so is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Given {
    /// The dynamic linker that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// The search path, in place of the file's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<SearchPath>,
    /// What is loaded in addition.
    pub needed: Vec<String>,
    /// Symbolic links, in the directory beside the file, by which libraries are found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkView>,
}

/// A symbolic link.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LinkView {
    /// The link.
    pub path: String,
    /// What it leads to; missing when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The sidecar's own fields.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SidecarView {
    /// Where it is.
    pub path: String,
    /// Its length in bytes.
    pub len: u64,
    /// What it is for.
    pub way: SidecarWay,
    /// Version of its format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// Version of the tool that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What ties it to its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it describes another file, or an earlier version of this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_another_file: bool,
    /// What only that of a stub has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stub: Option<StubSidecar>,
}

/// What a sidecar is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SidecarWay {
    /// A program with a stub.
    Stub,
    /// A file edited in place.
    InPlace,
    /// A program that the first wrap-buddy wrapped.
    FirstWrapBuddy,
    /// Something that is not known: not of this tool, or damaged.
    Unknown,
}

/// What the loader reads.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StubSidecar {
    /// The original e_entry.
    pub entry: u64,
    /// Where the stub and its trailer are.
    pub slot: SlotView,
    /// `relocatable`, `rpath`, `seed-debug`.
    pub flags: Vec<&'static str>,
    /// Address of DT_DEBUG's value in the program's own .dynamic; 0: none.
    pub debug_address: u64,
    /// Bytes of the .dynamic that ld.so is shown; 0: it sees the program's own.
    pub dynamic_len: u32,
    /// Words that the loader writes before ld.so runs.
    pub patches: Vec<PatchView>,
}

/// The bytes that the stub and its trailer cover.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PatchView {
    /// Where, in bytes from the start of .dynamic.
    pub offset: u32,
    /// What is written.
    pub value: u64,
    /// Whether the distance from the program to the sidecar is added to it.
    pub points_to_sidecar: bool,
    /// What it is there for.
    pub meaning: String,
}

/// What stands behind the stub.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TrailerView {
    /// Its offset in the file.
    pub offset: u64,
    /// What its sidecar must have too.
    pub id: String,
    /// The loader, absolute or relative to the directory of the file; absent where it is in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// The sidecar, absolute, a file name, or relative to the directory of the file.
    pub sidecar: String,
}

/// A loader.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoaderView {
    /// The file in which the stub looks for it.
    pub path: String,
    /// Whether that is the sidecar.
    pub self_contained: bool,
    /// Bytes of the file, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// Version of the contract with stub and sidecar.
    pub abi: u16,
    /// Why the stub will not start it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An edit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EditView {
    /// What it is for: `slot`, `interp`, `entry`, `text`, `dynamic`, `segment`, `section`.
    pub kind: &'static str,
    /// Offset in the file.
    pub offset: u64,
    /// What stood there in the original.
    pub before: String,
    /// What stands there now.
    pub after: String,
    /// How far it is made.
    pub state: EditState,
    /// What it does.
    pub meaning: String,
}

/// How far an edit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EditState {
    /// What was to be written stands there.
    Made,
    /// The original stands there.
    NotMade,
    /// Something else stands there: a part of it, or what another tool wrote.
    Other,
}
