//! Under construction.

use super::{Context, Exit, RunArgs};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: RunArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`run` is under construction")
}
