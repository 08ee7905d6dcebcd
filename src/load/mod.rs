//! From records to rows: normalise into COPY rows, stage, merge, checkpoint.
//!
//! The pure half ([`layout`], [`encode`], [`page`]) turns records into COPY rows without a map per record; the SQL half
//! ([`table`], [`merge`], [`commit`]) brings it into the table in one transaction with the cursor. Nothing here knows HTTP.

mod batch;
mod binary;
pub mod buffer;
pub mod chunk;
pub mod commit;
mod compare;
mod copy;
pub mod encode;
pub mod extra;
mod hold;
pub mod ident;
pub mod jsonb;
pub mod layout;
mod links;
pub mod loader;
pub mod merge;
pub mod page;
pub mod print;
pub mod table;
pub mod timestamp;
mod twins;

/// Why rows could not be brought into their table.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("another worker holds this run or stream now; nothing of this page was kept")]
    Fenced,
    #[error("the slice was moved by another worker; nothing of this page was kept")]
    Moved,
    #[error("the rows noted as seen are gone, Postgres must have crashed; nothing of this page was kept")]
    SeenLost,
    #[error("rows moved within the slice while they were left out as unchanged; nothing of this page was kept")]
    Rearranged,
    #[error("the database refused or did not answer")]
    Database(#[from] sqlx::Error),
    #[error("table {0} lacks a column that the catalogue has: run `tidegate migrate`")]
    Column(String),
}
