//! `tidegate backfill`: reads a past range again, with a lower priority than every scheduled run.

use super::sync::foreground;
use super::{BackfillArgs, CommandError, Context, Exit, names};
use crate::clock;
use crate::schedule::ByHand;
use crate::worker::grid::range_of;

pub(crate) async fn run(context: Context, args: BackfillArgs) -> anyhow::Result<Exit> {
    let config = context.config.clone();
    let job = names::reading_job(&config, &args.job)?;
    let streams = names::streams(job, &args.streams)?;
    let windowed = |name: &&str| job.streams.iter().any(|entry| entry.stream.name == *name && entry.stream.windowed());
    if let Some(list) = streams.iter().find(|name| !args.streams.is_empty() && !windowed(name)) {
        let message = format!("`{list}` is a list: every run reads all of it, so there is no past range to read again");
        return Err(CommandError::Usage(message).into());
    }
    let streams: Vec<&str> = streams.into_iter().filter(windowed).collect();
    if streams.is_empty() {
        let message = format!("every stream of `{}` is a list, so there is no past range to read again", job.name);
        return Err(CommandError::Usage(message).into());
    }
    let range = range_of(job, args.from, args.to, clock::now());
    let range = range.map_err(|error| CommandError::Usage(error.to_string()))?;
    let (from, to) = (range.start, range.end);
    foreground(&context, vec![(job, streams, ByHand::Backfill { from, to })], args.json).await
}
