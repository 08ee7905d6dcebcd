//! `tidegate notify`: the targets of notifications, and a message that tests them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::output::{self, Table};
use super::{CommandError, Context, Exit, NotifyListArgs, NotifyTestArgs, names, show};
use crate::app;
use crate::config::Target;
use crate::metrics::Metrics;
use crate::notify::{Notifier, Timing};
use crate::schedule;
use crate::store::{notification, notification_attempt, notification_target};
use crate::text::plain;

/// How long to wait for the outcome if a daemon sends the message, or if one waits whose process ended.
const WAIT_MAX: Duration = Duration::from_secs(45);
const ASK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize)]
struct Tests {
    tests: Vec<Test>,
}

/// The outcome of a test message.
#[derive(Debug, Serialize)]
struct Test {
    target: String,
    host: String,
    accepted: bool,
    /// A status such as `HTTP 200`, or why there was none.
    outcome: String,
}

pub(crate) async fn test(context: Context, args: NotifyTestArgs) -> anyhow::Result<Exit> {
    let targets = names::targets(&context.config, args.target.as_deref())?;
    if targets.is_empty() {
        let hint = "write a target under `notify`; see docs/notifications.md";
        return Err(CommandError::failed("no target of notifications is configured", hint).into());
    }
    let notifier = Notifier::new(Timing::default(), Arc::new(Metrics::default()), app::owner())?;
    let tests = context.with_schema(async |database, _| {
        let tests = targets.iter().map(|target| test_one(&context, &notifier, &database.pool, target));
        futures_util::future::join_all(tests).await.into_iter().collect::<anyhow::Result<Vec<Test>>>()
    });
    let document = Tests { tests: tests.await? };
    let all_accepted = document.tests.iter().all(|test| test.accepted);
    output::print_document(args.json, &document, || {
        let mut text = String::new();
        for test in &document.tests {
            let word = if test.accepted { "accepted" } else { "not accepted" };
            let _ = writeln!(text, "{} ({}): {word}: {}", plain(&test.target), plain(&test.host), plain(&test.outcome));
        }
        text
    })?;
    Ok(if all_accepted { Exit::Done } else { Exit::Failed })
}

/// Sends a test message through the outbox, or the one that waits there. A daemon may send it instead.
async fn test_one(context: &Context, notifier: &Notifier, pool: &PgPool, target: &Target) -> anyhow::Result<Test> {
    let begun = Instant::now();
    let mut test = None;
    loop {
        if test.is_none() {
            let mut conn = pool.acquire().await?;
            test = notification::add_test(&mut *conn, &target.name).await?;
            if test.is_none() {
                test = notification::waiting_test(&mut *conn, &target.name).await?;
            }
        }
        let outcome = match test {
            Some(id) => {
                notifier.send_next(pool, &context.config, target, Some(id)).await?;
                match notification_attempt::outcome(&mut *pool.acquire().await?, id).await? {
                    Some((state, _, outcome)) if state != "due" => {
                        Some((state == "sent", outcome.unwrap_or_else(|| state.clone())))
                    }
                    Some(_) => None,
                    None => Some((false, "the message was removed".to_owned())),
                }
            }
            // The one that waited has ended in between.
            None => None,
        };
        let is_late = begun.elapsed() > WAIT_MAX;
        let outcome = outcome.or_else(|| is_late.then(|| (false, "no outcome in time".to_owned())));
        if let Some((accepted, outcome)) = outcome {
            return Ok(Test { target: target.name.clone(), host: target.host.clone(), accepted, outcome });
        }
        sleep(ASK_EVERY).await;
    }
}

#[derive(Debug, Serialize)]
struct Targets {
    at: DateTime<Utc>,
    targets: Vec<Listed>,
}

/// A target, and what is known of its messages.
#[derive(Debug, Serialize)]
struct Listed {
    target: String,
    host: String,
    format: &'static str,
    /// `never sent`, `waiting`, `failing` or `delivered`.
    state: &'static str,
    /// When it last accepted a message.
    last_sent_at: Option<DateTime<Utc>>,
    /// When it last did not accept one.
    last_failed_at: Option<DateTime<Utc>>,
    /// Messages that wait.
    due: i64,
    oldest_due_at: Option<DateTime<Utc>>,
    /// Messages of the last 30 days that were given up.
    given_up: i64,
    /// Why it last did not accept one.
    outcome: Option<String>,
}

pub(crate) async fn list(context: Context, args: NotifyListArgs) -> anyhow::Result<Exit> {
    let config = Arc::clone(&context.config);
    let names: Vec<String> = config.notify.iter().map(|target| target.name.clone()).collect();
    let (at, deliveries) = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            Ok((at, notification_target::deliveries(conn, &names).await?))
        })
        .await?;
    let listed = config.notify.iter().filter_map(|target| {
        let known = deliveries.iter().find(|known| known.target == target.name)?;
        Some(Listed {
            target: target.name.clone(),
            host: target.host.clone(),
            format: target.format.name(),
            state: known.state(),
            last_sent_at: known.last_sent_at,
            last_failed_at: known.last_failed_at,
            due: known.due,
            oldest_due_at: known.oldest_due_at,
            given_up: known.given_up,
            outcome: known.last_failure.clone(),
        })
    });
    let document = Targets { at, targets: listed.collect() };
    output::print_document(args.json, &document, || {
        if document.targets.is_empty() {
            return "no target of notifications is configured\n".to_owned();
        }
        table(&document)
    })?;
    Ok(Exit::Done)
}

fn table(document: &Targets) -> String {
    let mut table = Table::new()
        .left(&["TARGET", "HOST", "FORMAT", "STATE", "LAST DELIVERY"])
        .right(&["DUE"])
        .left(&["OLDEST"])
        .right(&["GIVEN UP"])
        .left(&["LAST FAILURE"]);
    for target in &document.targets {
        table.row([
            target.target.clone(),
            target.host.clone(),
            target.format.to_owned(),
            target.state.to_owned(),
            show::moment_or_nothing(target.last_sent_at, document.at),
            target.due.to_string(),
            show::moment_or_nothing(target.oldest_due_at, document.at),
            target.given_up.to_string(),
            target.outcome.clone().unwrap_or_else(|| show::NOTHING.to_owned()),
        ]);
    }
    table.show()
}
