//! The status port: `/healthz`, `/readyz`, `/metrics`, `/status.json`, the pages and the JSON API.
//!
//! Without a login (`server.auth`) it serves `GET` only and changes nothing. With one, operators may act
//! ([`crate::actions`]); `guard` decides which requests reach a route. It shows no credential and no row of the
//! warehouse.
//! A hostile client can neither keep out probes (few connections, short deadlines, one request each, and slow clients
//! leave places for them) nor use up the memory (large texts are shared) or the database connections that workers need
//! (data from Postgres is read once for all clients within a short time, with a deadline, a few pages at the same
//! time).

mod auth;
mod body;
mod guard;
mod health;
mod listen;
mod openapi;
mod pages;
mod places;
mod problem;
mod routes;
mod routing;
mod shared_text;
mod wrong_logins;

pub use health::Health;
pub use listen::{ListenError, STOP_MAX, bind, serve};
pub use openapi::api_schema;
pub use routes::StatusSources;
