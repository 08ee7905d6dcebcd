//! Sends what is due.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::deliver::{self, Document, Outcome};
use super::problems::{selection, statement};
use super::{Notifier, cloudevents, slack};
use crate::clock;
use crate::config::{Config, NotifyFormat, Target};
use crate::store::notification::{self, Kind};
use crate::store::notification_attempt::{self, Message, Pauses};
use crate::store::notification_target::Turn;
use crate::store::session::Deadline as _;
use crate::store::{activity, notification_target, problem};
use crate::text;

/// A target that is gone is asked again after this, if the configuration was loaded since.
const GONE_PAUSE: Duration = Duration::from_hours(1);
/// Runs, and actions, that one message names.
const RUNS_MAX: i64 = 100;
/// An attempt to send the next message to a target; `None` if there was none. It waits for its turn, if that comes
/// soon, and ends within the time limit of an attempt and those of the database. If it is cut off, the message is sent
/// again.
type Attempt = AbortOnDropHandle<Result<Option<Outcome>, sqlx::Error>>;
/// The attempts that this process makes now, by the name of the target.
pub(super) type UnderWay = BTreeMap<String, Attempt>;

/// A message is given up after so many attempts whose process ended before it had recorded an outcome: sending it may
/// be what ends the process. The pauses after them are longer each time.
const CUT_OFF_MAX: i32 = 20;
/// Why it is given up.
const CUT_OFF: &str = "the process ended before there was an outcome";
/// By how much pauses differ at random, in both directions.
const JITTER: f64 = 0.2;

impl Notifier {
    /// Begins to send the next due message to each target to which this process is not sending one. No target waits for
    /// another. Returns how many attempts have ended since the last call.
    pub async fn send(self: &Arc<Self>, pool: &PgPool, config: &Arc<Config>) -> Result<usize, sqlx::Error> {
        let mut under_way = self.under_way.lock().await;
        let ended = settle(&mut under_way, AbortOnDropHandle::is_finished).await?;
        let names: Vec<String> = config.notify.iter().map(|target| target.name.clone()).collect();
        if names.is_empty() {
            return Ok(ended);
        }
        let soon = self.timing.spacing;
        let due = notification_attempt::due_targets(&mut *pool.acquire().in_time().await?, &names, soon).await?;
        for target in &config.notify {
            let Some(due) = due.iter().find(|due| due.target == target.name) else { continue };
            if under_way.contains_key(&target.name) || self.outgoing.is_gone(config, &target.name) {
                continue;
            }
            let turn_in = due.turn_in();
            let (notifier, pool, config, sent) = (Arc::clone(self), pool.clone(), Arc::clone(config), target.clone());
            let sending = async move {
                // Until the next call, it might miss its turn.
                tokio::time::sleep(turn_in).await;
                notifier.send_next(&pool, &config, &sent, None).await
            };
            under_way.insert(target.name.clone(), AbortOnDropHandle::new(tokio::spawn(sending)));
        }
        Ok(ended)
    }

    /// Waits for the attempts that [`send`](Self::send) has begun. Returns how many there were.
    pub async fn settle(&self) -> Result<usize, sqlx::Error> {
        settle(&mut *self.under_way.lock().await, |_| true).await
    }

    /// Sends the next message to a target, or the message `only`. `None` if none is due, or another process sends it.
    /// Test messages are sent before others, and do not wait until a pause of the target is over.
    pub async fn send_next(
        &self,
        pool: &PgPool,
        config: &Arc<Config>,
        target: &Target,
        only: Option<Uuid>,
    ) -> Result<Option<Outcome>, sqlx::Error> {
        let claimed = {
            let mut conn = pool.acquire().in_time().await?;
            let claimed = self.claim(&mut conn, config, target, only).await;
            if claimed.is_err() {
                // It may be silent.
                conn.close_on_drop();
            }
            claimed?
        };
        let Some((message, body, turn)) = claimed else { return Ok(None) };
        let document = match target.format {
            NotifyFormat::Slack => {
                Document { content_type: "application/json", headers: Vec::new(), body: body.to_string() }
            }
            NotifyFormat::Cloudevents => cloudevents::document(target, message.id, &body, clock::now()),
        };
        // No connection of the pool is held meanwhile.
        let outcome = deliver::deliver(&self.client, target, document, self.timing.timeout).await;
        self.metrics.notified(&target.name, outcome.counted());
        let mut conn = pool.acquire().in_time().await?;
        self.record(&mut conn, config, target, &message, outcome).await?;
        notification_target::end_turn(&mut *conn, &target.name, turn, self.timing.spacing).await?;
        Ok(Some(outcome))
    }

