//! From records to rows: vendors' JSON becomes binary COPY rows, without a map per record. Pure: no database, no HTTP.
//!
//! [`page`] takes records, [`layout`] knows the columns, [`encode`] writes a value as its column takes it, and [`chunk`]s
//! carry the rows away. [`fingerprint`] tells a row that the table holds already.

pub mod binary;
pub mod buffer;
pub mod chunk;
pub mod encode;
pub mod extra;
pub mod fingerprint;
pub mod jsonb;
pub mod layout;
mod links;
mod number;
pub mod page;
pub mod timestamp;
pub mod unescape;
