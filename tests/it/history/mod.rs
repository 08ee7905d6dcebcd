//! The past: it slows nothing down, and goes when it is older than the configuration wants it.

mod prune;
mod scale;
