//! The vendor systems that Tidegate reads, a folder each, and what they share.
//!
//! [`contract`] is what a connector implements; [`ALL`] lists them. A new one is a folder, a line in that list, a
//! migration with its tables and a page of `docs/vendors`.

mod body;
mod config;
mod connection;
mod contract;
mod error;
pub mod export;
pub mod jaicp;
pub mod khoros;
pub mod lexer;
pub mod lynn;
pub mod lynn_account;
pub mod lynn_outbound;
mod request;
mod sealed;
mod utc_offset;

pub use config::CsvForm;
use config::{CsvKeys, PollingKeys, csv, polling};
pub use connection::{Connection, Identity, Keys, check};
pub use contract::{
    AccountSettings, Connector, Expected, Outcome, OwnKeys, Records, SliceUse, Source, StepRequest, VendorPart, Window,
};
pub use error::StepError;
pub use utc_offset::UtcOffset;

use crate::catalogue::{Stream, Vendor};

/// Every connector, in the order of the documentation.
pub const ALL: &[&Connector] =
    &[&lynn::CONNECTOR, &lynn_outbound::CONNECTOR, &khoros::CONNECTOR, &lexer::CONNECTOR, &jaicp::CONNECTOR];

/// The streams of a vendor in [`ALL`]; empty for any other vendor.
pub fn streams(vendor: Vendor) -> Vec<Stream> {
    ALL.iter().find(|connector| connector.vendor == vendor).map_or_else(Vec::new, |connector| (connector.streams)())
}

/// The streams of every connector.
pub fn all_streams() -> Vec<Stream> {
    ALL.iter().flat_map(|connector| (connector.streams)()).collect()
}
