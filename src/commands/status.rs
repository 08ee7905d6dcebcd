//! `tidegate status`: shows the state of everything that is configured on the command line. Needs no daemon.
//!
//! The JSON document is that of the overview page and of `/api/v1/overview`.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use sqlx::Connection as _;

use super::held::Held;
use super::output::{self, Table};
use super::quota::LimitUse;
use super::{Context, Exit, StatusArgs, held, quota, show};
use crate::report::{Document as _, JobState, Overview, Query, Reading, StatusReport, limits_used};
use crate::schedule;
use crate::store::history::{self, Waiting};
use crate::store::pause;
use crate::store::push::{self, BatchCounts};
use crate::store::reconciliation::Difference;
use crate::store::status::{Failure, StreamState};
use crate::store::stored_rows::StoredRows;
use crate::text::plain;

/// Maximum number of failures in the text; the JSON document has more.
const FAILURES_SHOWN: usize = 5;

#[derive(Debug)]
struct Everything {
    report: StatusReport,
    waiting: Vec<Waiting>,
    /// What the sending jobs have sent, by state.
    pushes: Vec<BatchCounts>,
}

pub(crate) async fn run(context: Context, args: StatusArgs) -> anyhow::Result<Exit> {
    if args.json {
        print_overview(&context).await?;
    } else {
        print_text(&context).await?;
    }
    Ok(Exit::Done)
}

async fn print_overview(context: &Context) -> anyhow::Result<()> {
    let overview = context
        .with_schema(async |_, conn| {
            let mut transaction = conn.begin().await?;
            let now = schedule::clock(&mut transaction).await?;
            let config = &context.config;
            let pauses = pause::list(&mut *transaction).await?;
            let conn = &mut transaction;
            let mut reading = Reading { conn, config, pauses: &pauses, config_refused: false, now };
            let overview = Overview::read(&mut reading, &Query::default()).await?;
            transaction.rollback().await?;
            Ok(overview)
        })
        .await?;
    output::print_json(&overview)
}

async fn print_text(context: &Context) -> anyhow::Result<()> {
    let config = &context.config;
    let (everything, quotas) = context
        .with_schema(async |_, conn| {
            let now = schedule::clock(conn).await?;
            let used = limits_used(conn, config, config.connections.values()).await?;
            let report = StatusReport::gather(conn, config, &used, false, now).await?;
            let quotas = used.into_iter().map(LimitUse::new).collect::<Vec<_>>();
            let sending = config.jobs.values().filter(|job| job.push.is_some()).map(|job| job.name.clone());
            let pushes = push::tally(&mut *conn, &sending.collect::<Vec<_>>()).await?;
            let mut waiting = history::waiting(conn).await?;
            waiting.retain(|task| config.jobs.contains_key(&task.job));
            Ok((Everything { report, waiting, pushes }, quotas))
        })
        .await?;
    let held = held::with_jobs(config, everything.report.held.clone());
    output::print(&text(&everything, &held, &quotas))?;
    Ok(())
}