    /// Claims a message and writes its document, in one transaction.
    async fn claim(
        &self,
        conn: &mut PgConnection,
        config: &Config,
        target: &Target,
        only: Option<Uuid>,
    ) -> Result<Option<(Message, Value, Turn)>, sqlx::Error> {
        let mut transaction = conn.begin().in_time().await?;
        let only =
            if only.is_some() { only } else { notification_attempt::due_test(&mut *transaction, &target.name).await? };
        let turn =
            notification_target::take_turn(&mut transaction, &target.name, self.timing.turn(), only.is_some()).await?;
        let Some(turn) = turn else { return Ok(None) };
        let mut is_changed = false;
        let message = loop {
            let claimed = notification_attempt::claim(&mut *transaction, &target.name, self.timing.lease, only).await?;
            match claimed {
                Some(message) if message.cut_off >= CUT_OFF_MAX => {
                    notification_attempt::give_up(&mut *transaction, message.id, CUT_OFF).await?;
                    let (target, attempts) = (&target.name, message.attempts);
                    tracing::warn!(target, attempts, "a notification was given up: {CUT_OFF} at each attempt");
                    is_changed = true;
                }
                Some(message) if is_of_several(target, &message) => {
                    split(&mut transaction, target, &message).await?;
                    is_changed = true;
                }
                Some(message) => break message,
                None => {
                    if is_changed {
                        notification_target::end_turn(&mut *transaction, &target.name, turn, Duration::ZERO).await?;
                        transaction.commit().in_time().await?;
                    }
                    return Ok(None);
                }
            }
        };
        let stored = message.body.clone().filter(|body| is_in_format(target.format, body));
        let body = match stored {
            Some(body) => Some(body),
            None => compose(&mut transaction, config, target, &message).await?,
        };
        match &body {
            Some(body) if message.body.as_ref() != Some(body) => {
                notification_attempt::compose(&mut *transaction, message.id, body).await?;
            }
            Some(_) => {}
            None => {
                notification_attempt::remove(&mut *transaction, message.id).await?;
                notification_target::end_turn(&mut *transaction, &target.name, turn, Duration::ZERO).await?;
            }
        }
        transaction.commit().in_time().await?;
        Ok(body.map(|body| (message, body, turn)))
    }

    async fn record(
        &self,
        conn: &mut PgConnection,
        config: &Arc<Config>,
        target: &Target,
        message: &Message,
        outcome: Outcome,
    ) -> Result<(), sqlx::Error> {
        let text = outcome.text();
        if let Outcome::Accepted(_) = outcome {
            notification_attempt::sent(conn, message.id, &target.name, &text).await?;
            tracing::debug!(target = target.name, message = %message.id, "notification sent");
            return Ok(());
        }
        let pauses = self.pauses(message, outcome);
        if outcome == Outcome::Gone && self.outgoing.set_gone(config, &target.name) {
            let target = &target.name;
            // A command that tests a target is another process than the daemon.
            tracing::error!(
                target,
                "the target responded with 410; this process sends nothing to it until it loads the configuration again"
            );
        }
        let retry_secs = pauses.message.map(|pause| pause.as_secs());
        let (target, attempts) = (&target.name, message.attempts);
        tracing::warn!(target, attempts, outcome = text, retry_secs, "a notification was not accepted");
        notification_attempt::failed(conn, message.id, target, attempts, &text, pauses).await
    }

    fn pauses(&self, message: &Message, outcome: Outcome) -> Pauses {
        let failures = usize::try_from(message.failures).unwrap_or(usize::MAX);
        let step = self.timing.backoff.get(failures).copied();
        let step = step.map(|pause| pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * rand::random::<f64>()));
        let (asked, target) = match outcome {
            Outcome::RateLimited(asked) => (asked, asked),
            // It is left out until a reload.
            Outcome::Gone => (GONE_PAUSE, Duration::ZERO),
            _ => (Duration::ZERO, step.unwrap_or(Duration::MAX).min(self.timing.target_pause)),
        };
        let message = step.filter(|_| message.kind != Kind::Test).map(|step| step.max(asked));
        Pauses { message, target }
    }
}

