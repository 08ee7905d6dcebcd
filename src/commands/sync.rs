//! Under construction.

use super::{Context, Exit, SyncArgs};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: SyncArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`sync` is under construction")
}
