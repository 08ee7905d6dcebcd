//! Tidegate keeps a Postgres warehouse in step with the reports of customer-care vendors.
//!
//! Which module may know which; arrows point downwards only:
//!
//! ```text
//! commands ─▶ app ─▶ schedule, worker, server          what runs
//! worker ──▶ vendor, load, store                       the only places that know vendors and SQL at once:
//! push ────▶ vendor, store, worker (accounts)          what is read, and the one thing that is written
//! config ──▶ vendor (settings), catalogue, quota       what is asked for, checked
//! vendor ──▶ http, decode, catalogue                   knows no SQL
//! http ────▶ quota, decode (gzip)                      sending consumes a reservation
//! load ────▶ decode, catalogue; store, quota ─▶ sqlx   know no HTTP
//! simulator ▶ (nothing of the above)                   or one mistake would pass on both sides
//! ```

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
pub mod metrics;
pub mod postgres;
pub mod pulse;
pub mod push;
pub mod quota;
pub mod rows;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod worker;
