//! `tidegate status`: shows the state of everything that is configured on the command line. Needs no daemon.
//!
//! The JSON document is that of the overview page and of `/api/v1/overview`, and has what `warehouse.keep` drops next,
//! if something is too old.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Connection as _;

use super::held::Held;
use super::output::{self, Table};
use super::quota::LimitUse;
use super::{Context, Exit, StatusArgs, failure, held, old_rows, quota, show};
use crate::app::due_to_drop;
use crate::report::{
    Document as _, OpenProblems, Overview, Problem, Query, Reading, Standing, StatusReport, Surroundings, count_states,
    headline, limits_used, open_problems, state,
};
use crate::schedule;
use crate::settings::Faults;
use crate::store::history::{self, Waiting};
use crate::store::keep::due::Due;
use crate::store::push::{self, BatchCounts};
use crate::store::reconciliation::Difference;
use crate::store::session::{ONLY_READS, ONLY_READS_HINT};
use crate::store::status::{Failure, StreamState};
use crate::store::stored_rows::StoredRows;
use crate::text::plain;

/// Maximum number of problems and of failures in the text; the JSON document has more.
const PROBLEMS_SHOWN: usize = 20;
const FAILURES_SHOWN: usize = 5;
/// How long old rows are counted.
const COUNT_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Everything {
    surroundings: Surroundings,
    /// What is wrong with the configuration on disk, as lines.
    refused: Option<String>,
    problems: OpenProblems,
    report: StatusReport,
    waiting: Vec<Waiting>,
    /// What the sending jobs have sent, by state.
    pushes: Vec<BatchCounts>,
    /// What the next pass of a daemon would drop.
    old_rows: Vec<Due>,
}

pub(crate) async fn run(context: Context, args: StatusArgs) -> anyhow::Result<Exit> {
    let shown = if args.json { print_overview(&context).await } else { print_text(&context).await };
    let Some(faults) = context.refused.as_deref() else { return shown.map(|()| Exit::Done) };
    if shown.is_err() {
        // Whatever else is wrong, this has to be mended first.
        return Err(faults.clone().into());
    }
    failure::say(&failure::hide(&format!("error: {}\n{faults}\n", refusal(faults)), &context.secrets()));
    Ok(Exit::Usage)
}

fn refusal(faults: &Faults) -> String {
    let are = if faults.len() == 1 { "1 fault" } else { &format!("{} faults", faults.len()) };
    format!("the configuration has {are}; a running daemon keeps the previous one")
}

/// The refused configuration, with its first fault.
fn refused(faults: &Faults) -> String {
    let mut text = format!("configuration: {}\n", refusal(faults));
    let first = faults.iter().next().map(ToString::to_string);
    trouble(&mut text, first.as_deref(), Some("`tidegate check --offline` shows all faults"));
    text
}

async fn print_overview(context: &Context) -> anyhow::Result<()> {
    let overview = context
        .with_schema(async |_, conn| {
            let mut transaction = conn.begin().await?;
            let now = schedule::clock(&mut transaction).await?;
            let config = &context.config;
            let surroundings = Surroundings::read(&mut transaction).await?;
            let mut reading = Reading {
                conn: &mut transaction,
                config,
                surroundings: &surroundings,
                config_refused: context.refused.is_some(),
                in_daemon: false,
                now,
            };
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
            let report = match context.refused {
                None => StatusReport::gather(conn, config, &used, false, now).await?,
                Some(_) => StatusReport::gather_stored(conn, &used, now).await?,
            };
            let quotas = used.into_iter().map(LimitUse::new).collect::<Vec<_>>();
            let sending = config.jobs.values().filter(|job| job.push.is_some()).map(|job| job.name.clone());
            let pushes = push::tally(&mut *conn, &sending.collect::<Vec<_>>()).await?;
            let mut waiting = history::waiting(&mut *conn).await?;
            let jobs: BTreeSet<&str> = report.jobs.iter().map(|job| &*job.job).collect();
            waiting.retain(|task| jobs.contains(&*task.job));
            let problems = open_problems(conn, PROBLEMS_SHOWN).await?;
            let surroundings = Surroundings::read(conn).await?;
            let old_rows = match context.refused {
                None => due_to_drop(conn, config, now, COUNT_WITHIN).await?,
                Some(_) => Vec::new(),
            };
            let refused = context.refused.as_deref().map(refused);
            Ok((Everything { surroundings, refused, problems, report, waiting, pushes, old_rows }, quotas))
        })
        .await?;
    let held = held::with_jobs(config, everything.report.held.clone());
    output::print(&text(&everything, &held, &quotas))?;
    Ok(())
}

