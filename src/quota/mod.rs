//! The quota ledger: what a connection has used of each vendor limit, kept in Postgres and shared by processes.

mod limit;

pub use limit::{CallKind, Calls, Limit, LimitSpec, Unit};
