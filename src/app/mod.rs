//! Builds what a process needs and takes it down again in order.

mod database;

pub use database::{Database, DatabaseError};
