//! Under construction.

use super::{BackfillArgs, Context, Exit};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: BackfillArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`backfill` is under construction")
}
