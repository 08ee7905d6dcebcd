//! Tidegate loads the reports of customer-care vendors into a Postgres warehouse and keeps them up to date.
//!
//! ARCHITECTURE.md describes the path of a page, and which module uses which.

// With optimisation, the compiler computes the layout of a connector's whole step: over 128 futures within each other.
#![recursion_limit = "256"]
// So that the compiler finds code that only `pub` keeps alive.
#![warn(unreachable_pub)]

pub mod actions;
pub mod app;
pub mod catalogue;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connector;
pub mod cron;
pub mod decode;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod load;
pub mod mart;
pub mod metrics;
pub mod notify;
pub mod postgres;
pub mod pulse;
pub mod push;
pub mod quota;
pub mod report;
pub mod restart;
pub mod rows;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod settings;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod test_kit;
pub mod text;
pub mod worker;
