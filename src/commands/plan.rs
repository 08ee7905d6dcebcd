//! Under construction.

use super::{Context, Exit, PlanArgs};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: PlanArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`plan` is under construction")
}
