//! The control tables: static, checked SQL. The executor is always an argument, so callers choose the transaction.

pub mod cursor;
pub mod migrate;
pub mod run;
//! Static, checked SQL on the control schema. Every function takes its connection, so that callers choose the transaction.
pub mod status;
