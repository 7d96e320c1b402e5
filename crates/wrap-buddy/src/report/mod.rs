//! Output: terminal, progress bar, JSON writer. Generic over the thing that is reported.

mod confirm;
mod json;
mod output;
mod page;
mod progress;
mod reporter;
pub mod style;

pub use confirm::{can_ask, confirm};
pub use json::{FileLine, Reported, write_document, write_line};
pub use output::{Format, Output};
pub use page::{Page, styled};
pub use reporter::Reporter;
pub use style::Style;
