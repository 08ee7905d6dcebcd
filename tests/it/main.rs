//! Tests that need a real Postgres, real HTTP or real processes, in one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what should not happen fails the test")]

mod actions;
mod architecture;
mod citus;
mod cli;
mod completeness;
mod daemon;
mod database;
mod demo;
mod documents;
mod embedded;
mod harness;
mod held;
mod history;
mod http;
mod jaicp;
mod khoros;
mod kill;
mod lexer;
mod load;
mod lynn;
mod mart;
mod notify;
mod outbound;
mod partition;
mod programs;
mod quota;
mod references;
mod schedule;
mod secrets;
mod server;
mod sixth_vendor;
mod status_port;
mod support;
mod sync;
mod threat_model;
