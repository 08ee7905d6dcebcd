//! Does what was asked for, in the transaction of its event.

use chrono::{DateTime, TimeDelta, Utc};

use super::{ActionError, Asked, Done, propose};
use crate::config::{Job, JobStream};
use crate::connector::Window;
use crate::quota::{self, LedgerKey, LedgerKeys};
use crate::report::QueryError;
use crate::schedule::{ByHand, enqueue_by_hand};
use crate::store::{held, mute, notification, pause, progress};
use crate::text;
use crate::worker::grid::{self, RangeError};

/// A longer pause is rather a job that is not wanted: `paused: true` in the configuration.
const PAUSE_MAX: TimeDelta = TimeDelta::days(30);
const REASON_CHARACTERS_MAX: usize = 200;

fn names<'s>(streams: &[&'s JobStream]) -> Vec<&'s str> {
    streams.iter().map(|entry| &*entry.stream.name).collect()
}

/// How many streams, in words: the chosen one by its name.
fn in_words(asked: &Asked<'_>, streams: usize) -> String {
    match asked.query.text("stream") {
        Some(stream) => format!("stream {stream}"),
        None if streams == 1 => "1 stream".to_owned(),
        None => format!("{streams} streams"),
    }
}

fn of_job(asked: &Asked<'_>, job: &Job, run_id: i64, summary: String) -> Done {
    Done {
        connection: Some(job.connection.clone()),
        stream: asked.query.text("stream").map(ToOwned::to_owned),
        job: Some(job.name.clone()),
        run_id: Some(run_id),
        summary,
    }
}

pub(super) async fn run(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let job = asked.reading_job()?;
    let streams = names(&asked.streams(job, false)?);
    let run = enqueue_by_hand(asked.conn, job, &streams, ByHand::Manual).await?.run_id;
    let summary = format!("run {run} of {} was requested: {}", job.name, in_words(asked, streams.len()));
    Ok(of_job(asked, job, run, summary))
}

pub(super) async fn backfill(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let job = asked.reading_job()?;
    let missing = || QueryError::of("from", "write the first day, and the day after the last");
    let Window { start: from, end: to } = range(asked, job)?.ok_or_else(missing)?;
    let streams = names(&asked.streams(job, true)?);
    let run = enqueue_by_hand(asked.conn, job, &streams, ByHand::Backfill { from, to }).await?.run_id;
    let days = |at: DateTime<Utc>| at.with_timezone(&job.timezone).date_naive();
    let summary = format!(
        "backfill {run} of {} from {} to {} was requested: {}",
        job.name,
        days(from),
        days(to),
        in_words(asked, streams.len())
    );
    Ok(of_job(asked, job, run, summary))
}

/// The days that a backfill reads; `None` if they were not chosen yet.
pub(super) fn range(asked: &Asked<'_>, job: &Job) -> Result<Option<Window>, ActionError> {
    let (from, to) = match (asked.query.date("from")?, asked.query.date("to")?) {
        (Some(from), Some(to)) => (from, to),
        (None, None) => return Ok(None),
        (from, _) => {
            let missing = if from.is_none() { "from" } else { "to" };
            return Err(QueryError::of(missing, "write both the first day and the day after the last").into());
        }
    };
    let window = grid::range_of(job, from, to, asked.now);
    window.map(Some).map_err(|error| {
        let wrong = if matches!(error, RangeError::TooLong { .. }) { "to" } else { "from" };
        QueryError::of(wrong, &error.to_string()).into()
    })
}

pub(super) async fn cancel(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let run = asked.id("run")?;
    let reason = format!("cancelled by {}", asked.actor);
    let ended = progress::cancel(&mut *asked.conn, &[run], None, Some(&reason)).await?;
    // Afterwards: another request may have cancelled it meanwhile.
    let of = progress::run_of(&mut *asked.conn, run).await?;
    let of = of.ok_or_else(|| ActionError::NotFound("there is no such run".to_owned()))?;
    if ended.is_empty() {
        return Err(ActionError::Refused(format!("run {run} has ended: {}", of.state)));
    }
    Ok(Done {
        connection: Some(of.connection),
        job: Some(of.job),
        run_id: Some(run),
        summary: format!("run {run} was cancelled"),
        ..Done::default()
    })
}

/// The job that the path names, or `None` for everything.
pub(super) fn paused_job<'a>(asked: &Asked<'a>) -> Result<Option<&'a Job>, ActionError> {
    if asked.query.name("job").is_empty() { Ok(None) } else { asked.job().map(Some) }
}

