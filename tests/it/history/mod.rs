//! History: it slows nothing down, and is deleted when it is older than configured.

mod prune;
mod scale;
