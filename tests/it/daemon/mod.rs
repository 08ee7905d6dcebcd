//! The real daemon: its process, the real Postgres, real HTTP.

mod health;
mod memory;
mod orphans;
mod quotas;
mod reload;
mod replicas;
mod schedule;
mod sharing;
mod sick;
mod skew;
mod statements;
mod stopping;
mod unblock;
mod upkeep;
