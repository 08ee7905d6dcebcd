//! `tidegate sync`, and what it shares with `backfill`: enqueues runs, works on them, shows progress and a summary.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::output::{self, Table};
use super::progress::Progress;
use super::{CommandError, Context, Exit, SyncArgs, names, show};
use crate::app::{Database, Foreground, compare_totals, owner, plan_streams};
use crate::config::Job;
use crate::mart;
use crate::schedule::{ByHand, Requested, enqueue_by_hand};
use crate::store::audit::{self, Subject};
use crate::store::migrate;
use crate::store::progress::{self, TaskState};
use crate::store::trouble::chain;

/// Time limit for cancelling the runs of an interrupted command: a checkpoint that cannot end keeps its run locked.
const CANCEL_MAX: Duration = Duration::from_millis(500);

/// The result of a foreground command.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    tasks: &'a [TaskState],
}

pub(crate) async fn run(context: Context, args: SyncArgs) -> anyhow::Result<Exit> {
    let mut wanted = Vec::new();
    for job in names::jobs(&context.config, &args.jobs)? {
        if args.jobs.is_empty() && job.paused {
            continue;
        }
        let streams = if args.jobs.is_empty() && !args.streams.is_empty() {
            let offered = |name: &&String| job.streams.iter().any(|entry| entry.stream.name == ***name);
            let here: Vec<String> = args.streams.iter().filter(offered).cloned().collect();
            if here.is_empty() {
                continue;
            }
            names::streams(job, &here)?
        } else {
            names::streams(job, &args.streams)?
        };
        wanted.push((job, streams, ByHand::Manual));
    }
    if wanted.is_empty() {
        let why = "no job to run: no job is configured, all jobs are paused or only send rows, or none has the stream";
        return Err(CommandError::Usage(why.to_owned()).into());
    }
    foreground(&context, wanted, args.json).await
}

/// Runs `wanted` to the end, in this process or in a daemon.
pub(super) async fn foreground(
    context: &Context,
    wanted: Vec<(&Job, Vec<&str>, ByHand)>,
    json: bool,
) -> anyhow::Result<Exit> {
    let database = Database::open(&context.config, &context.cancel).await?;
    let outcome = work(context, &database, wanted, json).await;
    database.close().await;
    let tasks = outcome?;
    if json {
        output::print_json(&Summary { tasks: &tasks })?;
    } else {
        output::print(&table(&tasks))?;
    }
    if tasks.iter().any(|task| !matches!(task.state.as_str(), "succeeded" | "held")) {
        return Ok(Exit::Failed);
    }
    let held = tasks.iter().any(|task| task.state == "held");
    Ok(if held { Exit::Held } else { Exit::Done })
}

async fn work(
    context: &Context,
    database: &Database,
    wanted: Vec<(&Job, Vec<&str>, ByHand)>,
    json: bool,
) -> anyhow::Result<Vec<TaskState>> {
    migrate::migrate(&database.pool, context.config.database.distribution).await?;
    if let Err(error) = plan_streams(&database.pool, &context.config).await {
        tracing::warn!(error = chain(&error), "the streams of the configuration could not be stored");
    }
    let views = Arc::new(mart::Views::of(mart::Role::Command, &owner()));
    views.refresh(&database.pool, &context.config.mart).await;
    let mut runs = Vec::new();
    let mut connection = database.pool.acquire().await?;
    for (job, streams, by_hand) in wanted {
        let mut transaction = connection.begin().await?;
        let Requested { run_id: run, is_resumed } = enqueue_by_hand(&mut transaction, job, &streams, by_hand).await?;
        if is_resumed {
            tracing::info!(run, "continuing an unfinished backfill");
        }
        record(&mut transaction, job, run, by_hand).await?;
        transaction.commit().await?;
        runs.push(run);
    }
    drop(connection);
    let foreground = Foreground::start(context.config.clone(), database.pool.clone(), runs.clone(), Arc::clone(&views));
    let progress = Progress::new(!json && std::io::stderr().is_terminal());
    let followed = tokio::select! {
        tasks = foreground.follow(|tasks| progress.show(tasks)) => Some(tasks),
        () = context.cancel.cancelled() => None,
    };
    progress.end();
    let owner = foreground.stop().await;
    let Some(tasks) = followed else {
        let cancelled =
            tokio::time::timeout(CANCEL_MAX, progress::cancel(&database.pool, &runs, Some(&owner), None)).await;
        if !matches!(cancelled, Ok(Ok(_))) {
            tracing::warn!("the runs could not be cancelled; a daemon takes them over when their lease ends");
        }
        return Err(CommandError::failed(
            "interrupted: what was read is kept",
            "run the same command again to continue from there",
        )
        .into());
    };
    let mart = &context.config.mart;
    if let Err(error) = compare_totals(&database.pool).await {
        tracing::warn!(error = chain(&error), "the vendors' totals could not be compared with the rows");
    }
    let store = views.store(&database.pool, mart, mart::Refresh::Outdated);
    if context.cancel.run_until_cancelled(store).await.is_none() {
        tracing::warn!("the stored rows of the mart are not up to date; the daemon and the next `sync` refresh them");
    }
    Ok(tasks?)
}

/// Records for the other operators that the command made the run.
async fn record(conn: &mut PgConnection, job: &Job, run: i64, by_hand: ByHand) -> Result<(), sqlx::Error> {
    let what = match by_hand {
        ByHand::Manual => "run",
        ByHand::Backfill { .. } => "backfill",
    };
    let subject =
        Subject { connection: Some(&job.connection), job: Some(&job.name), run_id: Some(run), ..Subject::default() };
    audit::record(conn, audit::COMMAND, subject, &format!("{what} {run} of {} was requested", job.name)).await
}

/// A summary of what was loaded, by stream.
pub(super) fn table(tasks: &[TaskState]) -> String {
    let mut table = Table::new()
        .left(&["JOB", "STREAM", "STATE"])
        .right(&["SLICES", "PAGES", "CALLS", "READ", "NEW", "CHANGED", "GONE", "SAME", "REJECTED"])
        .left(&["READ UNTIL", "ERROR"]);
    for task in tasks {
        let trouble = match (&task.error, &task.hint) {
            (Some(error), Some(hint)) => format!("{error}; {hint}"),
            (Some(error), None) => error.clone(),
            _ => String::new(),
        };
        table.row([
            task.job.clone(),
            task.stream.clone(),
            task.state.clone(),
            format!("{}/{}", task.slices_done, task.slices_planned),
            task.pages.to_string(),
            task.calls.to_string(),
            task.rows_read.to_string(),
            task.rows_inserted.to_string(),
            task.rows_updated.to_string(),
            task.rows_deleted.to_string(),
            task.rows_unchanged.to_string(),
            task.records_rejected.to_string(),
            task.last_window_end
                .map_or_else(|| show::NOTHING.to_owned(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string()),
            trouble,
        ]);
    }
    table.show()
}
