//! Static, checked SQL on the control schema. Every function takes its connection, so that callers choose the transaction.

pub mod status;
