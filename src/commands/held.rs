//! `tidegate held`: slices whose last reading was too doubtful to delete rows; `held release` allows the next reading
//! to delete them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::output::{self, Table};
use super::{CommandError, Context, Exit, HeldArgs, ReleaseArgs, names, show};
use crate::config::{Config, Job};
use crate::schedule;
use crate::store::audit::{self, Subject};
use crate::store::cursor;
use crate::store::held::{self, HeldSlice};
use crate::text::plain;
use crate::worker::grid;

/// Maximum number of slices in the list.
const LISTED_MAX: i64 = 10_000;

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    held: Vec<Held>,
}

/// A held slice, and the job that reads it: `held release` needs the name of the job.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    /// `None` if no configured job reads the stream any more.
    job: Option<String>,
    #[serde(flatten)]
    slice: HeldSlice,
}

pub(crate) async fn list(context: Context, args: HeldArgs) -> anyhow::Result<Exit> {
    let (at, slices) = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            Ok((at, held::list(conn, None, LISTED_MAX).await?))
        })
        .await?;
    let document = Document { at, held: with_jobs(&context.config, slices) };
    output::print_document(args.json, &document, || match &*document.held {
        [] => "nothing is held\n".to_owned(),
        held => table(held, document.at) + &remedy(held),
    })?;
    Ok(Exit::Done)
}

/// The slices, each with the first job that reads its stream.
pub(super) fn with_jobs(config: &Config, slices: Vec<HeldSlice>) -> Vec<Held> {
    // Not searched for each slice: there may be thousands of jobs.
    let mut readers: HashMap<(&str, &str), &str> = HashMap::new();
    for job in config.jobs.values().filter(|_| !slices.is_empty()) {
        for entry in &job.streams {
            readers.entry((&*job.connection, &*entry.stream.name)).or_insert(job.name.as_str());
        }
    }
    let job_of = |slice: &HeldSlice| readers.get(&(&*slice.connection, &*slice.stream)).map(|job| (*job).to_owned());
    slices.into_iter().map(|slice| Held { job: job_of(&slice), slice }).collect()
}

/// The commands that release the listed slices, one for each stream.
fn remedy(held: &[Held]) -> String {
    let mut commands = Vec::new();
    let mut named = HashSet::new();
    for Held { job, slice } in held.iter().filter(|held| !held.slice.released) {
        let Some(job) = job else { continue };
        if named.insert((job, &slice.stream)) {
            commands.push(format!("  tidegate held release {} --stream {}\n", plain(job), plain(&slice.stream)));
        }
    }
    if commands.is_empty() {
        return String::new();
    }
    format!(
        "\nNo rows were deleted. If the last readings were right, and the vendor did delete these rows, let the next reading \
         delete them:\n{}",
        commands.concat()
    )
}

/// Held slices, one per line.
pub(super) fn table(held: &[Held], now: DateTime<Utc>) -> String {
    let mut table = Table::new()
        .left(&["JOB", "CONNECTION", "STREAM", "SLICE"])
        .right(&["ROWS THERE", "REPORTED"])
        .left(&["SINCE", "WHY"]);
    for Held { job, slice } in held {
        let window = slice.window_start.zip(slice.window_end);
        let released = if slice.released { "released, the next run may delete rows; " } else { "" };
        table.row([
            job.clone().unwrap_or_else(|| show::NOTHING.to_owned()),
            slice.connection.clone(),
            slice.stream.clone(),
            window.map_or_else(
                || "the list".to_owned(),
                |(from, to)| format!("{} to {}", show::time(from), show::time(to)),
            ),
            slice.rows_there.to_string(),
            slice.rows_reported.to_string(),
            show::moment(slice.held_since, now),
            format!("{released}{}", slice.reason),
        ]);
    }
    table.show()
}

/// The result of a release for one stream.
#[derive(Debug, Serialize)]
struct Released {
    connection: String,
    stream: String,
    slices: u64,
}

#[derive(Debug, Serialize)]
struct ReleaseDocument {
    released: Vec<Released>,
}

pub(crate) async fn release(context: Context, args: ReleaseArgs) -> anyhow::Result<Exit> {
    let job = names::reading_job(&context.config, &args.job)?;
    let streams = names::streams(job, &args.streams)?;
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        return Err(CommandError::Usage(format!("--from {from} is not before --to {to}")).into());
    }
    let lists =
        job.streams.iter().filter(|stream| !stream.stream.windowed() && streams.contains(&&*stream.stream.name));
    if let Some(list) = lists.map(|stream| &stream.stream.name).next()
        && (args.from.is_some() || args.to.is_some())
    {
        let message = format!("{} is a list, which has no days; leave out --from and --to", plain(list));
        return Err(CommandError::Usage(message).into());
    }
    let released = context.with_schema(async |_, conn| release_all(conn, job, &streams, &args).await).await?;
    if released.iter().all(|released| released.slices == 0) {
        let message = format!("no such slice of {} is held, or all are released already", plain(&streams.join(", ")));
        return Err(CommandError::failed(message, "`tidegate held` lists what is held").into());
    }
    let document = ReleaseDocument { released };
    output::print_document(args.json, &document, || text(&document.released, &args.job))?;
    Ok(Exit::Done)
}

/// Releases the held slices of all these streams. If one stream fails, none is released.
async fn release_all(
    conn: &mut PgConnection,
    job: &Job,
    streams: &[&str],
    args: &ReleaseArgs,
) -> anyhow::Result<Vec<Released>> {
    let mut transaction = conn.begin().await?;
    let mut done = Vec::with_capacity(streams.len());
    for stream in streams {
        let grid = cursor::grid(&mut *transaction, &job.connection, stream).await?;
        let zone = grid.and_then(|grid| grid.timezone.parse().ok()).unwrap_or(job.timezone);
        let midnight = |day: Option<NaiveDate>| day.map(|day| grid::midnight(day, zone));
        let window = (midnight(args.from), midnight(args.to));
        let slices = held::release(&mut *transaction, &job.connection, stream, window, audit::COMMAND).await?;
        if slices > 0 {
            let subject = Subject { connection: Some(&job.connection), stream: Some(stream), ..Subject::default() };
            let summary = held::released(slices, &job.connection, stream);
            audit::record(&mut *transaction, audit::COMMAND, subject, &summary).await?;
        }
        done.push(Released { connection: job.connection.clone(), stream: (*stream).to_owned(), slices });
    }
    transaction.commit().await?;
    Ok(done)
}

fn text(released: &[Released], job: &str) -> String {
    let mut text = String::new();
    for released in released.iter().filter(|released| released.slices > 0) {
        let (stream, slices) = (plain(&released.stream), released.slices);
        let are = if slices == 1 { "1 slice is" } else { &format!("{slices} slices are") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}/{stream}: {are} released. The next run of the job reads them again and deletes what the vendor does not \
             report; `tidegate sync {} --stream {stream}` does it now",
            plain(&released.connection),
            plain(job),
        );
    }
    text
}