fn text(everything: &Everything, held: &[Held], quotas: &[LimitUse]) -> String {
    let (report, now) = (&everything.report, everything.report.at);
    let mut text = String::new();
    if report.jobs.is_empty() {
        text.push_str("no job is configured; see `config/jobs/lynn.yaml` for one\n");
    } else {
        text.push_str(&jobs(&report.jobs, now));
    }
    if !everything.waiting.is_empty() {
        section(&mut text, "Waiting", &waiting(&everything.waiting, now));
    }
    if report.streams.is_empty() {
        text.push_str("\nnothing has been read yet; `tidegate sync` reads once, `tidegate run` on schedule\n");
    } else {
        section(&mut text, "Streams", &streams(&report.streams, now));
    }
    if !held.is_empty() {
        section(&mut text, "Held: the last reading was too doubtful to delete rows", &held::table(held, now));
    }
    if report.reconciliation.differences > 0 {
        let title = format!("Totals of vendors that differ from our rows: {}", report.reconciliation.differences);
        section(&mut text, &title, &differences(&report.reconciliation.newest));
    }
    if !report.stored.is_empty() {
        section(&mut text, "Stored rows of the mart", &stored(&report.stored));
    }
    if !everything.pushes.is_empty() {
        section(&mut text, "Pushes", &tallies(&everything.pushes));
    }
    if !quotas.is_empty() {
        section(&mut text, "Quotas", &quota::table(quotas, now));
    }
    if !report.failures.is_empty() {
        section(&mut text, "Failures, newest first", &failures(&report.failures, now));
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{title}\n{body}");
}

fn jobs(jobs: &[JobState], now: DateTime<Utc>) -> String {
    let mut table = Table::new().left(&["JOB", "CONNECTION", "SCHEDULE", "NEXT FIRING", "LAST RUN", "WHEN"]);
    for job in jobs {
        let schedule = job.schedule.as_ref().map(|schedule| format!("{schedule} {}", job.timezone));
        let next = if job.paused {
            "paused".to_owned()
        } else if let Some(pause) = &job.pause {
            format!("paused until {}", show::moment(pause.until, now))
        } else {
            job.next_firing.map_or_else(|| "by hand".to_owned(), |at| show::moment(at, now))
        };
        let last = job.last_run.as_ref();
        let when = last.map(|run| run.finished_at.or(run.started_at).unwrap_or(run.created_at));
        table.row([
            job.job.clone(),
            job.connection.clone(),
            show::text(schedule.as_deref()),
            next,
            last.map_or_else(|| "never".to_owned(), |run| format!("{} {}", run.run_id, run.state)),
            show::moment_or_nothing(when, now),
        ]);
    }
    table.show()
}

fn waiting(waiting: &[Waiting], now: DateTime<Utc>) -> String {
    let mut table = Table::new().right(&["RUN"]).left(&["JOB", "STREAM", "WAITS FOR", "UNTIL"]);
    for task in waiting {
        table.row([
            task.run_id.to_string(),
            task.job.clone(),
            task.stream.clone(),
            show::text(task.waiting_for.as_deref()),
            show::moment_or_nothing(task.waiting_until, now),
        ]);
    }
    table.show()
}

fn streams(streams: &[StreamState], now: DateTime<Utc>) -> String {
    let mut table = Table::new().left(&["CONNECTION", "STREAM", "TABLE", "STATE"]).right(&["AGE"]).left(&[
        "COMPLETE UNTIL",
        "READ UNTIL",
        "LAST SUCCESS",
    ]);
    for stream in streams {
        table.row([
            stream.connection.clone(),
            stream.stream.clone(),
            stream.table.clone(),
            stream.state.clone(),
            show::age(stream.freshness_seconds),
            stream.complete_until.map_or_else(|| show::NOTHING.to_owned(), show::time),
            stream.read_until.map_or_else(|| show::NOTHING.to_owned(), show::time),
            show::moment_or_nothing(stream.last_success_at, now),
        ]);
    }
    table.show()
}

/// The newest differences; `mart.reconciliation` has all.
fn differences(newest: &[Difference]) -> String {
    let mut table = Table::new().left(&["CONNECTION", "METRIC", "BUCKET"]).right(&["VENDOR", "OURS", "DIFFERENCE"]);
    for found in newest {
        table.row([
            found.connection.clone(),
            found.metric.clone(),
            show::time(found.bucket_start),
            found.vendor_total.to_string(),
            found.our_count.to_string(),
            format!("{:+}", found.difference),
        ]);
    }
    table.show()
}

fn stored(relations: &[StoredRows]) -> String {
    let mut table = Table::new().left(&["RELATION"]).right(&["AGE"]).left(&["REFRESHED"]);
    for rows in relations {
        table.row([rows.relation.clone(), show::span(rows.age_seconds), show::time(rows.refreshed_at)]);
    }
    table.show()
}

/// What was sent, by job and state.
pub(super) fn tallies(tallies: &[BatchCounts]) -> String {
    let mut table = Table::new().left(&["JOB", "STATE"]).right(&["BATCHES", "ROWS"]);
    for tally in tallies {
        table.row([tally.job.clone(), tally.state.clone(), tally.batches.to_string(), tally.rows.to_string()]);
    }
    table.show()
}

/// Errors and hints are too long for a column.
fn failures(failures: &[Failure], now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for failure in failures.iter().take(FAILURES_SHOWN) {
        let when = show::moment_or_nothing(failure.finished_at, now);
        let _ = writeln!(text, "run {}, {}, {}, {when}", failure.run_id, plain(&failure.job), plain(&failure.stream));
        trouble(&mut text, failure.error.as_deref(), failure.hint.as_deref());
    }
    if failures.len() > FAILURES_SHOWN {
        text.push_str("older ones: `tidegate runs --tasks`\n");
    }
    text
}

/// An error and its hint, indented.
pub(super) fn trouble(text: &mut String, error: Option<&str>, hint: Option<&str>) {
    for (word, said) in [("error", error), ("hint", hint)] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            let _ = writeln!(text, "  {word}: {}", plain(said));
        }
    }
}
