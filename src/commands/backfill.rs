//! `tidegate backfill`: reads a past range again, with a lower priority than every scheduled run.

use super::sync::foreground;
use super::{BackfillArgs, CommandError, Context, Exit, names};
use crate::clock;
use crate::schedule::ByHand;
use crate::worker::grid::midnight;

pub(crate) async fn run(context: Context, args: BackfillArgs) -> anyhow::Result<Exit> {
    let config = context.config.clone();
    let job = names::reading_job(&config, &args.job)?;
    let streams = names::streams(job, &args.streams)?;
    if args.from >= args.to {
        let message = format!("--from {} must be before --to {}, the day after the range", args.from, args.to);
        return Err(CommandError::Usage(message).into());
    }
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
    let (from, to) = (midnight(args.from, job.timezone), midnight(args.to, job.timezone));
    if from > clock::now() {
        return Err(
            CommandError::Usage(format!("--from {} is in the future: there is nothing to read", args.from)).into()
        );
    }
    foreground(&context, vec![(job, streams, ByHand::Backfill { from, to })], args.json).await
}
