//! `tidegate runs`: lists runs, newest first.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::output::{self, Table};
use super::{CancelArgs, CommandError, Context, Exit, RunsArgs, names, show, status};
use crate::config::Config;
use crate::schedule;
use crate::store::audit::{self, Subject};
use crate::store::history::{self, Run, RunFilter, Task};
use crate::store::progress;
use crate::text::plain;

/// A run and its tasks.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    run: Run,
    streams: Vec<Task>,
}

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    runs: Vec<Entry>,
}

pub async fn run(context: Context, args: RunsArgs) -> anyhow::Result<Exit> {
    let document = context
        .with_schema(async |_, conn| {
            require_job(conn, &context.config, args.job.as_deref()).await?;
            let at = schedule::clock(conn).await?;
            let filter = RunFilter { job: args.job.as_deref(), limit: i64::from(args.limit), ..RunFilter::default() };
            let runs = history::runs(&mut *conn, filter).await?;
            Ok(Document { at, runs: with_tasks(conn, runs).await? })
        })
        .await?;
    output::print_document(args.json, &document, || text(&document, args.tasks))?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Cancelled {
    cancelled: Vec<i64>,
}

/// Cancels runs. Cancels none of them if one of the ids is not an unfinished run.
pub async fn cancel(context: Context, args: CancelArgs) -> anyhow::Result<Exit> {
    let CancelArgs { mut runs, json } = args;
    runs.sort_unstable();
    runs.dedup();
    let missed = context
        .with_schema(async |_, conn| {
            let mut transaction = conn.begin().await?;
            let ended = progress::cancel(&mut *transaction, &runs, None, Some("cancelled by an operator")).await?;
            let missed: Vec<i64> = runs.iter().copied().filter(|run| !ended.contains(run)).collect();
            if missed.is_empty() {
                for run in &runs {
                    let subject = Subject { run_id: Some(*run), ..Subject::default() };
                    audit::record(&mut *transaction, audit::COMMAND, subject, &format!("run {run} was cancelled"))
                        .await?;
                }
                transaction.commit().await?;
            }
            Ok(missed)
        })
        .await?;
    if !missed.is_empty() {
        let numbers: Vec<String> = missed.iter().map(ToString::to_string).collect();
        let message = format!("not an unfinished run: {}; no run was cancelled", numbers.join(", "));
        return Err(CommandError::failed(message, "`tidegate runs` lists runs and their states").into());
    }
    let document = Cancelled { cancelled: runs };
    output::print_document(json, &document, || {
        let lines =
            document.cancelled.iter().map(|run| format!("run {run} is cancelled; the rows that it read are kept"));
        lines.map(|line| line + "\n").collect()
    })?;
    Ok(Exit::Done)
}

/// A job that was renamed or removed still has its runs.
async fn require_job(conn: &mut PgConnection, config: &Config, job: Option<&str>) -> anyhow::Result<()> {
    let Some(job) = job else { return Ok(()) };
    if !config.jobs.contains_key(job) && !history::ever_ran(conn, job).await? {
        names::job(config, job)?;
    }
    Ok(())
}

async fn with_tasks(conn: &mut PgConnection, runs: Vec<Run>) -> Result<Vec<Entry>, sqlx::Error> {
    let ids: Vec<i64> = runs.iter().map(|run| run.run_id).collect();
    let mut tasks = history::tasks(conn, &ids).await?.into_iter().peekable();
    let mut entries = Vec::with_capacity(runs.len());
    // Both are ordered by run, newest first.
    for run in runs {
        let streams = std::iter::from_fn(|| tasks.next_if(|task| task.run_id == run.run_id)).collect();
        entries.push(Entry { run, streams });
    }
    Ok(entries)
}

fn text(document: &Document, with_tasks: bool) -> String {
    if document.runs.is_empty() {
        return "nothing has run yet; `tidegate sync` runs jobs once, `tidegate run` on schedule\n".to_owned();
    }
    if !with_tasks {
        return table(document.runs.iter().map(|entry| &entry.run), document.at);
    }
    let mut text = String::new();
    for entry in &document.runs {
        let line_break = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{line_break}{}", table([&entry.run], document.at));
        text.push_str(&traffic(&entry.streams));
        text.push_str(&rows(&entry.streams));
        for task in entry.streams.iter().filter(|task| task.error.is_some() || task.hint.is_some()) {
            let _ = writeln!(text, "{}", plain(&task.stream));
            status::trouble(&mut text, task.error.as_deref(), task.hint.as_deref());
        }
    }
    text
}

fn table<'a>(runs: impl IntoIterator<Item = &'a Run>, now: DateTime<Utc>) -> String {
    let mut table = Table::new()
        .right(&["RUN"])
        .left(&["JOB", "KIND", "STATE", "DUE"])
        .right(&["TOOK", "CALLS", "READ", "CHANGED", "REJECTED"])
        .left(&["STREAMS", "ERROR"]);
    for run in runs {
        table.row([
            run.run_id.to_string(),
            run.job.clone(),
            run.kind.clone(),
            run.state.clone(),
            show::moment(run.scheduled_for.unwrap_or(run.created_at), now),
            took(run.started_at, run.finished_at, now),
            run.calls.to_string(),
            run.rows_read.to_string(),
            run.rows_changed.to_string(),
            run.records_rejected.to_string(),
            summary(run),
            run.error.clone().unwrap_or_default(),
        ]);
    }
    table.show()
}

