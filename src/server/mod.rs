//! The status port: `/healthz`, `/readyz`, `/metrics`, `/status.json`, the pages and the JSON API.
//!
//! It serves `GET` only, changes nothing, and shows no credential and no row of the warehouse. A hostile client can
//! neither keep it busy (few connections, short deadlines, one request each) nor use up the database connections that
//! workers need (data from Postgres is read once for all clients within a short time, with a deadline).

mod health;
mod listen;
mod pages;
mod routes;

pub use health::Health;
pub use listen::{ListenError, bind, serve};
pub use routes::StatusSources;