/// Removes the attempts that `is_chosen`, and waits for them. Returns how many were made.
async fn settle(under_way: &mut UnderWay, is_chosen: impl Fn(&Attempt) -> bool) -> Result<usize, sqlx::Error> {
    let chosen: Vec<Attempt> =
        under_way.extract_if(.., |_, attempt| is_chosen(attempt)).map(|(_, attempt)| attempt).collect();
    let mut made = 0;
    let mut failed = None;
    for attempt in chosen {
        match attempt.await.unwrap_or_else(|error| Err(sqlx::Error::Io(io::Error::other(error)))) {
            Ok(outcome) => made += usize::from(outcome.is_some()),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(made), Err)
}

/// Whether a message is about several problems although the target receives a document for each. It was written while
/// the configuration had another format for the target, or by the configuration of another process.
fn is_of_several(target: &Target, message: &Message) -> bool {
    target.format == NotifyFormat::Cloudevents && (message.kind == Kind::Digest || message.problems.len() > 1)
}

/// Replaces a message with one for each of its problems.
async fn split(transaction: &mut PgConnection, target: &Target, message: &Message) -> Result<(), sqlx::Error> {
    let problems = problem::of_message(&mut *transaction, &message.problems, &target.name, message.id).await?;
    notification_attempt::remove(&mut *transaction, message.id).await?;
    for problem in problems {
        let kind = match (problem.closed_at, problem.is_known) {
            (None, false) => Kind::Opened,
            (None, true) => Kind::Reminder,
            (Some(_), true) if problem.merged_into.is_some() => Kind::Merged,
            (Some(_), true) => Kind::Recovered,
            // The target has not received its beginning.
            (Some(_), false) => continue,
        };
        notification::add(&mut *transaction, &target.name, kind, &[problem.id]).await?;
    }
    Ok(())
}

/// Whether a document that was sent before has this format.
fn is_in_format(format: NotifyFormat, body: &Value) -> bool {
    body.get("specversion").is_some() == (format == NotifyFormat::Cloudevents)
}

/// Messages leave the installation, and a vendor may have written about its customers. Actions have no such text.
fn remove_vendor_text(text: &mut String) {
    *text = text::without_vendor_text(text).into_owned();
}

/// The document of a message, without anything that a vendor wrote. `None` if nothing is left in it.
async fn compose(
    transaction: &mut PgConnection,
    config: &Config,
    target: &Target,
    message: &Message,
) -> Result<Option<Value>, sqlx::Error> {
    if message.kind == Kind::Test {
        return Ok(Some(match target.format {
            NotifyFormat::Slack => slack::test(&config.server.title),
            NotifyFormat::Cloudevents => cloudevents::test(config, message.id, message.created_at),
        }));
    }
    if let Some(range) = message.range {
        let mut activity = activity::read(transaction, range, &selection(&statement(target)), RUNS_MAX).await?;
        for run in &mut activity.runs {
            for text in run.error.iter_mut().chain(&mut run.hint) {
                remove_vendor_text(text);
            }
        }
        let is_empty = activity.runs.is_empty() && activity.actions.is_empty();
        return Ok((!is_empty).then(|| match target.format {
            NotifyFormat::Slack => slack::activity(&config.server.title, config.server.url.as_ref(), &activity),
            NotifyFormat::Cloudevents => {
                cloudevents::activity(config, message.id, message.created_at, range, &activity)
            }
        }));
    }
    let mut problems = problem::of_message(transaction, &message.problems, &target.name, message.id).await?;
    // The message about the beginning was given up, so the end is not sent either.
    problems.retain(|problem| problem.closed_at.is_none() || problem.is_known);
    // A mute withdraws reminders that were stored before it.
    problems.retain(|problem| !problem.is_muted);
    for problem in &mut problems {
        for text in std::iter::once(&mut problem.summary).chain(&mut problem.hint) {
            remove_vendor_text(text);
        }
    }
    Ok(match (target.format, problems.first()) {
        (_, None) => None,
        (NotifyFormat::Slack, _) => Some(slack::digest(&config.server.title, config.server.url.as_ref(), &problems)),
        (NotifyFormat::Cloudevents, Some(problem)) => {
            Some(cloudevents::event(config, message.id, message.kind, message.created_at, problem))
        }
    })
}