fn text(everything: &Everything, held: &[Held], quotas: &[LimitUse]) -> String {
    let (report, now) = (&everything.report, everything.report.at);
    let states = count_states(report.streams.iter().map(|stream| (&*stream.state, 1)));
    let late_and_wait = report.streams.iter().map(|stream| i64::from(stream.is_late_and_waits())).sum();
    let surroundings = &everything.surroundings;
    let standing = Standing::new(surroundings, everything.refused.is_some(), false);
    let mut text = format!("{}\n", headline(&standing, &everything.problems, &states, late_and_wait));
    if surroundings.only_reads {
        trouble(&mut text, Some(ONLY_READS), Some(ONLY_READS_HINT));
    } else if surroundings.daemons.is_empty() {
        trouble(&mut text, None, Some("`tidegate run` starts a daemon"));
    }
    text.push_str(everything.refused.as_deref().unwrap_or_default());
    text.push('\n');
    if everything.problems.total > 0 {
        text.push_str(&problems(&everything.problems, now));
    }
    if report.jobs.is_empty() && report.reload_refused {
        text.push_str("no running process has stored jobs\n");
    } else if report.jobs.is_empty() {
        let _ = writeln!(text, "no job is configured; {}", show::SAMPLES);
    } else {
        text.push_str(&jobs(report, now));
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
    if !everything.old_rows.is_empty() {
        let title = "Older than `warehouse.keep`: a daemon drops for good";
        section(&mut text, title, &old_rows::table(&everything.old_rows));
    }
    if !everything.pushes.is_empty() {
        section(&mut text, "Pushes", &tallies(&everything.pushes));
    }
    section(&mut text, "Daemons", &daemons(surroundings, now));
    if !quotas.is_empty() {
        section(&mut text, "Quotas", &quota::table(quotas, now));
    }
    let failures = grouped(&report.failures, &everything.problems.problems);
    if !failures.is_empty() {
        section(&mut text, "Failures, newest first", &failed(&failures, now));
    }
    text
}

/// The daemons that run, or the one that was seen last.
fn daemons(surroundings: &Surroundings, now: DateTime<Utc>) -> String {
    if surroundings.daemons.is_empty() {
        return surroundings.last_daemon.as_ref().map_or_else(
            || "none runs\n".to_owned(),
            |last| format!("none runs; last seen: {}, {}\n", plain(&last.owner), show::moment(last.seen_at, now)),
        );
    }
    let mut table = Table::new().left(&["DAEMON", "VERSION", "STARTED", "CONFIGURATION"]);
    for daemon in &surroundings.daemons {
        table.row([
            daemon.owner.clone(),
            show::text(daemon.version.as_deref()),
            show::moment_or_nothing(daemon.started_at, now),
            if daemon.config_refused { "refused; the previous one is in force" } else { "in force" }.to_owned(),
        ]);
    }
    table.show()
}

fn section(text: &mut String, title: &str, body: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{title}\n{body}");
}

fn jobs(report: &StatusReport, now: DateTime<Utc>) -> String {
    // With a refused configuration, the schedules in force are not known.
    let without = if report.reload_refused { show::NOTHING } else { "by hand" };
    let mut table = Table::new().left(&["JOB", "CONNECTION", "SCHEDULE", "NEXT FIRING", "LAST RUN", "WHEN"]);
    for job in &report.jobs {
        let schedule = job.schedule.as_ref().map(|schedule| format!("{schedule} {}", job.timezone));
        let next = if job.paused {
            "paused".to_owned()
        } else if let Some(pause) = &job.pause {
            format!("paused until {}", show::moment(pause.until, now))
        } else {
            let next = job.next_firing.map(|at| show::moment(at, now));
            match (next, job.after_run) {
                (Some(next), Some(run)) => format!("{next}, if run {run} has ended"),
                (Some(next), None) => next,
                (None, _) => without.to_owned(),
            }
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
            task.waiting_until.map_or_else(|| "its turn".to_owned(), |until| show::moment(until, now)),
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

/// What needs a person, worst first, and an empty line. One cause that many streams share is one problem.
fn problems(open: &OpenProblems, now: DateTime<Utc>) -> String {
    let mut text = format!("Problems, worst first: {}\n", open.total);
    for problem in &open.problems {
        let streams = if problem.streams > 1 { format!(", {} streams", problem.streams) } else { String::new() };
        let muted = if problem.muted_until.is_some() { ", muted" } else { "" };
        let (kind, since) = (state::of_problem(&problem.kind).name, show::moment(problem.opened_at, now));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{kind}: {}{streams}, since {since}{muted}", plain(&problem.scope));
        trouble(&mut text, Some(&problem.summary), problem.hint.as_deref());
    }
    if open.total > i64::try_from(open.problems.len()).unwrap_or(i64::MAX) {
        text.push_str("more: the page `/problems` of the daemon\n");
    }
    text.push('\n');
    text
}

/// Streams of a connection that failed for the same reason.
struct Failures<'f> {
    newest: &'f Failure,
    streams: Vec<&'f str>,
}

/// Failures by their reason, without those that an open problem names.
fn grouped<'f>(failures: &'f [Failure], problems: &[Problem]) -> Vec<Failures<'f>> {
    let is_named = |failure: &Failure| {
        problems.iter().any(|problem| {
            problem.kind == "failed"
                && problem.connection.as_ref() == Some(&failure.connection)
                && problem.stream.as_ref().is_none_or(|stream| *stream == failure.stream)
        })
    };
    let mut groups: Vec<Failures<'f>> = Vec::new();
    for failure in failures.iter().filter(|failure| !is_named(failure)) {
        let is_same = |group: &&mut Failures<'f>| {
            (&group.newest.connection, &group.newest.error, &group.newest.hint)
                == (&failure.connection, &failure.error, &failure.hint)
        };
        match groups.iter_mut().find(is_same) {
            Some(group) if group.streams.contains(&&*failure.stream) => {}
            Some(group) => group.streams.push(&failure.stream),
            None => groups.push(Failures { newest: failure, streams: vec![failure.stream.as_str()] }),
        }
    }
    groups
}

