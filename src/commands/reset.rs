//! `tidegate cursors reset`: forgets how far streams were read, so that the next run reads again.
//!
//! A person at a terminal is asked for confirmation, because reading again costs quota. A script is not asked, because
//! it would wait for an answer forever.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::failure::{CommandError, say};
use super::output;
use super::{Context, Exit, ResetArgs, names, show};
use crate::config::Job;
use crate::store::{cursor, stream_cursor};
use crate::text::plain;
use crate::worker::grid;

/// A checkpoint in progress locks the stream for a moment; a longer wait indicates a problem.
const LOCK_WITHIN: Duration = Duration::from_secs(20);

/// One stream that is to be read again.
#[derive(Debug, Serialize)]
struct Again {
    connection: String,
    stream: String,
    /// What the next run begins with.
    from: Option<DateTime<Utc>>,
    slices: i64,
}

#[derive(Debug, Serialize)]
struct Document {
    reset: Vec<Again>,
}

pub(crate) async fn run(context: Context, args: ResetArgs) -> anyhow::Result<Exit> {
    let job = names::reading_job(&context.config, &args.job)?;
    let streams = names::streams(job, &args.streams)?;
    let ask = !args.yes && !args.json && io::stdin().is_terminal() && io::stderr().is_terminal();
    if ask {
        let planned = context.with_schema(async |_, conn| reset(conn, job, &streams, &args, false).await).await?;
        if planned.iter().all(|again| again.slices == 0) {
            output::print(&text(&planned))?;
            return Ok(Exit::Done);
        }
        let slices: i64 = planned.iter().map(|again| again.slices).sum();
        let question = format!("{}read {slices} slices again, which uses quota? [y/N] ", text(&planned));
        if !confirmed(&context, &question).await? {
            say("nothing was done\n");
            return Ok(Exit::Failed);
        }
    }
    let reset = context.with_schema(async |_, conn| reset(conn, job, &streams, &args, true).await).await?;
    let document = Document { reset };
    output::print_document(args.json, &document, || text(&document.reset))?;
    Ok(Exit::Done)
}

/// Resets all of `streams`. If a run reads one of them, resets none. Without `commit`, nothing changes.
async fn reset(
    conn: &mut PgConnection,
    job: &Job,
    streams: &[&str],
    args: &ResetArgs,
    commit: bool,
) -> anyhow::Result<Vec<Again>> {
    let mut transaction = conn.begin().await?;
    let mut done = Vec::with_capacity(streams.len());
    // In the order of names, as everywhere where several streams are locked.
    let mut streams = streams.to_vec();
    streams.sort_unstable();
    for stream in streams {
        let locking = stream_cursor::lock(&mut *transaction, &job.connection, stream);
        let locked = tokio::time::timeout(LOCK_WITHIN, locking).await.map_err(|_| busy(stream, None))??;
        let Some(locked) = locked else {
            done.push(Again { connection: job.connection.clone(), stream: stream.to_owned(), from: None, slices: 0 });
            continue;
        };
        if let Some(run) = locked.reader_run {
            return Err(busy(stream, Some(run)).into());
        }
        let zone = locked.timezone.parse().unwrap_or(job.timezone);
        let to = args.to.map(|day| grid::midnight(day, zone));
        let (slices, from) = stream_cursor::forgettable(&mut *transaction, &job.connection, stream, to).await?;
        cursor::reset(&mut transaction, &job.connection, stream, to).await?;
        done.push(Again { connection: job.connection.clone(), stream: stream.to_owned(), from, slices });
    }
    if commit {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(done)
}

fn busy(stream: &str, run: Option<i64>) -> CommandError {
    let who = run.map_or_else(|| "another process".to_owned(), |run| format!("run {run}"));
    let hint = "wait until it has ended (see `tidegate runs`), or stop the daemon; nothing was reset";
    CommandError::failed(format!("{who} is reading `{stream}`"), hint)
}

/// Asks a person at the terminal.
pub(super) async fn confirmed(context: &Context, question: &str) -> anyhow::Result<bool> {
    say(question);
    let answer = tokio::task::spawn_blocking(|| io::stdin().lines().next().transpose());
    let answer = tokio::select! {
        answer = answer => answer??,
        () = context.cancel.cancelled() => return Err(CommandError::Interrupted.into()),
    };
    Ok(answer.is_some_and(|answer| matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}

fn text(done: &[Again]) -> String {
    let mut text = String::new();
    for again in done {
        let name = format!("{}/{}", plain(&again.connection), plain(&again.stream));
        // Writing to a String cannot fail.
        let _ = match (again.slices, again.from) {
            (0, _) => writeln!(text, "{name}: nothing was read, so there is nothing to reset"),
            (slices, Some(from)) => {
                writeln!(text, "{name}: {slices} slices are read again, from {} on", show::time(from))
            }
            (_, None) => writeln!(text, "{name}: the list is read again"),
        };
    }
    text
}
