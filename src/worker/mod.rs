//! Under construction.

pub mod grid;
pub mod policy;
