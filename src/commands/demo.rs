//! Under construction.

use super::{Context, DemoArgs, Exit};

#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(_context: Context, _args: DemoArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`demo` is under construction")
}
