//! From records to rows: vendors' JSON becomes binary COPY rows, without a map per record. Pure: no database, no HTTP.
//!
//! [`page`] turns records into rows, [`layout`] knows the columns, [`encode`] writes a value in its column's type, and
//! [`chunk`] hands the rows on. [`fingerprint`] recognises rows that the table already holds.

pub mod binary;
pub mod buffer;
pub mod chunk;
pub mod encode;
pub mod extra;
pub mod fingerprint;
pub mod jsonb;
mod key_hasher;
pub mod layout;
mod links;
mod number;
pub mod page;
pub mod timestamp;
pub mod unescape;
