//! The control tables: static, checked SQL. The executor is always an argument, so callers choose the transaction.

pub mod account;
pub mod comments;
pub mod cursor;
pub mod demo;
pub mod fingerprint;
pub mod fitness;
pub mod forget;
pub mod held;
pub mod history;
pub mod ident;
pub mod instance;
pub mod migrate;
pub mod migrations;
pub mod progress;
pub mod prune;
pub mod push;
pub mod reading;
pub mod reconciliation;
pub mod run;
pub mod session;
pub mod status;
pub mod stream;
pub mod task;
pub mod topic;
pub mod trouble;