/// Errors and hints are too long for a column.
fn failed(failures: &[Failures<'_>], now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for Failures { newest, streams } in failures.iter().take(FAILURES_SHOWN) {
        let when = show::moment_or_nothing(newest.finished_at, now);
        let number = if streams.len() > 1 { format!("{} streams: ", streams.len()) } else { String::new() };
        let (job, streams) = (plain(&newest.job), plain(&streams.join(", ")));
        let _ = writeln!(text, "run {}, {job}, {number}{streams}, {when}", newest.run_id);
        trouble(&mut text, newest.error.as_deref(), newest.hint.as_deref());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(run_id: i64, stream: &str, error: &str) -> Failure {
        Failure {
            run_id,
            job: "daily".to_owned(),
            connection: "acme".to_owned(),
            stream: stream.to_owned(),
            finished_at: None,
            error: Some(error.to_owned()),
            hint: None,
        }
    }

    fn problem(stream: Option<&str>) -> Problem {
        Problem {
            id: 1,
            kind: "failed".to_owned(),
            scope: "acme".to_owned(),
            connection: Some("acme".to_owned()),
            stream: stream.map(ToOwned::to_owned),
            job: None,
            run_id: None,
            streams: 2,
            opened_at: DateTime::UNIX_EPOCH,
            closed_at: None,
            summary: "the vendor refused the credentials".to_owned(),
            hint: Some("renew the token".to_owned()),
            muted_until: None,
        }
    }

    #[test]
    fn one_cause_of_many_streams_is_shown_once() {
        let all = [
            failure(2, "calls", "refused"),
            failure(2, "agents", "refused"),
            failure(2, "marks", "too large"),
            failure(1, "calls", "refused"),
        ];
        let now = DateTime::UNIX_EPOCH;
        let shown = failed(&grouped(&all, &[]), now);
        let first = "run 2, daily, 2 streams: calls, agents, -\n  error: refused\n";
        let expected = format!("{first}run 2, daily, marks, -\n  error: too large\n");
        assert_eq!(shown, expected);
        assert_eq!(grouped(&all, &[problem(None)]).len(), 0, "the problem of the connection has them all");
        assert_eq!(grouped(&all, &[problem(Some("marks"))]).len(), 1);
        let open = OpenProblems { problems: vec![problem(None)], total: 2, needing: 2, muted: 0 };
        let first = "Problems, worst first: 2\nfailed: acme, 2 streams, since 1970-01-01T00:00:00Z, now\n";
        let cause = "  error: the vendor refused the credentials\n  hint: renew the token\n";
        let expected = format!("{first}{cause}more: the page `/problems` of the daemon\n\n");
        assert_eq!(problems(&open, now), expected);
    }
}
