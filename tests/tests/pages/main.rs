//! The sessions of pages, typed as they are, and the examples.

mod examples;
