//! `tidegate simulate`: the vendor simulators, until interrupted.

use super::{Context, Exit, SimulateArgs, output};
use crate::simulator::{self, Options};

pub async fn run(context: Context, args: SimulateArgs) -> anyhow::Result<Exit> {
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(super::CommandError::Usage(format!("--speed {} must be above 0", args.speed)).into());
    }
    let options = Options { listen: args.listen, speed: args.speed, hide_future: true, ..Options::default() };
    let account = options.lynn.clone();
    let simulator = simulator::start(options).await.map_err(|error| {
        super::CommandError::failed(format!("cannot listen on {}: {error}", args.listen), "choose another --listen")
    })?;
    let base_url = simulator.base_url();
    output::print(&format!(
        "Lynn Reporting  {base_url}\n\
         \x20 vendor: lynn_reporting\n\
         \x20 base_url: {base_url}\n\
         \x20 tenant: {}\n\
         \x20 access_token: {}          # the simulator's own, no secret\n\
         \x20 access_token_secret: {}\n\
         limits are the documented ones, their periods divided by {}; statistics at {base_url}/_sim/stats\n\
         Ctrl-C stops it\n",
        account.tenant, account.access_token, account.access_token_secret, args.speed,
    ))?;
    context.cancel.cancelled().await;
    simulator.stop().await;
    Ok(Exit::Done)
}
