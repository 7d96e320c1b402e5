//! The state of a file: original, wrapped, edited, half done, wrapped by another tool; and whether it has what it needs.

pub mod access;
pub mod detect;
mod edited;
pub mod found_sidecar;
pub mod given;
pub mod identity;
pub mod legacy;
pub mod limits;
pub mod loaders;
pub mod past_edit;
pub mod preloader;
pub mod prior;
pub mod settings;
pub mod stub;
pub mod unusable;
mod wrapped;
