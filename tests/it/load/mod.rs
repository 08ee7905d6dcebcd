//! The load path against real Postgres: records in, tables out. No vendor and no HTTP.

mod agree;
mod altered;
mod changed;
mod children;
mod chosen;
mod fence;
mod fill;
pub mod fingerprints;
mod forms;
mod grow;
mod held;
mod keys;
mod large;
mod modes;
pub mod plant;
mod replace;
mod row_time;
mod shared;
mod sql;
mod time_index;
mod values;
mod variants;