fn took(started: Option<DateTime<Utc>>, finished: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    started.map_or_else(
        || show::NOTHING.to_owned(),
        |started| show::span((finished.unwrap_or(now) - started).num_seconds()),
    )
}

/// `8 ok`, `6 of 8 ok, 1 failed, 1 waiting`.
fn summary(run: &Run) -> String {
    let mut text = if run.tasks_succeeded == run.tasks {
        format!("{} ok", run.tasks)
    } else {
        format!("{} of {} ok", run.tasks_succeeded, run.tasks)
    };
    let others = [(run.tasks_failed, "failed"), (run.tasks_held, "held"), (run.tasks_waiting, "waiting")];
    for (count, word) in others {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    text
}

fn traffic(tasks: &[Task]) -> String {
    let mut table = Table::new()
        .left(&["STREAM", "STATE"])
        .right(&["SLICES", "PAGES", "CALLS", "BYTES"])
        .left(&["LAST WINDOW", "WAITS FOR"]);
    for task in tasks {
        let window = task.last_window_start.zip(task.last_window_end);
        let waits = task.waiting_for.as_ref().map(|what| match task.waiting_until {
            Some(until) => format!("{what} until {}", show::time(until)),
            None => format!("its turn, after {what}"),
        });
        table.row([
            task.stream.clone(),
            task.state.clone(),
            format!("{}/{}", task.slices_done, task.slices_planned),
            task.pages.to_string(),
            task.calls.to_string(),
            show::bytes(u64::try_from(task.bytes).unwrap_or_default()),
            window.map_or_else(
                || show::NOTHING.to_owned(),
                |(from, to)| format!("{} to {}", show::time(from), show::time(to)),
            ),
            waits.unwrap_or_default(),
        ]);
    }
    table.show()
}

fn rows(tasks: &[Task]) -> String {
    let mut table = Table::new().left(&["STREAM"]).right(&[
        "READ",
        "INSERTED",
        "UPDATED",
        "DELETED",
        "UNCHANGED",
        "OUTSIDE",
        "EXTRA",
        "REJECTED",
    ]);
    for task in tasks {
        let counts = [
            task.rows_read,
            task.rows_inserted,
            task.rows_updated,
            task.rows_deleted,
            task.rows_unchanged,
            task.rows_outside,
            task.values_extra,
            task.records_rejected,
        ];
        let [read, inserted, updated, deleted, unchanged, outside, extra, rejected] =
            counts.map(|count| count.to_string());
        table.row([task.stream.clone(), read, inserted, updated, deleted, unchanged, outside, extra, rejected]);
    }
    table.show()
}
