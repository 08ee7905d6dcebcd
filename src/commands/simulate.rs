//! Under construction.

use super::{Context, Exit, SimulateArgs};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: SimulateArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`simulate` is under construction")
}