pub(super) async fn pause(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let job = paused_job(asked)?;
    if job.is_some_and(|job| job.paused) {
        return Err(ActionError::Refused("`paused: true` in the configuration pauses the job already".to_owned()));
    }
    let until = asked.query.moment("until")?.ok_or_else(|| QueryError::of("until", "write the end"))?;
    if until <= asked.now || until > asked.now + PAUSE_MAX {
        return Err(QueryError::of("until", "the end is not within the next 30 days").into());
    }
    let reason = asked.query.text("reason").unwrap_or_default();
    let is_long = reason.chars().count() > REASON_CHARACTERS_MAX;
    if !text::is_readable(reason) || is_long || reason.chars().any(char::is_control) {
        let remedy =
            format!("write a reason that can be seen, of at most {REASON_CHARACTERS_MAX} characters on one line");
        return Err(QueryError::of("reason", &remedy).into());
    }
    let name = job.map_or(pause::EVERYTHING, |job| &*job.name);
    pause::set(asked.conn, name, until, reason, asked.actor).await?;
    let what = job.map_or("everything", |job| &*job.name);
    Ok(Done {
        connection: job.map(|job| job.connection.clone()),
        job: job.map(|job| job.name.clone()),
        summary: format!("{what} is paused until {}: {reason}", text::up_to_minute(until).format("%Y-%m-%d %H:%MZ")),
        ..Done::default()
    })
}

pub(super) async fn resume(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let job = paused_job(asked)?;
    if !pause::end(&mut *asked.conn, job.map_or(pause::EVERYTHING, |job| &*job.name)).await? {
        return Err(ActionError::Refused("no pause of an operator is in force".to_owned()));
    }
    let what = job.map_or("everything", |job| &*job.name);
    Ok(Done {
        connection: job.map(|job| job.connection.clone()),
        job: job.map(|job| job.name.clone()),
        summary: format!("the pause of {what} was ended"),
        ..Done::default()
    })
}

pub(super) async fn release(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let (connection, stream) = (asked.query.name("connection"), asked.query.name("stream"));
    if asked.query.text("name") != Some(stream) {
        let remedy = format!("type the name of the stream, `{stream}`, to release its slices");
        return Err(QueryError::of("name", &remedy).into());
    }
    let slices = held::release(&mut *asked.conn, connection, stream, (None, None), asked.actor).await?;
    if slices == 0 {
        return Err(match held::release_of(&mut *asked.conn, connection, stream).await? {
            Some(_) => propose::released_already(),
            None => propose::not_held(asked),
        });
    }
    Ok(Done {
        connection: Some(connection.to_owned()),
        stream: Some(stream.to_owned()),
        summary: held::released(slices, connection, stream),
        ..Done::default()
    })
}

/// The ledger of the connection that the path names, and the names of its limits.
pub(super) async fn limits_of(asked: &mut Asked<'_>) -> Result<(LedgerKey, Vec<String>), ActionError> {
    let missing = || ActionError::NotFound("no connection of the configuration has this name".to_owned());
    let connection = asked.config.connections.get(asked.query.name("connection")).ok_or_else(missing)?;
    let keys = LedgerKeys::read(&mut *asked.conn).await?;
    let key = keys.key(&connection.base_url, &connection.settings.credential());
    Ok((key, connection.limits.iter().map(|limit| limit.name.clone()).collect()))
}

pub(super) fn not_blocked() -> ActionError {
    ActionError::Refused("no limit of this connection is blocked".to_owned())
}

pub(super) async fn unblock(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let name = asked.query.name("connection");
    let (key, limits) = limits_of(asked).await?;
    let (lifted, streams) = quota::unblock(&mut *asked.conn, &key, &limits).await?;
    if lifted.is_empty() {
        return Err(not_blocked());
    }
    let limits: Vec<&str> = lifted.iter().map(|lifted| &*lifted.limit).collect();
    let are = if streams == 1 { "stream is" } else { "streams are" };
    Ok(Done {
        connection: Some(name.to_owned()),
        summary: format!("the block of {} was lifted; {streams} waiting {are} due now", limits.join(", ")),
        ..Done::default()
    })
}

pub(super) async fn mute(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let problem = asked.id("problem")?;
    let found = mute::find(&mut *asked.conn, problem).await?;
    let found = found.ok_or_else(|| ActionError::NotFound("the problem is not open any more".to_owned()))?;
    // Its bounds were checked.
    let days = asked.query.number("days")?.ok_or_else(|| QueryError::of("days", "write a number of days"))?;
    let until = asked.now + TimeDelta::days(days);
    mute::mute(&mut *asked.conn, problem, until, asked.actor).await?;
    Ok(Done {
        summary: format!(
            "{} of {} was muted until {}",
            found.kind,
            found.scope,
            text::up_to_minute(until).format("%Y-%m-%d %H:%MZ")
        ),
        connection: found.connection,
        stream: found.stream,
        job: found.job,
        ..Done::default()
    })
}

pub(super) async fn notify(asked: &mut Asked<'_>) -> Result<Done, ActionError> {
    let target = asked.target()?;
    if notification::add_test(&mut *asked.conn, target).await?.is_none() {
        let refusal =
            format!("a test message to {target} waits to be sent or is being sent; wait until it has an outcome");
        return Err(ActionError::Refused(refusal));
    }
    Ok(Done { summary: format!("a test message to {target} was requested"), ..Done::default() })
}
