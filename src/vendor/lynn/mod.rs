//! Lynn Reporting (`vendors/lynn.md`): what is special about this vendor.

mod settings;

pub use settings::{DEFAULT_BASE_URL, Product, Settings};
